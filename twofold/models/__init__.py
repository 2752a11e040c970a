"""Models: what is made of layers for a task, under the same law as the layers."""

from .event_model import EventModel as EventModel
from .event_model import event_features as event_features
from .forecaster import Forecaster as Forecaster
from .sequence_model import SequenceModel as SequenceModel
