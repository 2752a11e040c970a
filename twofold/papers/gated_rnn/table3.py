"""Table 3 of paper A: how many layers of each architecture are attention, or a gated RNN. They are built and measured."""

import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import jax
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ...convert import FORMS, Converted, to_gated_rnn, to_gru, to_lru, to_lstm
from ...layers import GatedRNN
from ...report.line_pictures import draw_costs
from ...report.provenance import write_json
from ...tasks.matched import count_parameters
from .measured_conversion import Cell, Conversion, Source, measured


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
"""How many layers are a gated RNN, and how many are attention; None where the paper has no construction."""
PLOTTED_SIZES = (2, 3, 4, 6, 8)
"""The sizes d for which costs are plotted."""


Cells = dict[str, dict[str, Cell]]
"""A `Cell` by architecture and source. The sources are "gated RNN", which has the size of the compact construction, and
attention with d x d weights in each form; for the minimal form its weights have rank d/2."""


def reproduce(conversion: Conversion, *, out: Path | str, progress: bool = True) -> Cells:
    """Convert, measure, and write table3.json and costs.png, the plot of costs, to `out`.

    **Raises:** `InputError` for sizes below 1.
    """
    conversion.check()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    costs: dict[str, dict[str, list[int]]] = {form: {} for form in FORMS}
    cells: Cells = {name: {} for name in CONVERSIONS}
    with jax.enable_x64(True):
        xs, sources = conversion.random_tokens(), _sources(conversion)
        plan = [*product(CONVERSIONS, sources), *product(FORMS, PLOTTED_SIZES)]
        for row, column in track(plan, "converting", disable=not progress):
            if isinstance(column, str):
                source, options = sources[column]
                cells[row][column] = measured(source, CONVERSIONS[row](source, tokens=len(xs), **options), xs)
            else:
                for name, parameters in _costs(row, Conversion(d=column, seed=conversion.seed)).items():
                    costs[row].setdefault(name, []).append(parameters)
    draw_costs(PLOTTED_SIZES, costs).savefig(folder / "costs.png")
    write_json(
        folder / "table3.json",
        conversion.as_json()
        | {
            "cells": {name: {column: cell._asdict() for column, cell in row.items()} for name, row in cells.items()},
            "published_layers": {name: {"gated RNN": a, "attention": b} for name, (a, b) in PUBLISHED.items()},
            "costs": {"d": PLOTTED_SIZES, "parameters": costs},
        },
    )
    return cells


def table(cells: Cells, conversion: Conversion) -> Table:
    """The cells beside the published numbers of layers."""
    d = conversion.d
    shown = Table(
        "layers of",
        "for gated RNN, attention",
        *cells["LRU"],
        title=f"Table 3 (paper A): d = {d}, {conversion.dtype}, relative error over {conversion.tokens} random tokens",
        caption=f"Attention itself has 3 d^2 = {3 * d * d} parameters. Neurons are hidden ones; parameters include zeros.",
        show_lines=True,
    )
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
    return f"{published}\nbuilt: {built[0]}, {built[1]}" + ("" if built == PUBLISHED[name] else "\n[red]differs[/red]")


def _shown(cell: Cell) -> str:
    layers = f"{cell.layers} layer{'s' * (cell.layers > 1)}"
    return f"{layers}\n{cell.neurons:,} neurons\n{cell.parameters:,} parameters\nerror {cell.error:.1e}"


def _sources(conversion: Conversion) -> dict[str, tuple[Source, dict[str, str]]]:
    """The sources, and the forms in which they are converted, by the columns of the table."""
    attention, rnn = conversion.random_sources()
    low, rank = conversion.half_rank()
    return {
        "gated RNN": (rnn, {}),
        "attention, paper form": (attention, {"form": "paper"}),
        "attention, compact": (attention, {"form": "compact"}),
        f"attention of rank {rank}, minimal": (low, {"form": "minimal"}),
    }


def _costs(form: str, conversion: Conversion) -> dict[str, int]:
    """The parameters of every architecture for attention; for the minimal form its weights have rank d/2."""
    source = conversion.half_rank()[0] if form == "minimal" else conversion.random_sources()[0]
    networks = {name: convert(source, form=form, tokens=100) for name, convert in CONVERSIONS.items()}
    return {"attention": 3 * conversion.d**2} | {name: count_parameters(made) for name, made in networks.items()}


@dataclasses.dataclass
class Command(Conversion):
    """Build LRUs, LSTMs and GRUs that are attention or a gated RNN, and measure their size and error (paper A, table 3).

    Example: twofold reproduce table3 --d 6 --tokens 1000 --dtype float32
    """

    out: Path = Path("runs/table3")
    """The folder for figures and the picture of costs."""

    def run(self, console: Console) -> None:
        console.print(table(reproduce(self, out=self.out), self))
        console.print(f"The figures, and a picture of the costs, are in {self.out}.")
