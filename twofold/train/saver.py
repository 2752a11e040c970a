"""Save a run from time to time, at its end, and before a signal ends the process."""

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
from .processes import any_process, check_alike, is_first, on_this
from .signals import Interruption, interruption

logger = logging.getLogger(__name__)


class Saver:
    """Saves the state of a run together with its history, every `every` seconds."""

    def __init__(self, checkpoint: Checkpoint, history: History, asked: Interruption, every: float):
        self.checkpoint, self.history, self.asked, self.every = checkpoint, history, asked, every
        self.last = time.perf_counter()

    def restore(self, state: State) -> State:
        """The saved state, or `state` if nothing is saved. The saved history replaces the present one."""
        restored = self.checkpoint.restore(self._packed(state))
        check_alike(-1 if restored is None else restored[0], self.checkpoint.folder)
        if restored is None:
            return state
        packed = restored[1]
        self.history.restore(packed["history"])
        leaves, structure = jax.tree.leaves(packed["state"]), jax.tree.structure(state)
        return jax.tree.unflatten(structure, leaves)

    def stretch_done(self, state: State) -> None:
        """Save the state if it is time, and end the process if a signal has asked for it.

        **Raises:** `KeyboardInterrupt` or `SystemExit` after a signal, once the state is saved.
        """
        self.asked.unsaved = True
        due = time.perf_counter() - self.last > self.every or self.asked.asked is not None
        if self.history.finished() or any_process(due):
            packed = self._packed(on_this(state))
            if is_first():
                self.checkpoint.save(self.history.done(), packed)
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
    """The saver of a run that is not saved. It does nothing."""

    def restore(self, state: State) -> State:
        return state

    def stretch_done(self, state: State) -> None:
        pass


@contextlib.contextmanager
def saver(
    folder: Path | str | None, population: Population, history: History, *, every: float
) -> Iterator[Saver | NoSaver]:
    """A saver for a run, for the time of a `with` block. The folder is locked, and signals wait until the run is saved.

    Without a folder, nothing is saved.

    **Raises:** `InputError` if another run uses the folder.
    """
    if folder is None:
        yield NoSaver()
        return
    with locked(folder) if is_first() else contextlib.nullcontext(), interruption() as asked:
        yield Saver(Checkpoint(folder, identity_of(population, history)), history, asked, every)
