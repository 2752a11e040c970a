"""Many experiments at once: cells that are kept one by one, and run by dask.distributed on this machine or on a cluster."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..errors import InputError
from .results import in_file, kept

if TYPE_CHECKING:
    from distributed import Client, Future


class Cell(NamedTuple):
    """One experiment of a sweep. It is a call of `kept` that waits for a worker."""

    title: str
    file: Path
    settings: Any
    make: Callable[[], Any]
    """Computes the result. A worker gets it by name, so it is a function of a module, or a `functools.partial` of one."""
    cost: int = 1
    """How long the cell takes in comparison with the others. The time left is estimated from it."""


class Failure(NamedTuple):
    """What became of a cell without a result."""

    worker: str
    """The address of the worker that ran the cell."""
    reason: str
    final: bool = False
    """Whether it is known that the cell fails on other workers, too."""


@dataclasses.dataclass
class Workers:
    """Where a sweep runs. Commands that sweep take these options."""

    scheduler: str | None = None
    """The address of a scheduler of dask.distributed, such as tcp://host:8786. If not given, processes are started on this
    machine."""
    workers: int | None = None
    """The number of processes that are started on this machine. Each has one thread. It is one for each core if not given."""


def addressed(folder: Path | str, settings: Any) -> Path:
    """The file in `folder` whose name is a digest of the settings. Other settings have another file."""
    text = json.dumps(settings, sort_keys=True)
    return Path(folder) / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def sweep(cells: Sequence[Cell], where: Workers = Workers(), *, progress: bool = True) -> list[Any]:  # noqa: B008
    """The results of all cells, in their order. Results that are kept are read, and the other cells run on workers.

    A worker writes the result of a cell to its file. So a sweep that was stopped goes on after the last results, and a worker
    that is killed costs the cell that it runs. A cell that fails runs once more, on another worker if there is one. If it
    fails again, or if four workers die that run it, its result is None, and the sweep goes on. Each failure is printed.

    **Arguments:**

    - `cells`: the cells. Their files must be different. All workers of a cluster must see the files under the same names.
    - `where`: the scheduler whose workers run the cells. If it has none, workers are started on this machine, and ended when
        the sweep ends. A script that does so needs `if __name__ == "__main__":`.
    - `progress`: whether a bar shows the cells that are done, and the time left.

    **Raises:** `InputError` if dask.distributed is missing, if no scheduler answers, if the number of workers is below 1, or if
    a cell raises it; `ConnectionError` if the scheduler ends before the cells do.
    """
    if where.workers is not None and where.workers < 1:
        raise InputError(f"workers is {where.workers}; it must be at least 1")
    cells = [cell._replace(file=Path(cell.file).absolute()) for cell in cells]
    found = [in_file(cell.file, cell.settings) for cell in cells]
    results = [None if one is None else one["result"] for one in found]
    waiting = [number for number, one in enumerate(found) if one is None]
    if waiting:
        with _connected(where) as client, _progress_bar(shown=progress) as bar:
            total = sum(cell.cost for cell in cells)
            done = total - sum(cells[number].cost for number in waiting)
            task = bar.add_task("", total=total, completed=done, cells=f"{len(cells) - len(waiting)} of {len(cells)}")
            left = len(waiting)
            tell = partial(bar.console.print, markup=False, highlight=False, soft_wrap=True)
            for number, outcome in _outcomes(client, {number: cells[number] for number in waiting}, tell):
                results[number], left = outcome, left - 1
                bar.update(task, advance=cells[number].cost, cells=f"{len(cells) - left} of {len(cells)}")
    return results


def _outcomes(client: "Client", cells: dict[int, Cell], tell: Callable[[str], None]) -> Iterator[tuple[int, Any]]:
    """The number and the result of each cell, as the cells finish. The result is None if the cell failed twice."""
    from distributed import as_completed

    numbers: dict[Future, int] = {}

    def submit(number: int, workers: list[str] | None = None) -> "Future":
        future = client.submit(_run, cells[number], workers=workers, allow_other_workers=bool(workers), pure=False)
        numbers[future] = number
        return future

    def tell_of_death(event: tuple[float, dict[str, Any]]) -> None:
        lost = event[1].get("processing-tasks", ())
        titles = [cells[number].title for future, number in list(numbers.items()) if future.key in lost]
        if titles and not event[1]["expected"]:
            tell(f"{event[1]['worker']} died; what it had to do runs elsewhere: {'; '.join(titles)}")

    client.subscribe_topic("all", tell_of_death)
    finished, failed_before = as_completed([submit(number) for number in cells]), set()
    for future in finished:
        outcome, number = _outcome(future), numbers.pop(future)
        if not isinstance(outcome, Failure):
            yield number, outcome
            continue
        tell(f"{cells[number].title} failed on {outcome.worker}. {outcome.reason}")
        if number in failed_before or outcome.final:
            yield number, None
            continue
        failed_before.add(number)
        others = [worker for worker in client.scheduler_info()["workers"] if worker != outcome.worker]
        finished.add(submit(number, others or None))
    client.unsubscribe_topic("all")


def _run(cell: Cell) -> Any:
    """Run a cell in a worker. Return its result, which is kept then, or a `Failure`."""
    from distributed import get_worker

    try:
        return kept(cell.file, cell.settings, cell.make)
    except InputError:
        raise
    except Exception:
        return Failure(get_worker().address, traceback.format_exc())


def _outcome(future: "Future") -> Any:
    """The result of a cell, or a `Failure`, also if the worker of the cell died."""
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        return Failure(error.last_worker.address, "Every worker that ran it died.", final=True)
    except FutureCancelledError as error:
        raise ConnectionError(
            "the scheduler ended before the sweep; the same command goes on with the sweep"
        ) from error


@contextlib.contextmanager
def _connected(where: Workers) -> Iterator["Client"]:
    """A client of the scheduler, or of one that is started here with its workers."""
    try:
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise InputError("dask.distributed is missing; pip install 'twofold[sweep]' installs it") from error
    if where.scheduler is not None:
        try:
            client = Client(where.scheduler)
        except (OSError, ValueError) as error:
            raise InputError(
                f"no scheduler answers at {where.scheduler}; it must be the address that dask scheduler prints"
            ) from error
        with client:
            yield client
        return
    cluster = LocalCluster(
        n_workers=where.workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
        env={"NPROC": "1"},  # XLA's threads
    )
    with cluster, Client(cluster) as client:
        yield client


def _progress_bar(*, shown: bool) -> Progress:
    """A bar of all cells. Its tasks need the field `cells`."""
    return Progress(
        TextColumn("{task.fields[cells]} cells"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        speed_estimate_period=24 * 3600,  # a cell may take hours
        disable=not shown,
    )
