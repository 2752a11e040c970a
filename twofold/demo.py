"""The demo: attention becomes an RNN, an RNN turns out to be attention, and attention runs on a stream in constant memory."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track

from .convert import FORMS, to_gated_rnn
from .data.uea import LabelledSet
from .deploy import Stream
from .layers import Layer, LinearSelfAttention
from .papers.attention_as_rnn.efficiency import integrated
from .papers.gated_rnn import table1
from .report.line_pictures import draw_streams
from .report.provenance import write_json
from .report.tables import console_table
from .tasks.classification import Classification
from .tasks.run import Run, train

STREAM_TOKENS = 100_000
SAMPLED = (100, 1_000, 10_000, 100_000)
"""The numbers of tokens at which state and time are measured."""


def run(out: Path, console: Console) -> dict[str, Any]:
    """Do all parts, print their figures, write demo.json and the pictures to `out`, and return the figures."""
    began = time.perf_counter()
    settings = {mixer: Classification(mixer=mixer) for mixer in ("aaren", "softmax-attention")}
    settings["aaren"].load()  # If the data sets are not installed, say so now and not after minutes.
    out.mkdir(parents=True, exist_ok=True)
    console.rule("1  Attention is an RNN: one layer, converted exactly")
    conversions = _convert(console)
    console.rule("2  An RNN turns out to be attention: a student trained from scratch")
    recipe = table1.QUICK["paper"]
    students = table1.reproduce(recipe, out=out / "table1-quick")
    console.print(table1.table(table1.results_of(students, recipe)))
    console.rule("3  Two classifiers of real speech: which of nine speakers said the vowels?")
    runs = {mixer: train(s, out / f"{s.dataset}-{mixer}") for mixer, s in settings.items()}
    _print_classifiers(console, runs)
    console.rule(f"4  Both classifiers on a stream of {STREAM_TOKENS:,} real tokens")
    data = runs["aaren"].data
    streams = {
        "Aaren": _stream(runs["aaren"].models[0], data),
        "Transformer": _cached(runs["softmax-attention"].models[0], settings["softmax-attention"], data),
    }
    _print_streams(console, streams)
    draw_streams(streams).savefig(out / "stream.png")
    weights = out / "weights.png"
    weights.write_bytes((out / "table1-quick" / "seed-0" / "weights.png").read_bytes())
    figures = {
        "conversions": conversions,
        "student": students[0].figures._asdict() | {"seconds": table1.seconds_of(students)},
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
    figures: list[dict[str, Any]] = []
    for form in FORMS:
        rnn = to_gated_rnn(attention, form)
        error = float(jnp.linalg.norm(rnn(xs) - truth) / jnp.linalg.norm(truth))
        figures.append({"form": form, "hidden": rnn.hidden_size, "gate_rows": rnn.gate_size, "relative_error": error})
    console.print(
        console_table(
            ("form", "hidden neurons", "gate rows", "relative error"),
            [(f["form"], str(f["hidden"]), str(f["gate_rows"]), f"{f['relative_error']:.1e}") for f in figures],
            title="Linear self-attention, d = 4, as a gated RNN; error over 1,000 random tokens",
        )
    )
    return figures


def _stream(model: Layer, data: LabelledSet) -> dict[str, Any]:
    """Push the tokens of the test part, over and over, one at a time."""
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
    """The time of one token with a KV cache of each sampled length, and from these times the time of all tokens until then."""
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
    return {
        "tokens": list(SAMPLED),
        "state_bytes": states,
        "seconds_per_token": each,
        "cumulative_seconds": integrated(each, SAMPLED),
        "integrated": True,
    }


def _print_classifiers(console: Console, runs: dict[str, Run]) -> None:
    def row(name: str, run: Run) -> tuple[str, ...]:
        accuracies = (f"{run.tables[0][part]['accuracy']:.4f}" for part in ("test", "train"))
        return name, *accuracies, f"{run.figures['parameters']:,}", f"{run.figures['seconds']:.0f} s"

    headings = ("model", "test accuracy", "train accuracy", "parameters", "training")
    title = f"{runs['aaren'].data.name}, split as published"
    console.print(console_table(headings, [row(*item) for item in runs.items()], title=title))


def _print_streams(console: Console, streams: dict[str, dict[str, Any]]) -> None:
    def cells(stream: dict[str, Any], i: int) -> tuple[str, ...]:
        each, total = stream["seconds_per_token"][i], stream["cumulative_seconds"][i]
        return _memory(stream["state_bytes"][i]), f"{each * 1e3:,.2f} ms", f"{total:,.2f} s"

    headings = [heading for name in streams for heading in (f"{name}: state", "per token", "in all")]
    rows = [
        (f"{tokens:,}", *(cell for stream in streams.values() for cell in cells(stream, i)))
        for i, tokens in enumerate(SAMPLED)
    ]
    console.print(console_table(("tokens", *headings), rows, title="As the stream grows"))
    console.print(
        "Aaren: every token was pushed and timed. Transformer: one token was timed with a KV cache of each length, and the"
        " time of all tokens was integrated from these times."
    )


def _memory(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{size / 2**10:,.1f} KiB"
