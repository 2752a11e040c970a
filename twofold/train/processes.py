"""Training that several processes share, on one machine or on many. JAX moves all data between them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..errors import InputError

SHUTDOWN = 30
"""A process that ends waits so many seconds for the others to end, too."""


def join_processes(coordinator: str, processes: int | None = None, process: int | None = None) -> None:
    """Make this process one of several that train together. Nothing of JAX may have run before.

    If one of them is lost, `fit` raises `ConnectionError` in the others. If it is the first one, JAX may end the others itself,
    with a text that says so.

    **Arguments:**

    - `coordinator`: `host:port` of the first process, at which the others find it. With `"auto"`, JAX takes all three from
        SLURM, Kubernetes, Open MPI or a TPU.
    - `processes`: how many processes there are.
    - `process`: the number of this one, counted from 0.

    **Raises:** `InputError` for numbers that do not fit, and if the other processes cannot be reached.
    """
    known = coordinator != "auto"
    if known and (processes is None or process is None or not 0 <= process < processes):
        raise InputError(
            f"process is {process} of {processes} processes; with a coordinator, processes must be their number, and process"
            " must be between 0 and one less"
        )
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator if known else None, processes, process, shutdown_timeout_seconds=SHUTDOWN
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the processes of coordinator {coordinator!r} cannot train together: {error}") from error


def is_first() -> bool:
    """Whether this process writes and prints for all."""
    return jax.process_index() == 0


def on_all(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays that all processes have alike, as arrays of all devices of a mesh. A single process leaves that to JAX."""
    if mesh is None or jax.process_count() == 1:
        return tree
    everywhere = NamedSharding(mesh, PartitionSpec())

    def put(x: Any) -> Any:
        if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.device_put(x, everywhere)
        numbers, kind = jax.device_put(jax.random.key_data(x), everywhere), jax.random.key_impl(x)
        return jax.jit(lambda numbers: jax.random.wrap_key_data(numbers, impl=kind), out_shardings=everywhere)(numbers)

    return jax.tree.map(put, tree)


def on_this(tree: Any) -> Any:
    """Arrays of all devices, as arrays of one device of this process. All processes call it at the same point."""
    if jax.process_count() == 1:
        return tree
    gathered = jax.jit(lambda tree: tree, out_shardings=PartitionSpec())(tree)
    return jax.tree.map(lambda x: x.addressable_data(0), gathered)


def any_process(flag: bool) -> bool:
    """Whether any process calls it with True. All processes call it at the same point."""
    return flag if jax.process_count() == 1 else bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def check_alike(step: int, place: Any) -> None:
    """Check that all processes go on from the same step.

    **Raises:** `InputError` if they read other checkpoints in the folder `place`.
    """
    if jax.process_count() > 1:
        steps = multihost_utils.process_allgather(np.array(step)).tolist()
        if len(set(steps)) > 1:
            raise InputError(
                f"the processes go on from steps {', '.join(map(str, steps))}; {place} must be the same folder for all of them"
            )


def wait_for_all() -> None:
    """Wait until all processes have come here, since the first one must not end before the others."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("twofold")


@contextlib.contextmanager
def loss_of_another() -> Iterator[None]:
    """Say in one sentence that another process was lost.

    **Raises:** `ConnectionError` then.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        reason = str(error).partition("\n")[0]
        raise ConnectionError(
            "another process of this training has ended or cannot be reached; start all of them again to go on from the last"
            f" checkpoint ({reason})"
        ) from error
