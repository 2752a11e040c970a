"""The training loop: whole stretches of steps compiled, populations of seeds trained together."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, Scalar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..errors import InputError
from .checkpoint import Checkpoint

Model = TypeVar("Model")


class Trained(NamedTuple):
    """What `fit` returns."""

    models: Any
    """The trained models, every array with a leading axis for seeds, as given; with validation each as it was at its best."""
    losses: Float[np.ndarray, "seeds records"]
    """The mean training loss of each stretch of steps; NaN from where training stopped early."""
    validation: Float[np.ndarray, "seeds records"]
    """The validation loss after each stretch; all NaN without validation."""
    steps: Int[np.ndarray, " records"]
    """How many steps were done at the end of each stretch."""
    seconds: float
    """Wall time spent in training, over all sessions of a resumed run."""
    best: list[int]
    """The record at which each seed's model was kept; -1 without validation, or where its loss was never finite."""


def fit(
    loss: Callable[[Model, Any, PRNGKeyArray], Scalar],
    models: Model,
    data: Any,
    *,
    optimiser: optax.GradientTransformation,
    steps: int,
    key: PRNGKeyArray | Key[Array, " seeds"],
    shared_data: bool = False,
    records: int = 500,
    validation: Callable[[Model, Any], Scalar] | None = None,
    patience: int | None = None,
    log: Path | str | None = None,
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
    - `key`: for all seeds, or a key each.
    - `records`: how many stretches the run is compiled and reported in.
    - `validation`: `(model, data) -> scalar`, a loss on data held out. Each seed's model is kept as it was where this was
        smallest, measured after every stretch.
    - `patience`: a seed ends after this many stretches without a smaller validation loss; the run ends with the last seed.
    - `log`: a file that takes a JSON line a stretch: steps, seconds, and the seeds' losses.
    - `checkpoint`: a folder. The run is saved there every `checkpoint_seconds`, and continues from there to
        bit-identical results if it was stopped. Nothing is saved if not given.

    **Raises:** `InputError` if the checkpoint is not of this run, and `FloatingPointError` if every model's loss
    becomes NaN before any was validated.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; it must be at least 1")
    if patience is not None and (patience < 1 or validation is None):
        raise InputError(f"patience is {patience}; it must be at least 1, and needs a validation loss")
    params, static = eqx.partition(models, eqx.is_inexact_array)
    seeds = len(jax.tree.leaves(params)[0])
    one_key_ndim = 0 if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else 1  # new keys, and those of the old kind
    keys = key if key.ndim > one_key_ndim else jax.random.split(key, seeds)
    data_arrays, data_static = eqx.partition(data, eqx.is_array)

    def train_one(params, opt_state, key, data_arrays, first, length):
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

    def each_seed(f, *args):
        """`f` of every seed's arguments, the data last; one seed alone is not batched, which costs a third of the speed."""
        if seeds > 1:
            return jax.vmap(f, (*[0] * (len(args) - 1), data_axis))(*args)
        first = [jax.tree.map(lambda x: x[0], tree) for tree in args[:-1]]
        data = args[-1] if shared_data else jax.tree.map(lambda x: x[0], args[-1])
        return jax.tree.map(lambda x: x[None], f(*first, data))

    @partial(jax.jit, static_argnames="length", donate_argnums=(0, 1))
    def stretch(params, opt_state, keys, data_arrays, first, length):
        return each_seed(partial(train_one, first=first, length=length), params, opt_state, keys, data_arrays)

    @jax.jit
    def validate(params, data_arrays):
        def one(params, data_arrays):
            assert validation is not None
            return validation(eqx.combine(params, static), eqx.combine(data_arrays, data_static))

        return each_seed(one, params, data_arrays)

    @partial(jax.jit, donate_argnums=1)
    def keep(params, kept, better):
        return jax.tree.map(lambda x, y: jnp.where(better.reshape(-1, *[1] * (x.ndim - 1)), x, y), params, kept)

    lengths = _stretches(steps, records)
    params = jax.tree.map(jnp.copy, params)  # for the stretch consumes its arguments
    opt_state = jax.vmap(optimiser.init)(params)
    kept = jax.tree.map(jnp.copy, params) if validation is not None else None
    done, seconds = 0, 0.0
    losses, validated = np.full((2, seeds, len(lengths)), np.nan)
    ends = np.cumsum(lengths)

    def snapshot() -> dict[str, Any]:
        leaves = {
            "params": jax.tree.leaves(params),
            "optimiser": jax.tree.leaves(opt_state),
            "kept": jax.tree.leaves(kept),
        }
        return leaves | {"losses": losses, "validation": validated, "seconds": np.asarray(seconds)}

    saved = Checkpoint(checkpoint) if checkpoint is not None else None
    if saved is not None and (restored := saved.restore(snapshot())) is not None:
        done, state = restored
        losses, validated = np.array(state["losses"]), np.array(state["validation"])
        seconds = float(state["seconds"])
        params = jax.tree.unflatten(jax.tree.structure(params), state["params"])
        opt_state = jax.tree.unflatten(jax.tree.structure(opt_state), state["optimiser"])
        kept = jax.tree.unflatten(jax.tree.structure(kept), state["kept"])
    completed = int(np.searchsorted(ends, done, side="right"))

    def write_line(index: int) -> None:
        line = {"step": int(ends[index]), "seconds": round(seconds, 3), "loss": losses[:, index].tolist()}
        if validation is not None:
            line["validation"] = validated[:, index].tolist()
        if log is not None:
            with Path(log).open("a") as file:
                file.write(json.dumps(line) + "\n")

    def best_records() -> list[tuple[int, bool]]:
        return [_best_record(row[: int(np.searchsorted(ends, done, side="right"))], patience) for row in validated]

    def finished() -> bool:
        return done == steps or all(over for _, over in best_records())

    if log is not None:
        _keep_lines(Path(log), completed)
    last_save = clock = time.perf_counter()
    with _progress_bar(progress and not finished()) as bar:
        task = bar.add_task(title, total=steps, completed=done, loss="", speed=0.0)
        for index in range(completed, len(lengths)):
            if finished():
                break
            params, opt_state, loss_now = stretch(params, opt_state, keys, data_arrays, done, length=lengths[index])
            losses[:, index] = loss_now
            done += lengths[index]
            shown = f"loss {np.mean(losses[:, index]):.3e}"
            if validation is not None:
                validated[:, index] = validate(params, data_arrays)
                better = np.array([best == index for best, _ in best_records()])
                kept = keep(params, kept, better)
                shown += f"  validation {np.mean(validated[:, index]):.3e}"
            now = time.perf_counter()
            seconds, speed, clock = seconds + now - clock, lengths[index] / (now - clock), now
            bar.update(task, completed=done, loss=shown, speed=speed)
            write_line(index)
            if np.all(np.isnan(losses[:, index])) and not np.any(np.isfinite(validated)):
                raise FloatingPointError(
                    f"the training loss became NaN by step {done}; a smaller learning rate may help"
                )
            if saved is not None and (now - last_save > checkpoint_seconds or finished()):
                saved.save(done, snapshot())
                last_save = time.perf_counter()
    return Trained(
        eqx.combine(params if kept is None else kept, static),
        losses,
        validated,
        ends,
        seconds,
        [best for best, _ in best_records()],
    )


def _best_record(validated: np.ndarray, patience: int | None) -> tuple[int, bool]:
    """The record of the smallest finite validation loss before patience ran out, and whether it did; -1 if there is none."""
    best = -1
    for index, value in enumerate(validated):
        if np.isfinite(value) and (best < 0 or value < validated[best]):
            best = index
        elif patience is not None and index - max(best, 0) >= patience:
            return best, True
    return best, False


def _keep_lines(file: Path, number: int) -> None:
    """The first lines of a file alone: those after the last checkpoint are written again."""
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    file.write_text("".join(lines[:number]))


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
        TextColumn("{task.fields[loss]}  {task.fields[speed]:,.0f} steps/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=not shown,
    )
