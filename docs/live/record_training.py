"""Record the film of docs/live/training.md: a student that is trained to compute attention, after every step.

Run `python -m docs.live.record_training` in the root of the repository. It takes a minute, and writes data/training.json.
"""

from pathlib import Path

import jax
import numpy as np

from twofold.discover import decompile, finetune, prune
from twofold.forms import gated_rnn_weights
from twofold.layers import GatedRNN, LinearSelfAttention
from twofold.report import provenance
from twofold.report.provenance import four_digits, write_json

FILE = Path(__file__).parent / "data" / "training.json"
SIZES = {"d": 2, "neurons": 10, "gate_rows": 20}
TEACHER, STUDENT = 4, 9
"""The seeds of the random weights. The tokens of `finetune` have the seed 0."""
STEPS = 40
"""The loss is then rounding."""


def weights(rnn: GatedRNN) -> dict[str, list]:
    """The weights by their names, each a list of rows."""
    return {name: rounded(w) for name, w in gated_rnn_weights(rnn)._asdict().items()}


def rounded(w: np.ndarray) -> list:
    return np.vectorize(lambda value: float(f"{value:.3g}"))(w).tolist() if w.size else []


def beginning() -> tuple[GatedRNN, LinearSelfAttention]:
    """The student before its training, and its teacher."""
    d, neurons, gate_rows = SIZES.values()
    student = GatedRNN(d, d, hidden_size=neurons, gate_size=gate_rows, key=jax.random.key(STUDENT))
    return student, LinearSelfAttention(d, d, key=jax.random.key(TEACHER))


def main() -> None:
    student, teacher = beginning()
    whole = finetune(student, teacher, steps=STEPS)
    # A run of n steps is the beginning of the whole run, because nothing in it is random.
    networks = [student, *(finetune(student, teacher, steps=n).network for n in range(1, len(whole.losses)))]
    assert all((w == v).all() for w, v in zip(*map(jax.tree.leaves, (networks[-1], whole.network)), strict=True))
    pruned = prune(whole.network, 1e-3).network
    provenance.command = "python -m docs.live.record_training"
    write_json(
        FILE,
        {
            "sizes": SIZES,
            "seeds": {"teacher": TEACHER, "student": STUDENT, "tokens": 0},
            "teacher": {name: rounded(np.asarray(getattr(teacher, name)[0])) for name in ("w_v", "w_k", "w_q")},
            "losses": four_digits(whole.losses),
            "seconds": four_digits(whole.seconds),
            "residuals": four_digits(decompile(network).residual for network in networks),
            "networks": [weights(network) for network in networks],
            "pruned": weights(pruned) | {"residual": four_digits([decompile(pruned).residual])[0]},
        },
    )


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
