"""Table 3 of paper A: how many layers of each architecture implement attention, or a gated RNN; built and measured."""

import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ...convert import FORMS, Converted, to_gated_rnn, to_gru, to_lru, to_lstm
from ...errors import InputError
from ...layers import GatedRNN, LinearSelfAttention
from ...report.pictures import draw_costs
from ...report.provenance import write_json
from .conversion_settings import Conversion

Dtype = Literal["float64", "float32"]
Source = LinearSelfAttention | GatedRNN


def _gated_rnn(source: Source, *, tokens: int, form: str = "compact") -> GatedRNN:
    """The construction of figure 1: exact, whatever the number of tokens."""
    return source if isinstance(source, GatedRNN) else to_gated_rnn(source, form)


CONVERSIONS: dict[str, Callable[..., GatedRNN | Converted]] = {
    "gated RNN": _gated_rnn,
    "LRU": partial(to_lru, gating="out"),
    "LRU In-Out": partial(to_lru, gating="in-out"),
    "LRU In-Skip": partial(to_lru, gating="in-skip"),
    "LSTM": to_lstm,
    "GRU": to_gru,
}
PUBLISHED: dict[str, tuple[int | None, int | None]] = {
    "gated RNN": (1, 1),
    "LRU": (2, 2),
    "LRU In-Out": (1, 1),
    "LRU In-Skip": (2, 1),
    "LSTM": (2, 1),
    "GRU": (None, None),
}
"""Layers for the gated RNN, and for attention."""
PLOTTED_SIZES = (2, 3, 4, 6, 8)


class Cell(NamedTuple):
    """One conversion: what it takes, and how far its outputs are from the source's."""

    layers: int
    neurons: int
    parameters: int
    error: float
    """|y - y'| / |y| over all outputs of random tokens, unit Gaussian; y in float64."""
    error_bound: float | None = None
    """The most by which any entry of an output can be off, for tokens of entries up to 4."""
    scale: float | None = None


def reproduce(
    *, d: int = 4, tokens: int = 256, dtype: Dtype = "float64", seed: int = 0, out: Path | str, progress: bool = True
) -> dict[str, dict[str, Cell]]:
    """Convert, measure, and write table3.json, the plot of costs to `out`.

    **Returns:** by architecture and source, a `Cell`: "gated RNN" of the size of the compact construction, and attention
    with d x d weights in each form; "minimal" of attention whose weights have rank d/2. **Raises:** `InputError` for
    sizes below 1.
    """
    if d < 1 or tokens < 1:
        raise InputError(f"d is {d} and tokens is {tokens}; both must be at least 1")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    costs: dict[str, dict[str, list[int]]] = {form: {} for form in FORMS}
    cells: dict[str, dict[str, Cell]] = {name: {} for name in CONVERSIONS}
    with jax.enable_x64(True):
        xs = np.asarray(jax.random.normal(jax.random.key(seed), (tokens, d)))
        sources = _columns(d, dtype, seed)
        plan = [*product(CONVERSIONS, sources), *product(FORMS, PLOTTED_SIZES)]
        for row, column in track(plan, "converting", disable=not progress):
            if isinstance(column, str):
                source, options = sources[column]
                network = CONVERSIONS[row](source, tokens=tokens, **options)
                cells[row][column] = measured(source, network, xs)
            else:
                for name, parameters in _costs(row, column, seed).items():
                    costs[row].setdefault(name, []).append(parameters)
    draw_costs(PLOTTED_SIZES, costs, folder / "costs.png")
    write_json(
        folder / "table3.json",
        {
            "d": d,
            "tokens": tokens,
            "dtype": dtype,
            "seed": seed,
            "cells": {name: {column: cell._asdict() for column, cell in row.items()} for name, row in cells.items()},
            "published_layers": {name: {"gated RNN": a, "attention": b} for name, (a, b) in PUBLISHED.items()},
            "costs": {"d": PLOTTED_SIZES, "parameters": costs},
        },
    )
    return cells


def random_sources(d: int, dtype: Dtype, seed: int) -> tuple[LinearSelfAttention, GatedRNN]:
    """Attention with N(0, 1/d) weights, and a random gated RNN of the size of its compact construction."""
    keys = jax.random.split(jax.random.key(seed + 1), 2)
    pairs = d * (d + 1) // 2
    sources = (
        LinearSelfAttention(d, d, key=keys[0]),
        GatedRNN(d, d, hidden_size=pairs + d, gate_size=pairs, key=keys[1]),
    )
    return jax.tree.map(lambda x: x.astype(dtype), sources)


def measured(source: Source, network: GatedRNN | Converted, xs: np.ndarray) -> Cell:
    """What the network takes, and how far its outputs are from those of the source, which is run in float64."""
    in_double = jax.tree.map(lambda x: x.astype("float64"), source)
    truth, ours = (np.asarray(_run(layer, xs)) for layer in (in_double, network))
    error = float(np.linalg.norm(ours - truth) / np.linalg.norm(truth))
    if isinstance(network, GatedRNN):
        return Cell(1, network.hidden_size, _parameters(network), error)
    return Cell(network.layers, network.neurons, network.parameters, error, network.error_bound, network.scale)


def table(cells: dict[str, dict[str, Cell]], d: int, tokens: int, dtype: Dtype) -> Table:
    """The cells beside the published numbers of layers."""
    shown = Table(
        title=f"Table 3 (paper A): d = {d}, {dtype}, relative error over {tokens} random tokens",
        caption=f"Attention itself has 3 d^2 = {3 * d * d} parameters. Neurons are hidden ones; parameters include zeros.",
        show_lines=True,
    )
    for heading in ("layers of", "for gated RNN, attention", *cells["LRU"]):
        shown.add_column(heading)
    for name, row in cells.items():
        shown.add_row(name, _verdict(name, row), *(_shown(cell) for cell in row.values()))
    return shown


def _verdict(name: str, row: dict[str, Cell]) -> str:
    rnn, attention, *_ = row.values()
    built = rnn.layers, attention.layers
    if PUBLISHED[name] == (None, None):
        return (
            "published: -, -\nat every length none:\nits state is in (-1, 1)\nand leaks into products;\n"
            f"over these tokens\nbuilt: {built[0]}, {built[1]}"
        )
    published = "published: {}, {}".format(*PUBLISHED[name])
    return f"{published}\nbuilt: {built[0]}, {built[1]}" + ("" if built == PUBLISHED[name] else "\n[red]differs")


def _shown(cell: Cell) -> str:
    layers = f"{cell.layers} layer{'s' * (cell.layers > 1)}"
    return f"{layers}\n{cell.neurons:,} neurons\n{cell.parameters:,} parameters\nerror {cell.error:.1e}"


@eqx.filter_jit
def _run(layer, xs):
    return layer(xs)


def _columns(d: int, dtype: Dtype, seed: int) -> dict[str, tuple[Source, dict[str, str]]]:
    """What is converted, and in which form, by the columns of the table."""
    attention, rnn = random_sources(d, dtype, seed)
    rank = max(d // 2, 1)
    low = jax.tree.map(lambda x: x.astype(dtype), of_rank(rank, d, seed))
    return {
        "gated RNN": (rnn, {}),
        "attention, paper form": (attention, {"form": "paper"}),
        "attention, compact": (attention, {"form": "compact"}),
        f"attention of rank {rank}, minimal": (low, {"form": "minimal"}),
    }


def of_rank(rank: int, d: int, seed: int) -> LinearSelfAttention:
    """Attention whose W_V is a product of N(0, 1/d) factors, and W_K and W_Q have as many rows."""
    key = jax.random.key(seed + 2)
    left, right = jax.random.normal(key, (2, d, rank)) / d**0.5
    layer = LinearSelfAttention(d, d, key_size=rank, key=key)
    return eqx.tree_at(lambda l: l.w_v, layer, (left @ right.T)[None])


def _costs(form: str, d: int, seed: int) -> dict[str, int]:
    """Parameters of every architecture for attention; of rank d/2 for the minimal form."""
    source = random_sources(d, "float64", seed)[0] if form != "minimal" else of_rank(max(d // 2, 1), d, seed)
    networks = {name: convert(source, form=form, tokens=100) for name, convert in CONVERSIONS.items()}
    return {"attention": 3 * d * d} | {name: _parameters(network) for name, network in networks.items()}


def _parameters(network: Source | Converted) -> int:
    return sum(x.size for x in jax.tree.leaves(network))


@dataclasses.dataclass
class Command(Conversion):
    """How many layers of LRU, LSTM and GRU are attention, or a gated RNN (paper A): each is built and measured.

    Example: twofold reproduce table3 --d 6 --tokens 1000 --dtype float32
    """

    out: Path = Path("runs/table3")
    """Folder for figures and pictures."""

    def run(self, console: Console) -> None:
        cells = reproduce(d=self.d, tokens=self.tokens, dtype=self.dtype, seed=self.seed, out=self.out)
        console.print(table(cells, self.d, self.tokens, self.dtype))
        console.print(f"Figures and pictures are in {self.out}.")
