"""Checkpoints of a training run: a killed run continues where it was."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..errors import InputError


class Checkpoint:
    """The newest saved state of one training run, in a folder of its own.

    Writing is atomic: a run killed while saving keeps the state before.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder).absolute()

    def _manager(self):
        import orbax.checkpoint as ocp  # here, because it takes seconds to import and most commands never need it

        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        handler = ocp.StandardCheckpointHandler()
        return ocp.args, ocp.CheckpointManager(self.folder, options=options, item_handlers=handler)

    def save(self, step: int, state: Any) -> None:
        """Keep `state`, a pytree of arrays, as that after `step` steps."""
        args, manager = self._manager()
        with manager:
            manager.save(step, args=args.StandardSave(state))

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """The saved (step, state), of the structure and shapes of `like`, or None if nothing is saved.

        **Raises:** `InputError` if what is saved is that of another run, or damaged.
        """
        if not self.folder.is_dir():
            return None
        args, manager = self._manager()
        with manager:
            step = manager.latest_step()
            if step is None:
                return None
            try:
                # Looked at before it is read: a read that fails half-way leaves others pending in the background.
                saved = manager.item_metadata(step).tree
                if _shapes(saved) != _shapes(like):
                    raise ValueError("it is of other sizes")
                return step, manager.restore(step, args=args.StandardRestore(like))
            except (ValueError, KeyError, OSError, AttributeError) as error:
                raise InputError(
                    f"{self.folder} holds no checkpoint of this run ({str(error).splitlines()[0]});"
                    " delete the folder to start again"
                ) from error


def _shapes(state: Any) -> Any:
    leaves, structure = jax.tree.flatten(state)
    return structure, [(np.dtype(leaf.dtype), tuple(leaf.shape)) for leaf in leaves]
