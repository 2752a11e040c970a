"""Table 4 of paper A: the LSTM weights that are attention, and those that are a gated RNN. They are built and read back."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from ...convert import to_lstm
from ...layers import LSTM, GatedRNN, LinearSelfAttention
from ...report.provenance import write_json
from ...report.weight_pictures import draw_layers
from .measured_conversion import Cell, Conversion, measured

GATES = ("f", "c~", "g", "o")
LEGEND = (
    "e: each row has a small factor of its own, which the readout undoes. ±: each row is there with both signs.",
    "in U: the bias is the column of U that reads the constant 1, in the paper's terms.",
    "c~ and g of layer 2 may exchange rows, since their product stays the same.",
)


class Block(NamedTuple):
    """One layer of the table: U, V and b of each gate, by the gate's name."""

    title: str
    published: dict[str, tuple[str, str, str]]
    """The names of the weights in the paper."""
    built: dict[str, tuple[str, str, str]]
    """The names that the weights turn out to have."""


def reproduce(conversion: Conversion, *, out: Path | str) -> tuple[list[Block], dict[str, Cell]]:
    """Convert attention (in the paper's form) and a gated RNN to LSTMs; write table4.json and pictures of the weights.

    **Returns:** the layers, and a `Cell` for each of the two conversions. **Raises:** `InputError` for sizes below 1.
    """
    conversion.check()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with jax.enable_x64(True):
        attention, rnn = conversion.random_sources()
        one = to_lstm(attention, form="paper", tokens=conversion.tokens)
        two = to_lstm(rnn, tokens=conversion.tokens)
        xs = conversion.random_tokens()
        cells = {"attention": measured(attention, one, xs), "gated RNN": measured(rnn, two, xs)}
        draw_layers(one).savefig(folder / "attention.png")
        draw_layers(two).savefig(folder / "gated-rnn.png")
        blocks = _blocks(attention, rnn, *one.stack.layers, *two.stack.layers)
    write_json(
        folder / "table4.json",
        conversion.as_json()
        | {
            "layers": [block._asdict() for block in blocks],
            "cells": {name: cell._asdict() for name, cell in cells.items()},
        },
    )
    return blocks, cells


def table(blocks: list[Block], cells: dict[str, Cell], conversion: Conversion) -> Table:
    """U, V and b of each gate, as published and as built."""
    told = [
        f"{name}: {c.layers} layer{'s' * (c.layers > 1)}, {c.neurons:,} neurons, {c.parameters:,} parameters, relative"
        f" error {c.error:.1e}, scale {c.scale:.1e}"
        for name, c in cells.items()
    ]
    shown = Table(
        *("layer", "gate", "U", "V", "b", "U, built", "V, built", "b, built"),
        title=f"Table 4 (paper A): LSTM weights, d = {conversion.d}, {conversion.dtype}, error over"
        f" {conversion.tokens} random tokens",
        caption="\n".join([*told, *LEGEND]),
    )
    for block in blocks:
        for gate in GATES:
            title = block.title if gate == "f" else ""
            shown.add_row(title, gate, *block.published[gate], *block.built[gate])
        shown.add_section()
    return shown


def _blocks(attention: LinearSelfAttention, rnn: GatedRNN, *layers: Any) -> list[Block]:
    """The published weights, and those that are read back from the one layer and from the two."""
    one, first, second = layers
    lam = np.asarray(rnn.lam, np.float64)
    w_in = {"W_m^in": rnn.w_in_m, "W_x^in": rnn.w_in_x}
    w_out = {"W_m^out": rnn.w_out_m, "W_x^out": rnn.w_out_x}
    weights = {"W_V": attention.w_v[0], "W_K": attention.w_k[0], "W_Q": attention.w_q[0]}
    # The tokens' constant 1 is the bias; and the second layer reads the first's doubled neurons as small as they are.
    n, with_bias = rnn.hidden_size, np.column_stack([first.u, first.b])
    _, c, g, _ = np.split(with_bias, 4)
    made = 2 / (_sizes(c[:n]) / _sizes(rnn.w_in_x) * _sizes(g[:n]) / _sizes(rnn.w_in_m))
    opened, closed = ("0", "0", "+inf"), ("0", "0", "-inf")
    return [
        Block(
            "attention",
            {"f": opened, "c~": ("W_K", "0", "0"), "g": ("W_V", "0", "0"), "o": ("W_Q", "0", "0")},
            _read(one, one.u, weights, {}),
        ),
        Block(
            "gated RNN, layer 1",
            {"f": ("0", "0", "s^-1(lambda)"), "c~": ("W_x^in", "0", "0"), "g": ("W_m^in", "0", "0"), "o": opened},
            _read(first, with_bias, w_in, {"s^-1(lambda)": np.tile(lam, 2)}),
        ),
        Block(
            "gated RNN, layer 2",
            {"f": closed, "c~": ("W_x^out", "0", "0"), "g": ("W_m^out", "0", "0"), "o": opened},
            _read(second, np.asarray(second.u)[:, :n] / made, w_out, {}),
        ),
    ]


def _read(layer: LSTM, u, candidates: dict, forgets: dict) -> dict[str, tuple[str, str, str]]:
    """The names of (U, V, b) for each gate; `u` is U in the coordinates of the candidates."""
    parts = zip(GATES, *(np.split(np.asarray(w, np.float64), 4) for w in (layer.u, u, layer.v, layer.b)), strict=True)
    return {
        gate: (_name(u if np.any(own) else own, candidates), _name(v, {}), _bias(b, forgets))
        for gate, own, u, v, b in parts
    }


def _name(rows: np.ndarray, candidates: dict) -> str:
    """The names of the matrices whose rows these are, up to sign and size."""
    sizes = _sizes(rows)
    if not np.any(sizes):
        return "0"
    names, signs = set(), set()
    for row in rows[sizes > 0]:
        cosines = {
            name: np.asarray(w / _sizes(w)[:, None]) @ row / np.linalg.norm(row) for name, w in candidates.items()
        }
        name = max(cosines, key=lambda name: np.max(np.abs(cosines[name])))
        cosine = cosines[name][np.argmax(np.abs(cosines[name]))]
        if abs(cosine) < 1 - 1e-5:
            return "something else"
        names.add(name)
        signs.add(cosine > 0)
    return ("±e " if len(signs) == 2 else "e ") + ", ".join(sorted(names))


def _bias(b: np.ndarray, forgets: dict[str, np.ndarray]) -> str:
    """The name of a bias of the forget gate, by the factor that it forgets with; else its value, or "in U"."""
    for name, value in forgets.items():
        if np.allclose(1 / (1 + np.exp(-b)), value, atol=1e-6):
            return name
    return f"{b[0]:g}" if np.all(b == b[0]) else "in U"


def _sizes(rows) -> np.ndarray:
    return np.linalg.norm(np.asarray(rows, np.float64), axis=1)


@dataclasses.dataclass
class Command(Conversion):
    """Build an LSTM that is attention and one that is a gated RNN, and find the paper's weights in both (paper A, table 4).

    Example: twofold reproduce table4 --d 3
    """

    out: Path = Path("runs/table4")
    """The folder for figures and pictures."""

    def run(self, console: Console) -> None:
        console.print(table(*reproduce(self, out=self.out), self))
        console.print(f"Figures and pictures are in {self.out}.")
