"""Memory and time as a stream grows: a Transformer with a KV cache, Aaren, and all other mixers (paper B)."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.integrate import cumulative_trapezoid

from ...errors import InputError
from ...layers import MIXERS
from ...report.line_pictures import draw_streams
from ...report.provenance import write_json
from ...report.tables import console_table
from ...tasks.matched import count_parameters
from ...train import kept, open_run
from . import stream_cost
from .stream_cost import CACHED, TIMED, TRANSFORMER, Cost, Job

NAMES = {name: mixer.title for name, mixer in MIXERS.items()}
PUBLISHED = {"Transformer": 3_152_384, "Aaren": 3_152_896}
"""The parameters that paper B gives for a block of width 512."""
METHODS = {
    "memory": "Each model has a process that does nothing else. peak_bytes is the largest resident memory while tokens were"
    " pushed, and increase_bytes is by how much it is above the resident memory with the compiled step, before there was a"
    " state.",
    "time": "All tokens are pushed one at a time, and each output is awaited.",
    "time of the Transformer": f"The time of one token is the median of {TIMED} tokens with a full KV cache of each length. The"
    " time of all tokens is integrated from these by the trapezoidal rule, as if the cache were never longer than the stream.",
}
"""How state, memory and time are measured, as efficiency.json tells it."""


def reproduce(
    *, tokens: int = 100_000, width: int = 512, heads: int = 8, out: Path | str, progress: bool = True
) -> dict[str, Any]:
    """Measure every mixer in a Transformer block, write efficiency.json and efficiency.png to `out`, and return the figures.

    What each process has measured is kept in `out`, so that a run that was stopped is continued. **Raises:** `InputError`
    for sizes below 1, for a width that does not split into heads, and if memory does not suffice.
    """
    for name, size in {"tokens": tokens, "width": width, "heads": heads}.items():
        if size < 1:
            raise InputError(f"{name} is {size}; it must be at least 1")
    if width % heads:
        raise InputError(
            f"width is {width}, which does not split into heads = {heads} equal heads; it must be a multiple"
        )
    jobs = _jobs(sampled(tokens), width, heads)
    costs: dict[str, list[Cost]] = {mixer: [] for mixer in NAMES}
    with open_run(out, {"experiment": "efficiency", "tokens": tokens, "width": width, "heads": heads}) as folder:
        for job in track(jobs, "measuring", disable=not progress):
            costs[job.mixer] += _measured(job, folder)
    figures: dict[str, Any] = {
        "tokens": tokens,
        "width": width,
        "heads": heads,
        "feed_forward_size": 4 * width,
        "methods": METHODS,
        "parameters": {
            "published, width 512": PUBLISHED,
            "built as published": built_as_published(width, heads),
            "ours": {NAMES[mixer]: column[0].parameters for mixer, column in costs.items()},
            "not in ours": not_in_ours(width),
        },
        "streams": {NAMES[mixer]: _stream(mixer, column) for mixer, column in costs.items()},
    }
    write_json(folder / "efficiency.json", figures)
    draw_streams(figures["streams"]).savefig(folder / "efficiency.png")
    return figures


def sampled(tokens: int) -> tuple[int, ...]:
    """The numbers of tokens at which to measure: 100, 300, 1,000, ... and at last `tokens`."""
    grid = (digit * 10**power for power in range(2, len(str(tokens))) for digit in (1, 3))
    return *(n for n in grid if n < tokens), tokens


def built_as_published(width: int, heads: int) -> dict[str, int]:
    """The parameters of the blocks of paper B, counted in arrays.

    The usual encoder layer has biases in all four projections of attention, and 12 d^2 + 13 d parameters. Aaren has d more: a
    learned token, of which W_q and its bias make the query.
    """
    attention = eqx.nn.MultiheadAttention(
        heads,
        width,
        use_query_bias=True,
        use_key_bias=True,
        use_value_bias=True,
        use_output_bias=True,
        key=jax.random.key(0),
    )
    block = eqx.tree_at(lambda block: block.mixer, Job(TRANSFORMER, width, heads, (1,)).block(), attention)
    return {"Transformer": _count(block), "Aaren": _count((block, jnp.zeros(width)))}


def not_in_ours(width: int) -> dict[str, dict[str, int]]:
    """The parameters that the published blocks have and ours do without.

    Our projections have no biases. Aaren's query does not depend on the tokens, so here it is learned itself: d numbers take
    the place of token, W_q and bias.
    """
    biases = {"biases of the four projections": 4 * width}
    return {"Transformer": biases, "Aaren": biases | {"W_q, its product being learned": width * width}}


def table(figures: dict[str, Any]) -> Table:
    """State, memory and time at powers of ten and at the last number of tokens."""
    streams, samples = figures["streams"], figures["streams"]["Aaren"]["tokens"]
    shown = [i for i, n in enumerate(samples) if str(n).rstrip("0") == "1" or n == samples[-1]]

    def row(name: str, stream: dict[str, Any]) -> tuple[str, ...]:
        cells = (
            f"{stream['state_bytes'][i] / 2**10:,.1f} KiB\n{stream['increase_bytes'][i] / 2**20:+,.1f} MiB\n"
            f"{stream['cumulative_seconds'][i]:,.2f} s"
            for i in shown
        )
        return f"{name}\n{figures['parameters']['ours'][name]:,}\nparameters", *cells

    return console_table(
        ("tokens", *(f"{samples[i]:,}" for i in shown)),
        [row(*item) for item in streams.items()],
        title=f"As the stream grows (width {figures['width']}, {figures['heads']} heads)",
        caption="The size of the state; by how much memory increases at its peak; the time of all tokens (Transformer:"
        " integrated from the time of one token with a full KV cache of each length).",
        show_lines=True,
    )


def parameter_table(figures: dict[str, Any]) -> Table:
    """The numbers of parameters beside the published ones."""
    counts = figures["parameters"]
    *columns, left_out = counts.values()

    def row(name: str) -> tuple[str, ...]:
        reasons = "\n".join(f"{n:,}: {what}" for what, n in left_out[name].items())
        return name, *(f"{column[name]:,}" for column in columns), reasons

    title = f"Parameters of a block of width {figures['width']}"
    return console_table(("", *counts), map(row, PUBLISHED), left=("not in ours",), title=title)


def _jobs(samples: tuple[int, ...], width: int, heads: int) -> list[Job]:
    """One job for each mixer; for a KV cache one for each of its lengths."""
    parts = {mixer: [(n,) for n in samples] if mixer in CACHED else [samples] for mixer in NAMES}
    return [Job(mixer, width, heads, part) for mixer in NAMES for part in parts[mixer]]


def _measured(job: Job, folder: Path) -> list[Cost]:
    """What the process of a job measures, or has measured before."""
    file = folder / f"{job.mixer}-{job.tokens[-1]}.json"
    return [Cost(**cost) for cost in kept(file, job._asdict(), lambda: [cost._asdict() for cost in _run(job)])]


def _run(job: Job) -> Iterator[Cost]:
    """Measure in a process of its own, whose memory is this model's alone."""
    command = [sys.executable, "-m", stream_cost.__name__, json.dumps(job._asdict())]
    # Its own session: an interruption is for this process, which then ends the other.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                yield Cost(**json.loads(line))
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise InputError(
            f"{job.mixer} could not be measured at {job.tokens[-1]:,} tokens (exit code {process.returncode});"
            " if memory was short, choose fewer --tokens or a smaller --width"
        )


def _stream(mixer: str, costs: list[Cost]) -> dict[str, Any]:
    """The costs of one model by columns, and the time of all tokens."""
    columns: dict[str, Any] = dict(zip(Cost._fields, map(list, zip(*costs, strict=True)), strict=True))
    tokens, seconds = columns["tokens"], columns.pop("seconds")
    del columns["parameters"]
    if mixer in CACHED:
        each, total = seconds, integrated(seconds, tokens)
    else:
        each, total = np.diff([0, *seconds]) / np.diff([0, *tokens]), seconds
    return columns | {
        "increase_bytes": [cost.peak_bytes - cost.program_bytes for cost in costs],
        "seconds_per_token": list(map(float, each)),
        "cumulative_seconds": list(total),
        "integrated": mixer in CACHED,
    }


def integrated(seconds: Sequence[float], tokens: Sequence[int]) -> list[float]:
    """The time of all tokens up to each number of them, by the trapezoidal rule from the time of one token there."""
    return (seconds[0] * tokens[0] + cumulative_trapezoid(seconds, tokens, initial=0)).tolist()


def _count(tree) -> int:
    return count_parameters(eqx.filter(tree, eqx.is_array))


@dataclasses.dataclass
class Command:
    """Measure memory and time as a stream grows: a Transformer with a KV cache, Aaren, and all other mixers (paper B).

    A run that was stopped is continued.

    Examples: twofold reproduce efficiency --quick | twofold reproduce efficiency |
    twofold reproduce efficiency --tokens 20000 --width 256 --out runs/narrow
    """

    tokens: int = 100_000
    """The length of the stream."""
    width: int = 512
    """The size of a token. The hidden layer of the feed-forward part has four times this size."""
    heads: int = 8
    """The number of attention heads."""
    quick: bool = False
    """Measure 1,000 tokens, with width 64 and 4 heads, whatever these options say. This takes less than a minute."""
    out: Path | None = None
    """The folder for figures and the picture. If not given, it is runs/efficiency or runs/efficiency-quick."""

    def run(self, console: Console) -> None:
        out = self.out or Path("runs") / ("efficiency" + "-quick" * self.quick)
        tokens, width, heads = (1_000, 64, 4) if self.quick else (self.tokens, self.width, self.heads)
        figures = reproduce(tokens=tokens, width=width, heads=heads, out=out)
        console.print(parameter_table(figures))
        console.print(table(figures))
        console.print(f"Figures and the picture are in {out}.")
