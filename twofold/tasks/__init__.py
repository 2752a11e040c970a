"""Tasks on data: forecasting, events, classification and control. `train` trains a model for a task, and keeps it in a folder."""

from .classification import Classification
from .control import Control, Windows
from .events import Batch, Events
from .forecasting import Forecasting
from .run import TASKS, Run, evaluate_run, train
from .task import Task
from .words import ActionWords, ClassWords, EventWords, ForecastWords, Words

__all__ = [
    "TASKS",
    "ActionWords",
    "Batch",
    "ClassWords",
    "Classification",
    "Control",
    "EventWords",
    "Events",
    "ForecastWords",
    "Forecasting",
    "Run",
    "Task",
    "Windows",
    "Words",
    "evaluate_run",
    "train",
]
