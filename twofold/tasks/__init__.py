"""Tasks on data: forecasting, events and classification. `train` trains a model for a task, and keeps it in a folder."""

from .classification import Classification
from .events import Batch, Events
from .forecasting import Forecasting
from .run import TASKS, Run, evaluate_run, train
from .task import Task

__all__ = ["TASKS", "Batch", "Classification", "Events", "Forecasting", "Run", "Task", "evaluate_run", "train"]
