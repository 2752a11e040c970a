"""The training loop: whole stretches of steps compiled, populations of seeds trained together."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Float, PRNGKeyArray, Scalar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..errors import InputError
from .checkpoint import Checkpoint

Model = TypeVar("Model")


class Trained(NamedTuple):
    """What `fit` returns."""

    models: Any
    """The trained models, every array with a leading axis for seeds, as given."""
    losses: Float[np.ndarray, "seeds records"]
    """The mean training loss of each stretch of steps."""
    seconds: float
    """Wall time spent in training, over all sessions of a resumed run."""


def fit(
    loss: Callable[[Model, Any, PRNGKeyArray], Scalar],
    models: Model,
    data: Any,
    *,
    optimiser: optax.GradientTransformation,
    steps: int,
    key: PRNGKeyArray,
    shared_data: bool = False,
    records: int = 500,
    checkpoint: Path | str | None = None,
    checkpoint_seconds: float = 30.0,
    title: str = "training",
    progress: bool = True,
) -> Trained:
    """Minimise `loss` by `steps` steps of `optimiser`, for several models at once.

    **Arguments:**

    - `loss`: `(model, data, key) -> scalar`; draws its own batch with the key, which differs in every step and seed.
    - `models`: the models to train, stacked: every array has a leading axis, one entry a seed. `eqx.filter_vmap` of a
        constructor over keys makes one.
    - `data`: a pytree of arrays, stacked likewise, or with `shared_data` one for all.
    - `records`: how many stretches the run is compiled and reported in.
    - `checkpoint`: a folder. The run is saved there every `checkpoint_seconds`, and continues from there to
        bit-identical results if it was stopped. Nothing is saved if not given.

    **Raises:** `InputError` if the checkpoint is not of this run, and `FloatingPointError` if every model's loss
    becomes NaN.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; it must be at least 1")
    params, static = eqx.partition(models, eqx.is_inexact_array)
    seeds = len(jax.tree.leaves(params)[0])
    keys = jax.random.split(key, seeds)
    data_arrays, data_static = eqx.partition(data, eqx.is_array)

    def train_one(params, opt_state, data_arrays, key, first, length):
        data = eqx.combine(data_arrays, data_static)

        def objective(params, key):
            return loss(eqx.combine(params, static), data, key)

        def step(carry, i):
            params, opt_state = carry
            value, grads = jax.value_and_grad(objective)(params, jax.random.fold_in(key, i))
            updates, opt_state = optimiser.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), value

        carry, values = lax.scan(step, (params, opt_state), first + jnp.arange(length))
        return *carry, jnp.mean(values)

    data_axis = None if shared_data else 0

    def train_all(params, opt_state, data_arrays, keys, first, length):
        def one(params, opt_state, data_arrays, key):
            return train_one(params, opt_state, data_arrays, key, first, length)

        if seeds == 1:  # a batch of one costs a third of the speed on a CPU
            alone = [jax.tree.map(lambda x: x[0], tree) for tree in (params, opt_state, keys)]
            data_alone = data_arrays if shared_data else jax.tree.map(lambda x: x[0], data_arrays)
            results = one(alone[0], alone[1], data_alone, alone[2])
            return jax.tree.map(lambda x: x[None], results)
        return jax.vmap(one, (0, 0, data_axis, 0))(params, opt_state, data_arrays, keys)

    stretch = jax.jit(train_all, static_argnames="length", donate_argnums=(0, 1))
    lengths = _stretches(steps, records)
    params = jax.tree.map(jnp.copy, params)  # for the stretch consumes its arguments
    opt_state = jax.vmap(optimiser.init)(params)
    done, losses, seconds = 0, np.full((seeds, len(lengths)), np.nan), 0.0

    def snapshot() -> dict[str, Any]:
        leaves = {"params": jax.tree.leaves(params), "optimiser": jax.tree.leaves(opt_state)}
        return leaves | {"losses": losses, "seconds": np.asarray(seconds)}

    saved = Checkpoint(checkpoint) if checkpoint is not None else None
    if saved is not None and (restored := saved.restore(snapshot())) is not None:
        done, state = restored
        losses, seconds = np.array(state["losses"]), float(state["seconds"])
        params = jax.tree.unflatten(jax.tree.structure(params), state["params"])
        opt_state = jax.tree.unflatten(jax.tree.structure(opt_state), state["optimiser"])
    completed = int(np.searchsorted(np.cumsum(lengths), done, side="right"))

    last_save = clock = time.perf_counter()
    with _progress_bar(progress and completed < len(lengths)) as bar:
        task = bar.add_task(title, total=steps, completed=done, loss=float("nan"), speed=0.0)
        for index in range(completed, len(lengths)):
            params, opt_state, loss_now = stretch(params, opt_state, data_arrays, keys, done, lengths[index])
            losses[:, index] = loss_now
            done += lengths[index]
            now = time.perf_counter()
            seconds, speed, clock = seconds + now - clock, lengths[index] / (now - clock), now
            bar.update(task, completed=done, loss=float(np.mean(losses[:, index])), speed=speed)
            if np.all(np.isnan(losses[:, index])):
                raise FloatingPointError(
                    f"the training loss became NaN by step {done}; a smaller learning rate may help"
                )
            if saved is not None and (now - last_save > checkpoint_seconds or done == steps):
                saved.save(done, snapshot())
                last_save = time.perf_counter()
    return Trained(eqx.combine(params, static), losses, seconds)


def _stretches(steps: int, records: int) -> list[int]:
    """Lengths of the compiled stretches: equal ones, and a shorter one at the end where they do not fit."""
    length = -(-steps // min(records, steps))
    whole, rest = divmod(steps, length)
    return [length] * whole + [rest] * (rest > 0)


def _progress_bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3e}  {task.fields[speed]:,.0f} steps/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=not shown,
    )
