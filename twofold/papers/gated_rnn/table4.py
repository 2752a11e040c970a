"""Table 4 of paper A: the LSTM weights that are attention, and those that are a gated RNN; built, read back, measured."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from ...convert import to_lstm
from ...errors import InputError
from ...layers import LSTM, GatedRNN, LinearSelfAttention
from ...report.pictures import draw_layers
from ...report.provenance import write_json
from .conversion_settings import Conversion
from .table3 import Cell, Dtype, measured, random_sources

GATES = ("f", "c~", "g", "o")


class Block(NamedTuple):
    """One layer of the table."""

    title: str
    published: dict[str, tuple[str, str, str]]
    """U, V, b of each gate, as printed in the paper."""
    built: dict[str, tuple[str, str, str]]
    """The same, read from the weights."""


def reproduce(
    *, d: int = 4, tokens: int = 256, dtype: Dtype = "float64", seed: int = 0, out: Path | str
) -> tuple[list[Block], dict[str, Cell]]:
    """Convert attention (in the paper's form) and a gated RNN to LSTMs; write table4.json and pictures of the weights.

    **Returns:** the layers, and a `Cell` of either conversion. **Raises:** `InputError` for sizes below 1.
    """
    if d < 1 or tokens < 1:
        raise InputError(f"d is {d} and tokens is {tokens}; both must be at least 1")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with jax.enable_x64(True):
        attention, rnn = random_sources(d, dtype, seed)
        one, two = to_lstm(attention, form="paper", tokens=tokens), to_lstm(rnn, tokens=tokens)
        xs = np.asarray(jax.random.normal(jax.random.key(seed), (tokens, d)))
        cells = {"attention": measured(attention, one, xs), "gated RNN": measured(rnn, two, xs)}
        draw_layers(one, folder / "attention.png")
        draw_layers(two, folder / "gated-rnn.png")
        blocks = _blocks(attention, rnn, *one.stack.layers, *two.stack.layers)
    write_json(
        folder / "table4.json",
        {
            "d": d,
            "tokens": tokens,
            "dtype": dtype,
            "seed": seed,
            "layers": [block._asdict() for block in blocks],
            "cells": {name: cell._asdict() for name, cell in cells.items()},
        },
    )
    return blocks, cells


def table(blocks: list[Block], cells: dict[str, Cell], d: int, tokens: int, dtype: Dtype) -> Table:
    """Each gate's U, V and b as published and as built."""
    caption = [
        f"{name}: {c.layers} layer{'s' * (c.layers > 1)}, {c.neurons:,} neurons, {c.parameters:,} parameters, relative"
        f" error {c.error:.1e}, scale {c.scale:.1e}"
        for name, c in cells.items()
    ]
    shown = Table(
        title=f"Table 4 (paper A): LSTM weights, d = {d}, {dtype}, error over {tokens} random tokens",
        caption="\n".join(
            [
                *caption,
                "e: small factors, a different one each row, undone by the readout; ±: doubled rows;",
                "in U: of the constant 1; c~ and g of layer 2 may exchange rows",
            ]
        ),
    )
    for heading in ("layer", "gate", "U", "V", "b", "U, built", "V, built", "b, built"):
        shown.add_column(heading)
    for block in blocks:
        for gate in GATES:
            title = block.title if gate == "f" else ""
            shown.add_row(title, gate, *block.published[gate], *block.built[gate])
        shown.add_section()
    return shown


def _blocks(attention: LinearSelfAttention, rnn: GatedRNN, *layers: Any) -> list[Block]:
    """What the paper has, and what the weights of the one layer and of the two turn out to be."""
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
    """(U, V, b) of each gate by name; `u` is U in the coordinates of the candidates."""
    parts = zip(GATES, *(np.split(np.asarray(w, np.float64), 4) for w in (layer.u, u, layer.v, layer.b)), strict=True)
    return {
        gate: (_name(u if np.any(own) else own, candidates), _name(v, {}), _bias(b, forgets))
        for gate, own, u, v, b in parts
    }


def _name(rows: np.ndarray, candidates: dict) -> str:
    """The matrices whose rows these are, up to sign and size."""
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
    for name, value in forgets.items():
        if np.allclose(1 / (1 + np.exp(-b)), value, atol=1e-6):
            return name
    return f"{b[0]:g}" if np.all(b == b[0]) else "in U"


def _sizes(rows) -> np.ndarray:
    return np.linalg.norm(np.asarray(rows, np.float64), axis=1)


@dataclasses.dataclass
class Command(Conversion):
    """The LSTM weights that are attention, and those that are a gated RNN (paper A): built, read back and measured.

    Example: twofold reproduce table4 --d 3
    """

    out: Path = Path("runs/table4")
    """Folder for figures and pictures."""

    def run(self, console: Console) -> None:
        blocks, cells = reproduce(d=self.d, tokens=self.tokens, dtype=self.dtype, seed=self.seed, out=self.out)
        console.print(table(blocks, cells, self.d, self.tokens, self.dtype))
        console.print(f"Figures and pictures are in {self.out}.")
