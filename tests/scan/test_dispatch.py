"""Every scan asks one function which implementation to run; the kernels may be missing, and then nothing else is."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold.errors import InputError
from twofold.scan import (
    _dispatch,
    _native,
    causal_attention,
    decaying_softmax_scan,
    gru_scan,
    implementations,
    kv_scan,
    linear_scan,
    lstm_scan,
    softmax_fold,
    softmax_scan,
)

TOKENS = np.ones((3, 2, 4))
SCANS = {
    "linear_scan": lambda name, x=TOKENS: linear_scan(x, x, implementation=name),
    "softmax_scan": lambda name, x=TOKENS: softmax_scan(x[..., 0], x, implementation=name)[1],
    "decaying_softmax_scan": lambda name, x=TOKENS: decaying_softmax_scan(
        x[..., 0], x, x[0, :, 0], implementation=name
    )[1],
    "softmax_fold": lambda name, x=TOKENS: softmax_fold(x[0], x, x, implementation=name)[1],
    "kv_scan": lambda name, x=TOKENS: kv_scan(x, x, x, implementation=name)[1],
    "causal_attention": lambda name, x=TOKENS: causal_attention(x, x, x, implementation=name),
    "lstm_scan": lambda name, x=TOKENS: lstm_scan(
        x[:, 0], x[0, 0, :, None], (x[0, 0, :1], x[0, 0, :1]), implementation=name
    )[1],
    "gru_scan": lambda name, x=TOKENS: gru_scan(x[:, 0, :3], x[0, 0, :3, None], x[0, 0, :1], implementation=name)[1],
}
WITH_KERNELS = [name for name, dtypes in _dispatch.KERNELS.items() if dtypes]

built = pytest.mark.skipif(_native.missing() is not None, reason="twofold was installed without its kernels")


def lowered(scan, name="auto", tokens=TOKENS, platforms=("cpu",)):
    """The gradient of a scan, with its outputs, as the program that JAX makes of it for these platforms."""

    @jax.jit
    def loss(x):
        out = SCANS[scan](name, x)
        return out.sum(), out

    traced = jax.jit(jax.grad(loss, has_aux=True)).trace(jnp.asarray(tokens))
    return traced.lower(lowering_platforms=platforms).as_text()


def runs_native(*args, **how):
    return "@twofold_" in lowered(*args, **how)


@pytest.fixture
def without_kernels(monkeypatch):
    monkeypatch.setattr(_native, "missing", lambda: "somebody took them away")
    _dispatch._warn_once.cache_clear()


def test_every_scan_has_its_place_in_the_table():
    assert set(SCANS) == set(_dispatch.KERNELS) == set(implementations())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["cuda", "XLA", ""])
@pytest.mark.parametrize("scan", SCANS)
def test_unknown_implementation_is_named(scan, name):
    with pytest.raises(InputError, match=f"unknown implementation '{name}'; use 'auto', 'xla' or 'native'"):
        SCANS[scan](name)


@built
@pytest.mark.parametrize("scan", SCANS)
def test_variable_says_what_auto_stands_for(monkeypatch, scan):
    monkeypatch.setenv(_dispatch.VARIABLE, "xla")
    assert implementations()[scan][0] == "xla"
    assert not runs_native(scan)
    for name in ("native", "auto", ""):
        monkeypatch.setenv(_dispatch.VARIABLE, name)
        assert runs_native(scan) == (scan in WITH_KERNELS) == ("native" in implementations()[scan])
        assert implementations()[scan][0] == ("native" if scan in WITH_KERNELS else "xla")


def test_variable_that_names_no_implementation_is_an_error(monkeypatch):
    monkeypatch.setenv(_dispatch.VARIABLE, "cuda")
    with pytest.raises(InputError, match="TWOFOLD_IMPLEMENTATION is 'cuda'"):
        SCANS["linear_scan"]("auto")


@built
@pytest.mark.parametrize("scan", WITH_KERNELS)
def test_argument_goes_before_the_variable(monkeypatch, scan):
    monkeypatch.setenv(_dispatch.VARIABLE, "native")
    assert not runs_native(scan, "xla")
    monkeypatch.setenv(_dispatch.VARIABLE, "xla")
    assert runs_native(scan, "native")


@built
@pytest.mark.parametrize("scan", WITH_KERNELS)
def test_single_token_needs_no_kernel(monkeypatch, scan):
    monkeypatch.setenv(_dispatch.VARIABLE, "auto")
    assert not runs_native(scan, tokens=TOKENS[:1])


@built
@pytest.mark.parametrize("named", ["auto", "native"])
@pytest.mark.parametrize("scan", WITH_KERNELS)
def test_kernels_are_for_programs_that_are_lowered_for_a_cpu(monkeypatch, scan, named):
    """Whatever this machine is: the program of each platform is made here."""
    monkeypatch.setenv(_dispatch.VARIABLE, named)
    assert runs_native(scan, platforms=("cpu",))
    assert not runs_native(scan, platforms=("cuda",))
    assert not runs_native(scan, platforms=("tpu",))
    assert runs_native(scan, platforms=("cpu", "cuda"))


@built
@pytest.mark.parametrize("platforms", [("cuda",), ("tpu",), ("cpu", "cuda")], ids=" ".join)
@pytest.mark.parametrize("scan", WITH_KERNELS)
def test_kernels_that_are_asked_for_are_refused_elsewhere(scan, platforms):
    with pytest.raises(
        InputError, match=f"the kernels are for CPUs, and this program is for {platforms[-1]}; use 'auto'"
    ):
        lowered(scan, "native", platforms=platforms)


@built
def test_other_machines_take_xla_first(monkeypatch):
    monkeypatch.setenv(_dispatch.VARIABLE, "auto")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert implementations()["linear_scan"] == ("xla", "native")


@built
@pytest.mark.parametrize("scan", WITH_KERNELS)
def test_dtype_without_a_kernel_is_left_to_xla(monkeypatch, scan):
    monkeypatch.setenv(_dispatch.VARIABLE, "native")
    assert not runs_native(scan, tokens=TOKENS.astype(jnp.bfloat16))
    with pytest.raises(InputError, match=f"{scan} has kernels for float32, .*these arrays are of bfloat16"):
        SCANS[scan]("native", TOKENS.astype(jnp.bfloat16))


def test_fold_has_no_kernel_to_ask_for():
    with pytest.raises(InputError, match="softmax_fold has no kernel"):
        SCANS["softmax_fold"]("native")


@pytest.mark.usefixtures("without_kernels")
def test_missing_kernels_warn_once_and_break_nothing(monkeypatch):
    monkeypatch.setenv(_dispatch.VARIABLE, "auto")
    with pytest.warns(RuntimeWarning, match="without the native CPU kernels.*: somebody took them away"):
        out = SCANS["linear_scan"]("auto")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(out, SCANS["linear_scan"]("auto"))
        assert {*implementations().values()} == {("xla",)}
        monkeypatch.setenv(_dispatch.VARIABLE, "xla")
        _dispatch._warn_once.cache_clear()
        SCANS["linear_scan"]("auto")


@pytest.mark.usefixtures("without_kernels")
def test_missing_kernels_that_are_asked_for_are_an_error(monkeypatch):
    with pytest.raises(InputError, match=r"implementation='native'.*somebody took them away"):
        SCANS["kv_scan"]("native")
    monkeypatch.setenv(_dispatch.VARIABLE, "native")
    with pytest.raises(InputError, match=r"TWOFOLD_IMPLEMENTATION is 'native'.*somebody took them away"):
        SCANS["kv_scan"]("auto")


@built
def test_library_for_a_newer_interface_is_not_used(monkeypatch):
    """JAX would take it, and break when it first uses the CPU."""
    monkeypatch.setattr(_native, "_runtime_version", lambda: (0, 0))
    assert "of XLA's interface" in _native.missing.__wrapped__()


def test_library_that_does_not_load_is_named(monkeypatch, tmp_path):
    broken = tmp_path / _native.NAME
    monkeypatch.setattr(_native, "_path", lambda: broken)
    assert _native.missing.__wrapped__() == "they were not built when twofold was installed"
    broken.write_bytes(b"no library")
    assert f"{broken} does not load" in _native.missing.__wrapped__()
