"""The losses of a run. They say when each seed was at its best, and when its patience was over."""

import json
from pathlib import Path

import numpy as np
from jaxtyping import ArrayLike, Float

from ..atomic import write_whole


class History:
    """The losses of a run, stretch by stretch.

    The run has at most `records` stretches. All have the same length, except that the last one may be shorter.
    """

    def __init__(self, steps: int, records: int, seeds: int, *, validated: bool, patience: int | None):
        length = -(-steps // min(records, steps))
        whole, rest = divmod(steps, length)
        self.lengths = [length] * whole + [rest] * (rest > 0)
        self.ends = np.cumsum(self.lengths)
        self.validated, self.patience = validated, patience
        self.completed = 0
        """How many stretches are done."""
        self.losses, self.validation = np.full((2, seeds, len(self.lengths)), np.nan)
        self.seconds = np.zeros(len(self.lengths))
        """How long training had taken at the end of each stretch."""

    def done(self) -> int:
        """How many steps are done."""
        return int(self.ends[self.completed - 1]) if self.completed else 0

    def elapsed(self) -> float:
        """How many seconds training has taken."""
        return float(self.seconds[self.completed - 1]) if self.completed else 0.0

    def add(
        self, losses: Float[ArrayLike, " seeds"], validation: Float[ArrayLike, " seeds"] | None, seconds: float
    ) -> None:
        """Record the losses of the next stretch, and the seconds that it took."""
        self.seconds[self.completed] = self.elapsed() + seconds
        self.losses[:, self.completed] = losses
        if validation is not None:
            self.validation[:, self.completed] = validation
        self.completed += 1

    def best(self) -> list[int]:
        """For each seed, the stretch with the smallest finite validation loss before its patience was over, or -1 for none."""
        return [best for best, _ in self._best_records()]

    def finished(self) -> bool:
        """Whether all steps are done, or the patience of every seed is over."""
        return self.completed == len(self.lengths) or all(over for _, over in self._best_records())

    def _best_records(self) -> list[tuple[int, bool]]:
        return [_best_record(row[: self.completed], self.patience) for row in self.validation]

    def arrays(self) -> dict[str, np.ndarray]:
        """The history as arrays, for a checkpoint."""
        done = np.asarray(self.completed)
        return {"losses": self.losses, "validation": self.validation, "seconds": self.seconds, "completed": done}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Replace this history by one that `arrays` returned."""
        self.losses, self.validation = arrays["losses"], arrays["validation"]
        self.seconds, self.completed = arrays["seconds"], int(arrays["completed"])

    def write(self, file: Path | str) -> None:
        """Write a line of JSON for each stretch that is done: steps, seconds, and the losses of all seeds."""
        write_whole(file, "".join(self._line(index) for index in range(self.completed)))

    def append(self, file: Path | str) -> None:
        """Add the line of the last stretch to a file that `write` has written."""
        with Path(file).open("a") as opened:
            opened.write(self._line(self.completed - 1))

    def _line(self, index: int) -> str:
        seconds = round(float(self.seconds[index]), 3)
        line = {"step": int(self.ends[index]), "seconds": seconds, "loss": self.losses[:, index].tolist()}
        if self.validated:
            line["validation"] = self.validation[:, index].tolist()
        return json.dumps(line) + "\n"


def _best_record(validated: np.ndarray, patience: int | None) -> tuple[int, bool]:
    """The stretch with the smallest finite validation loss before patience was over (-1 for none), and whether it was over."""
    best = -1
    for index, value in enumerate(validated):
        if np.isfinite(value) and (best < 0 or value < validated[best]):
            best = index
        elif patience is not None and index - max(best, 0) >= patience:
            return best, True
    return best, False
