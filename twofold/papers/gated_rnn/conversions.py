"""The pictures of docs/ideas/constructions.md: the weights of conversions, how long a GRU lasts, what fewer neurons lose."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import track

from ...convert import to_gated_rnn, to_gru, to_lru, to_lstm
from ...convert.growing_gru import error_by_token
from ...convert.minimal_memory import best_fit, least_loss
from ...layers import LinearSelfAttention
from ...report.line_pictures import draw_lines
from ...report.provenance import write_json
from ...report.weight_pictures import draw_layers, draw_weights
from .measured_conversion import attention_of_rank

GROWTHS = (10.0, 1e3, 1e5)
"""The factors by which the states of growing GRUs grow at each token."""
GROWN_TOKENS, SUMMED_TOKENS = 400, 10_000
"""How many tokens the errors of growing GRUs, and of running sums, are measured over."""
MEMORIES = range(7)
"""How many memory neurons are fitted."""


def draw(out: Path | str, *, seed: int = 0, progress: bool = True) -> dict[str, dict[str, Any]]:
    """Write all pictures, and conversions.json with the figures behind them, to `out`, and return these figures."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with jax.enable_x64(True):
        attention = LinearSelfAttention(2, 2, key=jax.random.key(seed))
        constructed = {form: to_gated_rnn(attention, form) for form in ("paper", "compact")}
        draw_weights(constructed).savefig(folder / "gated-rnn.png")
        networks = {
            "lru-out": to_lru(attention, "out"),
            "lru-in-out": to_lru(attention, "in-out"),
            "lru-in-skip": to_lru(attention, "in-skip"),
            "lstm": to_lstm(attention),
            "gru": to_gru(attention, tokens=256),
        }
        for name, network in networks.items():
            draw_layers(network).savefig(folder / f"{name}.png")

        errors = {f"growing by {growth:,.0f} a token": error_by_token(growth, GROWN_TOKENS, seed) for growth in GROWTHS}
        errors[f"running sums, made for {SUMMED_TOKENS:,} tokens"] = _error_of_sums(seed)
        errors["running sums, made for 100 tokens"] = _error_of_sums(seed, 100)
        smooth = {name: _running_rms(error) for name, error in errors.items()}

        low = attention_of_rank(2, 4, seed)
        memory = {
            "best found": [best_fit(low, n) for n in track(MEMORIES, "fitting", disable=not progress)],
            "lower bound": [least_loss(low, n) for n in MEMORIES],
        }
    draw_lines(
        {name: (np.arange(1, len(error) + 1), error) for name, error in smooth.items()},
        xlabel="token",
        ylabel="relative error",
    ).savefig(folder / "gru-error.png")
    draw_lines(
        {name: (np.array(MEMORIES), np.maximum(part, 1e-16)) for name, part in memory.items()},
        xlabel="memory neurons",
        ylabel="part of the memory that is lost",
        log_x=False,
    ).savefig(folder / "memory.png")
    lasting = {name: [int(np.argmax(error > 0.3)) or len(error)] for name, error in smooth.items()}
    figures: dict[str, dict[str, Any]] = {"memory": memory, "tokens until the error is 0.3": lasting}
    write_json(folder / "conversions.json", {"seed": seed} | figures)
    return figures


def _error_of_sums(seed: int, made_for: int = SUMMED_TOKENS) -> np.ndarray:
    """The error of attention as GRU layers at every token, relative to the size of the outputs so far."""
    attention = LinearSelfAttention(4, 4, key=jax.random.key(seed))
    network = to_gru(attention, tokens=made_for)
    xs = jax.random.normal(jax.random.key(seed), (SUMMED_TOKENS, 4))
    truth, ours = (np.asarray(jax.jit(lambda xs, layer=layer: layer(xs))(xs)) for layer in (attention, network))
    return np.linalg.norm(ours - truth, axis=1) / _running_rms(np.linalg.norm(truth, axis=1))


def _running_rms(error: np.ndarray, width: int = 9) -> np.ndarray:
    """The root mean square over `width` tokens."""
    padded = np.pad(error**2, (width - 1, 0), mode="edge")
    return np.sqrt(np.convolve(padded, np.full(width, 1 / width), mode="valid"))


@dataclasses.dataclass
class Command:
    """Draw the pictures of docs/ideas/constructions.md: the weights of every conversion, and how far the approximate ones reach.

    Example: twofold reproduce conversions --out docs/conversions
    """

    seed: int = 0
    """The seed of weights and tokens."""
    out: Path = Path("runs/conversions")
    """The folder for figures and pictures."""

    def run(self, console: Console) -> None:
        draw(self.out, seed=self.seed)
        console.print(f"Figures and pictures are in {self.out}.")
