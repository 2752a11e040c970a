"""linear_scan is the recurrence h_t = a_t * h_{t-1} + b_t, and so is its gradient."""

import re
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.errors import InputError
from twofold.scan import linear_scan

run = jax.jit(linear_scan, static_argnames="reverse")

SINGLE = [("float32", "float32"), ("complex64", "complex64"), ("float32", "complex64")]  # of a and of b
DOUBLE = [("float64", "float64"), ("complex128", "complex128"), ("float64", "complex128")]
DECAYS = {
    "full": lambda time, rest: (time, *rest),
    "a gate a head": lambda time, rest: (time, *rest[:-1], 1)[: 1 + len(rest)],
    "constant": lambda time, rest: rest,
    "scalar": lambda time, rest: (),
}


def recurrence(a, b, h0=None, *, reverse=False, resets=None):
    """The docstring's equation, one token after the other, for NumPy and JAX."""
    xp = b.__array_namespace__()
    h = xp.zeros(b.shape[1:], b.dtype) if h0 is None else h0
    resets = np.zeros(len(b), bool) if resets is None else resets
    states = []
    tokens = list(zip(xp.broadcast_to(a, b.shape), b, resets, strict=True))
    for a_t, b_t, fresh in reversed(tokens) if reverse else tokens:
        h = b_t if fresh else a_t * h + b_t
        states.append(h)
    return xp.stack(states[::-1] if reverse else states) if states else b


@settings(max_examples=40)
@given(
    dtypes=st.sampled_from(SINGLE + DOUBLE),
    time=st.integers(0, 20),
    rest=st.sampled_from([(), (3,), (2, 3)]),
    decay=st.sampled_from(list(DECAYS)),
    continued=st.booleans(),
    reverse=st.booleans(),
    packed=st.booleans(),
)
def test_states_are_those_of_the_recurrence(
    normal, assert_close, dtypes, time, rest, decay, continued, reverse, packed
):
    a = normal("a", *DECAYS[decay](time, rest), dtype=dtypes[0])
    b = normal("b", time, *rest, dtype=dtypes[1])
    h0 = normal("h0", *rest, dtype=dtypes[1]) if continued else None
    how = {"reverse": reverse, "resets": normal("resets", time) > 1 if packed else None}
    h = run(a, b, h0, **how)
    assert h.dtype == dtypes[1]
    in_double = [None if x is None else x.astype(np.result_type(x, np.float64)) for x in (a, b, h0)]
    assert_close(h, recurrence(*in_double, **how))


@pytest.mark.parametrize(
    ("decay", "reverse"), [("full", False), ("a gate a head", True), ("constant", False), ("scalar", True)]
)
@pytest.mark.parametrize("dtypes", DOUBLE)
def test_gradient_is_that_of_the_recurrence(normal, same_gradients, dtypes, decay, reverse):
    a = normal("a", *DECAYS[decay](6, (2, 3)), dtype=dtypes[0])
    b, h0 = normal("b", 6, 2, 3, dtype=dtypes[1]), normal("h0", 2, 3, dtype=dtypes[1])
    how = {"reverse": reverse, "resets": np.array([0, 0, 0, 1, 0, 0], bool)}
    same_gradients(partial(linear_scan, **how), partial(recurrence, **how), a, b, h0)


def test_gradient_under_transforms(normal, same_gradients, transform):
    a, b, h0 = normal("a", 6, 2, 1), normal("b", 6, 2, 3, dtype=np.complex128), normal("h0", 2, 3, dtype=np.complex128)
    same_gradients(linear_scan, recurrence, a, b, h0, transform=transform)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_second_gradient_is_that_of_the_recurrence(normal, same_gradients, dtype):
    a, b, h0 = normal("a", 5, 2, 1), normal("b", 5, 2, 3, dtype=dtype), normal("h0", 2, 3, dtype=dtype)
    how = {"resets": np.array([0, 0, 0, 1, 0], bool)}
    same_gradients(partial(linear_scan, **how), partial(recurrence, **how), a, b, h0, order=2)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@given(cut=st.integers(0, 9))
def test_split_anywhere_equals_whole(normal, assert_close, reverse, cut):
    a, b, h0 = normal("a", 9, 2), normal("b", 9, 2), normal("h0", 2)
    whole = run(a, b, h0, reverse=reverse)
    if reverse:
        late = run(a[cut:], b[cut:], h0, reverse=True)
        early = run(a[:cut], b[:cut], [*late, h0][0], reverse=True)
    else:
        early = run(a[:cut], b[:cut], h0)
        late = run(a[cut:], b[cut:], [h0, *early][-1])
    assert_close(np.concatenate([early, late]), whole)


@pytest.mark.parametrize("poisoned", [False, True], ids=["finite", "poisoned"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_reset_is_a_fresh_start(normal, segments_are_independent, reverse, poisoned):
    """In reverse the same holds of the flipped sequence."""
    order = slice(None, None, -1 if reverse else 1)

    def scan(a, b, resets):
        h = linear_scan(a[order], b[order], reverse=reverse, resets=None if resets is None else resets[order])[order]
        return h[-1], h

    segments_are_independent(scan, normal("a", 9, 2, 1), normal("b", 9, 2, 3), lengths=(4, 1, 4), poisoned=poisoned)


def test_state_before_a_reset_is_forgotten(normal, assert_close):
    a, b, resets = normal("a", 3, 2), normal("b", 3, 2), np.array([True, False, False])

    @jax.jit
    @jax.value_and_grad
    def loss(h0):
        return linear_scan(a, b, h0, resets=resets).sum()

    assert_close(loss(np.array([np.nan, np.inf])), (recurrence(a, b).sum(), np.zeros(2)))


@pytest.mark.parametrize(("low", "high", "rtol"), [(0.5, 0.999, 1e-5), (1, 1, 5e-5)], ids=["fading", "running sum"])
def test_long_float32_scan_stays_near_float64(normal, assert_close, low, high, rtol):
    b = normal("b", 100_003, 2, dtype=np.float32)
    a = np.random.default_rng(0).uniform(low, high, b.shape).astype(np.float32)
    assert_close(run(a, b), recurrence(a.astype(np.float64), b.astype(np.float64)), rtol)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("a", "b", "how", "named"),
    [
        ((), (), {}, "b is a scalar"),
        ((4,), (5, 3), {}, "a of shape (4,) does not broadcast against b of shape (5, 3)"),
        ((2, 5, 3), (5, 3), {}, "a of shape (2, 5, 3)"),
        ((5, 3), (5, 3), {"h0": np.zeros(2)}, "h0 has shape (2,)"),
        ((5, 3), (5, 3), {"resets": np.zeros(4, bool)}, "resets have shape (4,)"),
    ],
)
def test_wrong_shapes_are_named(a, b, how, named):
    with pytest.raises(InputError, match=re.escape(named)):
        linear_scan(np.zeros(a), np.zeros(b), **how)
