"""Models are made of layers, each for one kind of task. They obey the same law as the layers."""

from .bare_model import BareModel
from .event_model import EventModel, event_features
from .forecaster import Forecaster, ForecasterState
from .sequence_model import SequenceModel

__all__ = [
    "BareModel",
    "EventModel",
    "Forecaster",
    "ForecasterState",
    "SequenceModel",
    "event_features",
]
