"""Training: whole stretches of steps compiled, seeds trained together, and nothing lost when a run is stopped."""

from .checkpoint import Checkpoint
from .curve import draw_learning_curve as draw_learning_curve
from .lock import locked as locked
from .loop import Trained, fit
from .optimiser import adamw_cosine as adamw_cosine
from .results import kept
from .run import described_run as described_run
from .run import open_run as open_run

__all__ = ["Checkpoint", "Trained", "fit", "kept"]
