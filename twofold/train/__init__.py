from .checkpoint import Checkpoint as Checkpoint
from .curve import draw_learning_curve as draw_learning_curve
from .lock import locked as locked
from .loop import Trained as Trained
from .loop import fit as fit
from .optimiser import adamw_cosine as adamw_cosine
from .results import kept as kept
from .run import open_run as open_run
