"""The main job on real data: attention into RNN, RNN into attention, and attention on a stream in constant memory."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from .convert import FORMS, to_gated_rnn
from .data.uea import LabelledSet
from .deploy import Stream
from .layers import Layer, LinearSelfAttention
from .papers.gated_rnn import table1
from .report.pictures import draw_streams
from .report.provenance import write_json
from .tasks.classification import Classification
from .tasks.run import Run, train

STREAM_TOKENS = 100_000
SAMPLED = (100, 1_000, 10_000, 100_000)
"""Tokens in the stream at which state and time are measured."""


def run(out: Path, console: Console) -> dict[str, Any]:
    """Do it all, print a summary, and write demo.json and the pictures to `out`. Returns the figures."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    console.rule("1  Attention is an RNN: one layer, converted exactly")
    conversions = _convert(console)
    console.rule("2  An RNN turns out to be attention: a student trained from scratch")
    students, seconds = table1.reproduce(table1.QUICK["paper"], seeds=1, seed=0, out=out / "table1-quick")
    console.print(table1.table(students, table1.QUICK["paper"]))
    console.rule("3  Two classifiers of real speech: which of nine speakers said the vowels?")
    settings = {mixer: Classification(mixer=mixer) for mixer in ("aaren", "softmax-attention")}
    runs = {mixer: train(s, out / f"{s.dataset}-{mixer}") for mixer, s in settings.items()}
    _print_classifiers(console, runs)
    console.rule(f"4  A stream of {STREAM_TOKENS:,} real tokens")
    data = runs["aaren"].data
    streams = {
        "Aaren": _stream(runs["aaren"].models[0], data),
        "Transformer": _cached(runs["softmax-attention"].models[0], settings["softmax-attention"], data),
    }
    _print_streams(console, streams)
    draw_streams(streams, out / "stream.png")
    weights = out / "weights.png"
    weights.write_bytes((out / "table1-quick" / "seed-0" / "weights.png").read_bytes())
    figures = {
        "conversions": conversions,
        "student": students[0].figures._asdict() | {"seconds": seconds},
        "classifiers": {name: run.figures for name, run in runs.items()},
        "streams": streams,
        "seconds": time.perf_counter() - began,
    }
    write_json(out / "demo.json", figures)
    console.rule()
    console.print(
        f"Done in {figures['seconds']:.0f} s. Every figure is in {out / 'demo.json'};"
        f" the pictures are {weights} and {out / 'stream.png'}."
    )
    return figures


def _convert(console: Console) -> list[dict[str, Any]]:
    attention = LinearSelfAttention(4, 4, key=jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (1000, 4))
    truth = attention(xs)
    rows = []
    table = Table(title="Linear self-attention, d = 4, as a gated RNN; error over 1,000 random tokens")
    for column in ("form", "hidden neurons", "gate rows", "relative error"):
        table.add_column(column, justify="left" if column == "form" else "right")
    for form in FORMS:
        rnn = to_gated_rnn(attention, form)
        error = float(jnp.linalg.norm(rnn(xs) - truth) / jnp.linalg.norm(truth))
        rows.append({"form": form, "hidden": rnn.hidden_size, "gate_rows": rnn.gate_size, "relative_error": error})
        table.add_row(form, str(rnn.hidden_size), str(rnn.gate_size), f"{error:.1e}")
    console.print(table)
    return rows


def _stream(model: Layer, data: LabelledSet) -> dict[str, Any]:
    """Push the test set's tokens, over and over, one at a time."""
    stream, tokens = Stream(model), data.test.real
    stream.push(tokens[0])  # compiles
    stream.reset()
    states, seconds, start = [], [], time.perf_counter()
    for i in track(range(STREAM_TOKENS), "Aaren, token by token"):
        stream.push(tokens[i % len(tokens)])
        if stream.tokens in SAMPLED:
            states.append(stream.state_bytes)
            seconds.append(time.perf_counter() - start)
    spans = np.diff([0, *seconds]) / np.diff([0, *SAMPLED])
    return {
        "tokens": list(SAMPLED),
        "state_bytes": states,
        "seconds_per_token": spans.tolist(),
        "cumulative_seconds": seconds,
    }


def _cached(model: Layer, settings: Classification, data: LabelledSet) -> dict[str, Any]:
    """The time of a token with a KV cache of each sampled length, and from these the time of all tokens up to it."""
    tokens, states, each = data.test.real, [], []
    for length in SAMPLED:
        longer = settings.model(data, jax.random.key(0), capacity=length)
        stream = Stream(jax.tree.unflatten(jax.tree.structure(longer), jax.tree.leaves(model)))
        times = []
        for x in tokens[:30]:
            start = time.perf_counter()
            stream.push(x)
            times.append(time.perf_counter() - start)
        states.append(stream.state_bytes)
        each.append(float(np.median(times[1:])))  # the first one compiles
    spans = np.diff([0, *SAMPLED]) * (np.array([each[0], *each[:-1]]) + each) / 2
    return {
        "tokens": list(SAMPLED),
        "state_bytes": states,
        "seconds_per_token": each,
        "cumulative_seconds": np.cumsum(spans).tolist(),
    }


def _print_classifiers(console: Console, runs: dict[str, Run]) -> None:
    names = {run.data.name for run in runs.values()}
    table = Table(title=f"{', '.join(names)}, split as published")
    for column in ("model", "test accuracy", "train accuracy", "parameters", "training"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, run in runs.items():
        accuracies = [f"{run.tables[0][part]['accuracy']:.4f}" for part in ("test", "train")]
        table.add_row(name, *accuracies, f"{run.figures['parameters']:,}", f"{run.figures['seconds']:.0f} s")
    console.print(table)


def _print_streams(console: Console, streams) -> None:
    table = Table(title="As the stream grows")
    table.add_column("tokens", justify="right")
    for name in streams:
        table.add_column(f"{name}: state", justify="right")
        table.add_column("per token", justify="right")
        table.add_column("in all", justify="right")
    for i, tokens in enumerate(SAMPLED):
        cells = []
        for s in streams.values():
            cells += [
                _memory(s["state_bytes"][i]),
                f"{s['seconds_per_token'][i] * 1e3:,.2f} ms",
                f"{s['cumulative_seconds'][i]:,.2f} s",
            ]
        table.add_row(f"{tokens:,}", *cells)
    console.print(table)
    console.print(
        "Aaren: every token pushed and timed. Transformer: one token timed with a KV cache of each length, the sum estimated."
    )


def _memory(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{size / 2**10:,.1f} KiB"
