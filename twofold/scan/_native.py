"""The native CPU kernels: where their library is, whether it fits this JAX, and how they are called."""

import ctypes
import os
import re
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
from jax import Array

from ..errors import InputError
from ._varying import alike, like

NAME = "libtwofold_kernels.so"
INSTRUCTION_SETS = "x86-64-v4", "x86-64-v3", "x86-64-v2", "x86-64"
"""What `TWOFOLD_INSTRUCTION_SET` may name: the most that the kernels may use, where the processor has it."""
HANDLERS = [
    "linear_forward",
    "linear_backward",
    "softmax_forward",
    "softmax_backward",
    "kv_forward",
    "attention_forward",
    "attention_backward",
    "lstm_forward",
    "lstm_backward",
    "gru_forward",
    "gru_backward",
]


@cache
def missing() -> str | None:
    """Why the kernels cannot be used here; None if they can, and then JAX knows them."""
    named = os.environ.get("TWOFOLD_INSTRUCTION_SET", INSTRUCTION_SETS[0])
    if named not in INSTRUCTION_SETS:
        raise InputError(f"TWOFOLD_INSTRUCTION_SET is {named!r}; it must be one of {', '.join(INSTRUCTION_SETS)}")
    if not (path := _path()).exists():
        return "they were not built when twofold was installed"
    try:
        library = ctypes.CDLL(str(path))
        version = library.twofold_ffi_major(), library.twofold_ffi_minor()
        handlers = {name: jax.ffi.pycapsule(library[name]) for name in HANDLERS}
    except (OSError, AttributeError) as error:
        return f"{path} does not load: {error}"
    # JAX takes handlers of a newer interface than its own, and breaks when it first uses the CPU.
    ours, theirs = (".".join(map(str, pair)) for pair in (version, _runtime_version()))
    if version[0] != _runtime_version()[0] or version > _runtime_version():
        return f"they were built for version {ours} of XLA's interface, and jaxlib {jaxlib.__version__} has {theirs}"
    for name, handler in handlers.items():
        jax.ffi.register_ffi_target(f"twofold_{name}", handler, platform="cpu")
    return None


def _runtime_version() -> tuple[int, int]:
    """That of the interface of the jaxlib in use, as its headers have it."""
    header = Path(jax.ffi.include_dir(), "xla/ffi/api/c_api.h").read_text()
    major, minor = (re.findall(rf"#define XLA_FFI_API_{part} (\d+)", header)[0] for part in ("MAJOR", "MINOR"))
    return int(major), int(minor)


def instruction_set() -> str:
    """The instruction set that the kernels run with on this machine."""
    library = ctypes.CDLL(str(_path()))
    library.twofold_instruction_set.restype = ctypes.c_char_p
    return library.twofold_instruction_set().decode()


def _path() -> Path:
    """Where installing twofold has put the library: if the installation is editable, not beside the sources."""
    beside = Path(__file__).with_name(NAME)
    installed = (Path(str(d.locate_file(f"twofold/scan/{NAME}"))) for d in distributions(name="twofold"))
    return next((path for path in (beside, *installed) if path.exists()), beside)


def present(x: Array | None, dtype=bool) -> Array:
    """As the kernels take what may be absent: an empty array."""
    return jnp.zeros(0, dtype) if x is None else x


def call(name: str, results, *args, vmap_method: str = "broadcast_all", **attributes):
    """The kernel's results, of the shapes and dtypes of `results`."""
    args = alike(args)
    types = jax.tree.map(lambda x: like(args[0], x.shape, x.dtype), results)
    run = jax.ffi.ffi_call(f"twofold_{name}", types, vmap_method=vmap_method)
    return run(*args, **attributes)
