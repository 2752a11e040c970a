"""When a run is saved: every now and then, at its end, and before the process ends at a signal."""

import contextlib
import logging
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from .checkpoint import Checkpoint
from .history import History
from .identity import identity_of
from .lock import locked
from .population import Population, State
from .signals import Interruption, interruption

logger = logging.getLogger(__name__)


class Saver:
    """Saves the state of a run together with its history."""

    def __init__(self, checkpoint: Checkpoint, history: History, asked: Interruption, every: float):
        self.checkpoint, self.history, self.asked, self.every = checkpoint, history, asked, every
        self.last = time.perf_counter()

    def restore(self, state: State) -> State:
        """The saved state, whose history is taken over; `state`, the first one, if nothing is saved."""
        restored = self.checkpoint.restore(self._packed(state))
        if restored is None:
            return state
        packed = restored[1]
        self.history.restore(packed["history"])
        leaves, structure = jax.tree.leaves(packed["state"]), jax.tree.structure(state)
        return jax.tree.unflatten(structure, leaves)

    def stretch_done(self, state: State) -> None:
        """Save if it is time to, and end if the process was asked to.

        **Raises:** `KeyboardInterrupt` or `SystemExit` after a signal, once the state is saved.
        """
        self.asked.unsaved = True
        due = time.perf_counter() - self.last > self.every
        if due or self.history.finished() or self.asked.asked is not None:
            self.checkpoint.save(self.history.done(), self._packed(state))
            self.last = time.perf_counter()
            self.asked.unsaved = False
        if self.asked.asked == signal.SIGTERM:
            logger.warning(
                "terminated after step %d, which is saved; the same call continues the run", self.history.done()
            )
        self.asked.end()

    def _packed(self, state: State) -> dict[str, Any]:
        return {"state": jax.tree.leaves(state), "history": self.history.arrays()}


class NoSaver:
    """The saver of a run that is not saved."""

    def restore(self, state: State) -> State:
        return state

    def stretch_done(self, state: State) -> None:
        pass


@contextlib.contextmanager
def saver(
    folder: Path | str | None, population: Population, history: History, *, every: float
) -> Iterator[Saver | NoSaver]:
    """What saves a run in a folder, which is locked meanwhile; signals wait for it.

    **Raises:** `InputError` if another run uses the folder.
    """
    if folder is None:
        yield NoSaver()
        return
    with locked(folder), interruption() as asked:
        yield Saver(Checkpoint(folder, identity_of(population, history)), history, asked, every)
