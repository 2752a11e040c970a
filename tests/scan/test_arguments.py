"""One rule for dtypes, one for resets, and any length: the same in all operations and implementations."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold.errors import InputError
from twofold.scan import (
    SoftmaxState,
    causal_attention,
    decaying_softmax_scan,
    gru_scan,
    kv_scan,
    linear_scan,
    lstm_scan,
    softmax_fold,
    softmax_scan,
)
from twofold.scan._dispatch import KERNELS


def lstm(inputs, v, h, c, **how):
    return lstm_scan(inputs, v, (h, c), **how)


def gru_after(inputs, v, h, b_n, **how):
    return gru_scan(inputs, v, h, b_n=b_n, **how)


def decaying(scores, values, root, **how):
    return decaying_softmax_scan(scores, values, jnp.asarray(root) ** 2, **how)


SCANS = {  # the operation, and the shapes of its arguments, where None is time
    "linear_scan": (linear_scan, [(2, 1), (None, 2, 3), (2, 3)]),
    "softmax_scan": (softmax_scan, [(None, 2), (None, 2, 3)]),
    "decaying_softmax_scan": (decaying, [(None, 2), (None, 2, 3), (2,)]),
    "softmax_fold": (softmax_fold, [(2, 4), (None, 2, 4), (None, 2, 3)]),
    "kv_scan": (kv_scan, [(None, 2, 4), (None, 2, 4), (None, 2, 3), (2, 4, 3)]),
    "causal_attention": (causal_attention, [(None, 2, 4), (None, 2, 4), (None, 2, 3)]),
    "lstm_scan": (lstm, [(None, 12), (12, 3), (3,), (3,)]),
    "gru_scan": (gru_scan, [(None, 9), (9, 3), (3,)]),
    "gru_scan, reset after": (gru_after, [(None, 9), (9, 3), (3,), (3,)]),
}
REAL_ONLY = [name for name in SCANS if name != "linear_scan"]
WITH_RESETS = [name for name in SCANS if name not in ("softmax_fold", "causal_attention")]
PAIRS = [
    ("float32", "bfloat16"),
    ("bfloat16", "float16"),
    ("float32", "float64"),
    ("float32", "int32"),
    ("float16", "bool"),
]

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def arguments(normal):
    """`arguments(scan, time)`: numbers below 1 in float64, which the outputs of every scan and their gradients bear."""

    def make(scan, time):
        shapes = [tuple(time if n is None else n for n in shape) for shape in SCANS[scan][1]]
        return [np.tanh(normal(f"argument {i}", *shape)) for i, shape in enumerate(shapes)]

    return make


def total(tree):
    return sum(jnp.sum(x.astype(x.dtype)) for x in jax.tree.leaves(tree))


def dtypes(tree):
    return {x.dtype.name for x in jax.tree.leaves(tree)}


@pytest.mark.parametrize("time", [5, 40])
@pytest.mark.parametrize("scan", SCANS)
def test_arrays_are_promoted_as_jax_does(arguments, scan, time):
    """Whichever argument is the other, outputs and state have the common dtype."""
    run, args = SCANS[scan][0], arguments(scan, time)
    for pair in PAIRS:
        for other in range(len(args)):
            mixed = [jnp.asarray(x, pair[i == other]) for i, x in enumerate(args)]
            assert dtypes(jax.eval_shape(run, *mixed)) == {jnp.result_type(*pair, 1.0).name}


@pytest.mark.parametrize("time", [0, 40])
@pytest.mark.parametrize("scan", SCANS)
def test_gradients_have_the_dtypes_of_the_arguments(arguments, scan, time):
    run, args = SCANS[scan][0], arguments(scan, time)
    for pair in [("float32", "bfloat16"), ("bfloat16", "float32")]:
        mixed = [jnp.asarray(x, pair[i % 2]) for i, x in enumerate(args)]
        gradients = jax.eval_shape(jax.grad(lambda args: total(run(*args))), mixed)
        assert [x.dtype for x in gradients] == [x.dtype for x in mixed]


@pytest.mark.parametrize("scan", SCANS)
def test_promoted_arrays_have_the_values_of_converted_ones(arguments, assert_close, scan):
    run, args = SCANS[scan][0], arguments(scan, 5)
    mixed = [jnp.asarray(x, "bfloat16" if i else "float32") for i, x in enumerate(args)]
    assert_close(run(*mixed), run(*(x.astype("float32") for x in mixed)))


def test_python_scalars_take_the_dtype_of_the_arrays():
    assert linear_scan(0.9, jnp.ones((5, 2), jnp.bfloat16)).dtype == jnp.bfloat16
    assert linear_scan(1, jnp.ones((5, 2), jnp.float16)).dtype == jnp.float16


def test_states_are_promoted_too():
    state, out = softmax_scan(
        jnp.zeros((40, 2), "bfloat16"), jnp.ones((40, 2, 3), "bfloat16"), SoftmaxState.empty(2, 3, dtype="float32")
    )
    assert dtypes((state, out)) == {"float32"}


@pytest.mark.parametrize(("time", "dtype"), [(0, "bfloat16"), (40, "float16"), (40, "bfloat16")])
@pytest.mark.parametrize("scan", SCANS)
def test_half_precision_is_near_float64(arguments, assert_close, scan, dtype, time):
    run, args = SCANS[scan][0], [jnp.asarray(x, dtype) for x in arguments(scan, time)]

    @jax.jit
    def results(*args):
        out = run(*args)
        return out, jax.grad(lambda args: total(run(*args)))(args)

    def above_empty(tree):  # The maximum of no scores depends on the dtype.
        return jax.tree.map(lambda x: np.maximum(np.asarray(x, np.float64), -6e4), tree)

    actual = results(*args)
    assert dtypes(actual) == {dtype}
    expected = results(*(np.asarray(x, np.float64) for x in args))
    assert_close(above_empty(actual), above_empty(expected), rtol=0.1)


def test_masked_tokens_leave_nothing_in_float16():
    """-1e30, which stands for nothing seen yet, is below the smallest number of float16."""
    scores = jnp.array([-jnp.inf, -jnp.inf, 0, -jnp.inf], jnp.float16)[:, None]
    state, out = softmax_scan(scores, jnp.full((4, 1, 1), 2.0, jnp.float16))
    assert out.ravel().tolist() == [0, 0, 2, 2]
    assert state.maximum.tolist() == [0]


@pytest.mark.parametrize("scan", REAL_ONLY)
def test_complex_numbers_are_refused_where_they_mean_nothing(arguments, scan):
    args = arguments(scan, 5)
    for i in range(len(args)):
        mixed = [x + 1j * (i == j) if i == j else x for j, x in enumerate(args)]
        with pytest.raises(InputError, match=r"^\w+: complex numbers \(complex128\) where this scan takes real ones"):
            SCANS[scan][0](*mixed)


@pytest.mark.parametrize(
    ("resets", "named"),
    [
        (np.zeros(4, bool), "shape (4,) and dtype bool"),
        (np.zeros((5, 1), bool), "shape (5, 1) and dtype bool"),
        (True, "shape () and dtype bool"),
        (np.zeros(5, np.int32), "shape (5,) and dtype int32"),
        (np.zeros(5, np.float32), "shape (5,) and dtype float32"),
    ],
)
@pytest.mark.parametrize("scan", WITH_RESETS)
def test_wrong_resets_are_named(arguments, scan, resets, named):
    message = f"resets have {named}; these tokens need shape (5,) and dtype bool"
    with pytest.raises(InputError, match=re.escape(message)):
        SCANS[scan][0](*arguments(scan, 5), resets=resets)


@pytest.mark.parametrize("scan", WITH_RESETS)
def test_lists_do_as_arrays(arguments, assert_close, scan):
    run, args = SCANS[scan][0], arguments(scan, 3)
    resets = [False, True, False]
    assert_close(run(*(x.tolist() for x in args), resets=resets), run(*args, resets=np.array(resets)))


def test_every_operation_is_here():
    assert {name.split(",")[0] for name in SCANS} == set(KERNELS)
