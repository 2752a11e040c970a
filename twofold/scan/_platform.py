"""A function that is written twice: as a native kernel, for the CPU of this machine, and in plain JAX, for all else.

Which of them runs is decided where JAX lowers a program, because a program may be traced here and lowered for another
platform. So the pair is one primitive of JAX, with a lowering rule for CPUs and another for the other platforms.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from ..errors import InputError
from ._varying import like

Implementation = Literal["auto", "xla", "native"]
"""What runs a scan: kernels for the CPU, what XLA compiles on any platform, or the faster of them."""


def dispatch(chosen: Implementation, portable: Callable, native: Callable, *args):
    """`portable(*args)` or `native(*args)`, which are equal; the derivative is that of `portable`.

    For `"auto"`, a program that is lowered for a CPU runs `native`. An exported program does not, because the kernels
    may be missing where it runs, and JAX stores no calls of kernels that it does not know. For `"native"`, to lower a
    program for another platform is an `InputError`. Neither function closes over traced arrays.
    """
    return portable(*args) if chosen == "xla" else _either(portable, native, chosen == "native", *args)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _either(portable, native, required, *args):
    """The primitive, with pytrees for arguments and results."""
    leaves, tree = jax.tree.flatten(args)
    if not any(isinstance(x, jax.core.Tracer) for x in leaves):  # a millisecond faster than through the primitive
        return _evaluate(*args, portable=portable, native=native, required=required)
    found, results = jax.tree.flatten(jax.eval_shape(native, *args))

    def flat(f):
        return lambda *leaves: jax.tree.leaves(f(*jax.tree.unflatten(tree, leaves)))

    types = tuple(like(leaves[0], x.shape, x.dtype) for x in found)
    values = _either_p.bind(*leaves, portable=flat(portable), native=flat(native), required=required, types=types)
    return jax.tree.unflatten(results, values)


def _forward(portable, native, required, *args):
    return _either(portable, native, required, *args), args


def _backward(portable, native, required, args, cotangents):
    return jax.vjp(portable, *args)[1](cotangents)


_either.defvjp(_forward, _backward)

_either_p = Primitive("native_or_portable")
_either_p.multiple_results = True
_either_p.def_abstract_eval(lambda *_, types, **__: types)


@_either_p.def_impl
def _evaluate(*args, portable, native, required, **_):
    """Outside of `jax.jit`, where each operation runs by itself, on the devices of its arguments."""
    platforms = {device.platform for x in jax.tree.leaves(args) for device in jnp.asarray(x).devices()}
    if platforms == {"cpu"}:
        return native(*args)
    _refuse(required, *platforms)
    return portable(*args)


def _lower_for_cpu(ctx, *args, portable, native, required, **_):
    exported = ctx.module_context.lowering_parameters.for_export
    return mlir.lower_fun(portable if exported and not required else native)(ctx, *args)


def _lower_for_others(ctx, *args, portable, required, **_):
    _refuse(required, *(ctx.platforms or ctx.module_context.platforms))
    return mlir.lower_fun(portable)(ctx, *args)


def _refuse(required: bool, *platforms: str) -> None:
    if required:
        raise InputError(
            f"implementation='native': the kernels are for CPUs, and this program is for {', '.join(platforms)};"
            " use 'auto' or 'xla'"
        )


def _batch(args, axes, *, portable, native, required, types):
    size = next(x.shape[axis] for x, axis in zip(args, axes, strict=True) if axis is not None)
    results = _either_p.bind(
        *args,
        portable=jax.vmap(portable, axes),
        native=jax.vmap(native, axes),
        required=required,
        types=tuple(like(args[0], (size, *x.shape), x.dtype) for x in types),
    )
    return results, [0] * len(results)


mlir.register_lowering(_either_p, _lower_for_others)
mlir.register_lowering(_either_p, _lower_for_cpu, platform="cpu")
batching.primitive_batchers[_either_p] = _batch
