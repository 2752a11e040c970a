"""The training loop. It compiles whole stretches of steps, trains seeds together, and loses nothing when it is stopped."""

from .checkpoint import Checkpoint
from .curve import draw_learning_curve as draw_learning_curve
from .lock import locked as locked
from .loop import Trained, fit
from .mesh import mesh_of, over_batch
from .optimiser import adamw_cosine as adamw_cosine
from .processes import join_processes
from .results import kept
from .run import described_run as described_run
from .run import open_run as open_run

__all__ = ["Checkpoint", "Trained", "fit", "join_processes", "kept", "mesh_of", "over_batch"]
