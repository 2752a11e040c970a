"""Models are made of layers, each for one kind of task. They obey the same law as the layers."""

from .bare_model import BareModel
from .channel_independent import ChannelIndependent
from .event_model import EventModel, event_features
from .forecaster import Forecaster, ForecasterState
from .policy import Policy, policy_features
from .sequence_model import SequenceModel
from .timed_events import TimedEvents

__all__ = [
    "BareModel",
    "ChannelIndependent",
    "EventModel",
    "Forecaster",
    "ForecasterState",
    "Policy",
    "SequenceModel",
    "TimedEvents",
    "event_features",
    "policy_features",
]
