"""Training over a mesh of devices: sequences are spread over its axis "data", and their tokens over its axis "time"."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, PyTree, Shaped

from ..errors import InputError
from ..layers import Layer
from ..scan.axis import TIME

DATA = "data"
"""The axis of a mesh that sequences are spread over."""


def mesh_of(data_devices: int = 1, time_devices: int = 1) -> Mesh | None:
    """A mesh of `data_devices` times `time_devices`. It has no axis for a number of 1, and there is no mesh for a single device.

    **Raises:** `InputError` for numbers below 1, if there are fewer devices, and if several processes have more.
    """
    for name, count in {"data_devices": data_devices, "time_devices": time_devices}.items():
        if count < 1:
            raise InputError(f"{name} is {count}; it must be at least 1")
    needed, there = data_devices * time_devices, jax.devices()
    if needed > len(there):
        raise InputError(
            f"data_devices = {data_devices} times time_devices = {time_devices} needs {needed} devices; there are"
            f" {len(there)}; on a CPU, XLA_FLAGS=--xla_force_host_platform_device_count={needed} makes more of them"
        )
    if jax.process_count() > 1 and needed < len(there):
        raise InputError(
            f"data_devices = {data_devices} times time_devices = {time_devices} are {needed} devices; the"
            f" {jax.process_count()} processes have {len(there)}, and train with all of them"
        )
    sizes = {axis: count for axis, count in ((DATA, data_devices), (TIME, time_devices)) if count > 1}
    return Mesh(np.array(there[:needed]).reshape(*sizes.values()), tuple(sizes)) if sizes else None


def over_batch(
    model: Layer,
    xs: Shaped[Array, "sequences time *features"],
    resets: Bool[Array, "sequences time"] | None = None,
) -> Float[Array, "sequences time out"]:
    """The outputs of `model` for a batch of sequences `xs`, from fresh states, as `jax.vmap` gives them.

    Where `resets` is true, a token is the first of a new sequence.

    Where `fit` trains over a mesh, each device computes a part of the sequences and of the time. The batch is padded with
    zeros so that all parts are equal. The model is causal, so padding at the end changes no output before it.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = [axis if axis in mesh.axis_names else None for axis in (DATA, TIME)]

    def each(model, rows):
        return jax.vmap(lambda xs, resets: model(xs, resets=resets))(*rows)

    if not any(axes):
        return each(model, (xs, resets))
    return _in_parts(each, axes, model, (xs, resets))[:, : xs.shape[1]]


def over_rows(f: Callable[[Any, Any], Array], shared: PyTree, rows: PyTree[Array]) -> Shaped[Array, "rows ..."]:
    """The results of `f(shared, row)` for every row, as `jax.vmap` gives them.

    Where `fit` trains over a mesh, each device computes a part of the rows.

    **Raises:** `InputError` if the mesh spreads time, which is within a row here.
    """
    axes = jax.sharding.get_abstract_mesh().axis_names
    if TIME in axes:
        raise InputError("this model cannot be trained with time spread over devices; time_devices must be 1")
    each = jax.vmap(f, (None, 0))
    return _in_parts(each, [DATA], shared, rows) if DATA in axes else each(shared, rows)


def _in_parts(f: Callable[[Any, Any], Array], axes: list[str | None], shared: PyTree, rows: PyTree[Array]) -> Array:
    """`f(shared, rows)`, where the first axes of `rows` are spread over these axes of the mesh. Results for padding are cut."""
    sizes = [jax.sharding.get_abstract_mesh().shape.get(axis, 1) for axis in axes]

    def padded(x: Array) -> Array:
        widths = [(0, -n % size) for n, size in zip(x.shape, sizes, strict=False)]
        return jnp.pad(x, widths + [(0, 0)] * (x.ndim - len(widths)))

    arrays, rest = eqx.partition(shared, eqx.is_array)
    parts, count = PartitionSpec(*axes), len(jax.tree.leaves(rows)[0])
    run = jax.shard_map(
        lambda arrays, rows: f(eqx.combine(arrays, rest), rows), in_specs=(PartitionSpec(), parts), out_specs=parts
    )
    return run(arrays, jax.tree.map(padded, rows))[:count]


def spread_state(state: PyTree[Array]) -> PyTree[Array]:
    """The state of an optimiser, each array spread over the devices of the mesh's axis "data" where its sizes allow that.

    So a device keeps its part of the state alone (ZeRO-1, Rajbhandari et al. 2020). Without a mesh, nothing changes.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if DATA not in mesh.axis_names:
        return state

    def spread(x: Array) -> Array:
        axis = next((i for i, size in enumerate(x.shape) if size % mesh.shape[DATA] == 0), None)
        names: list[Any] = [None] * x.ndim
        if axis is not None:
            names[axis] = DATA
        return jax.lax.with_sharding_constraint(x, PartitionSpec(*names))

    return jax.tree.map(spread, state)
