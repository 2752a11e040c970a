"""Models: what is made of layers for a task, under the same law as the layers."""

from .event_model import EventModel, event_features
from .forecaster import Forecaster, ForecasterState
from .sequence_model import SequenceModel

__all__ = [
    "EventModel",
    "Forecaster",
    "ForecasterState",
    "SequenceModel",
    "event_features",
]
