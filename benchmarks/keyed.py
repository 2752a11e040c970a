"""Tokens per second of `KeyedStream` beside the same tokens in one compiled scan, which has no keys to look after."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax import lax
from rich.console import Console

from twofold import keep_memory
from twofold.deploy import KeyedStream
from twofold.models import EventModel, SequenceModel, event_features
from twofold.report.provenance import write_json
from twofold.report.tables import console_table

TOKENS = 4096


def models() -> dict[str, Any]:
    """Models of the usual size of tasks."""
    periods = tuple(2.0**i for i in range(1, 9))
    inner = SequenceModel(event_features(16, periods), 40, width=32, num_heads=4, key=jax.random.key(0))
    return {
        "events, Aaren, width 32": EventModel(inner, marks=16, periods=periods),
        "GRU, width 64": SequenceModel(8, 4, width=64, mixer="gru", key=jax.random.key(1)),
        "Aaren, width 64": SequenceModel(8, 4, width=64, num_heads=4, key=jax.random.key(2)),
    }


def measured(run: Callable[[], object], repeats: int) -> dict[str, float]:
    """The tokens per second, of the wall and of the processor, in the best of some runs."""
    run()
    wall, cpu = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return {"wall": TOKENS / min(wall), "cpu": TOKENS / min(cpu)}


def scanned(model: Any, keys: int, xs: np.ndarray) -> Callable[[], object]:
    """The same tokens in one scan over time, in which each key takes a step: the states never leave the device."""
    states = jax.tree.map(lambda x: jnp.stack([x] * keys), model.init_state())
    tokens = jnp.asarray(xs).reshape(-1, keys, xs.shape[1])
    run = jax.jit(lambda states, xs: lax.scan(lambda s, x: jax.vmap(model.step)(s, x), states, xs))
    return lambda: jax.block_until_ready(run(states, tokens))


def run(out: Path = Path("runs/keyed"), repeats: int = 20) -> None:
    """Measure batches of 4096 tokens, of 1, 16, 256 and 4096 keys.

    Args:
        out: The folder for keyed.json.
        repeats: The best of so many runs counts.
    """
    keep_memory()
    rows: list[tuple[str, ...]] = []
    figures: list[dict[str, Any]] = []
    for name, model in models().items():
        for keys in (1, 16, 256, 4096):
            xs = np.abs(np.random.default_rng(0).normal(size=(TOKENS, model.in_size))).astype(np.float32)
            stream, names = KeyedStream(model), [f"key {i % keys}" for i in range(TOKENS)]
            ours = measured(partial(stream.push, names, xs), repeats)
            scan = measured(scanned(model, keys, xs), repeats)
            figures.append({"model": name, "keys": keys, "KeyedStream": ours, "one scan": scan})
            rows.append(
                (name, f"{keys:,}", f"{ours['cpu']:,.0f}", f"{scan['cpu']:,.0f}", f"{scan['cpu'] / ours['cpu']:.2f}")
            )
    Console().print(console_table(("", "keys", "KeyedStream", "one scan", "ratio"), rows))
    Console().print("Tokens per second of processor time.")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "keyed.json", {"tokens": TOKENS, "tokens per second": figures})


if __name__ == "__main__":
    tyro.cli(run, prog="python -m benchmarks.keyed")
