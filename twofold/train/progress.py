"""The progress bar of a training run."""

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_bar(*, shown: bool) -> Progress:
    """A bar with the steps that are done, the loss, the speed and the time. Its tasks need the fields `loss` and `speed`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}  {task.fields[speed]:,.0f} steps/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=not shown,
    )
