"""Training on one sequence of a million tokens: memory and time of a step, in chunks and whole, beside the Transformer."""

import dataclasses
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from ...errors import InputError
from ...report.line_pictures import draw_training_costs
from ...report.provenance import write_json
from ...report.tables import console_table
from ...train import kept, open_run
from . import training_cost
from .comparison import AAREN, TRANSFORMER
from .own_process import MemoryShort, in_own_process
from .training_cost import DEPTH, FEATURES, HEADS, WIDTH, Job, StepCost

CHUNK = 4096
LENGTHS = tuple(4096 * 4**i for i in range(5))
"""The lengths of the sequences: 4,096, 16,384, ..., 1,048,576."""
PATIENCE = 10.0
"""A model whose step took more seconds is not measured at longer sequences."""

Costs = dict[str, dict[int, StepCost]]


def models(chunk: int) -> dict[str, Job]:
    """The models to measure, by their names. Their number of tokens is set later."""
    return {
        f"Aaren, {chunk:,} tokens at a time": Job(AAREN, 0, chunk),
        "Aaren, whole": Job(AAREN, 0, None),
        "Transformer, whole": Job(TRANSFORMER, 0, None),
    }


def reproduce(
    *, lengths: tuple[int, ...] = LENGTHS, chunk: int = CHUNK, out: Path | str, progress: bool = True
) -> Costs:
    """Measure a step of training at each length, each in a process of its own. Write long.json and long.png to `out`.

    What was measured is kept, so that a run that was stopped is continued. A model is not measured at longer sequences if its
    step takes longer than 10 seconds, or if memory does not suffice.

    **Raises:** `InputError` for a chunk or a length below 1, and if a process fails for another reason.
    """
    for name, size in {"chunk": chunk, "lengths": min(lengths, default=0)}.items():
        if size < 1:
            raise InputError(f"{name} is {size}; it must be at least 1")
    costs: Costs = {name: {} for name in models(chunk)}
    with open_run(out, {"experiment": "long", "lengths": list(lengths), "chunk": chunk}) as folder:
        for name, job in track(models(chunk).items(), description="measuring", disable=not progress):
            for tokens in lengths:
                cost = _cost(job._replace(tokens=tokens), folder)
                if cost is None:
                    break
                costs[name][tokens] = cost
                if cost.seconds > PATIENCE:
                    break
    lines = {
        name: [{"tokens": n, "increase_bytes": _increase(cost), **cost._asdict()} for n, cost in column.items()]
        for name, column in costs.items()
    }
    sizes = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "features": FEATURES, "chunk": chunk}
    write_json(folder / "long.json", sizes | {"models": lines})
    draw_training_costs(lines).savefig(folder / "long.png")
    return costs


def _increase(cost: StepCost) -> int:
    """By how much the memory of the process grew at its peak: the sequence, and what the step needs."""
    return cost.peak_bytes - cost.before_bytes


def _cost(job: Job, folder: Path) -> StepCost | None:
    """What the process of a job measures, or has measured before. It is None if memory was short."""
    file = folder / f"{job.mixer}-{job.chunk or 'whole'}-{job.tokens}.json"
    found = kept(file, job._asdict(), lambda: _run(job))
    return None if found is None else StepCost(**found)


def _run(job: Job) -> dict | None:
    try:
        return in_own_process(training_cost, job)
    except MemoryShort:
        return None


def table(costs: Costs) -> Table:
    """The increase of memory and the time of a step, a row for each length."""
    lengths = sorted({tokens for column in costs.values() for tokens in column})

    def cell(column: dict[int, StepCost], tokens: int) -> str:
        if tokens not in column:
            return "not measured"
        cost = column[tokens]
        return f"{_increase(cost) / 2**20:,.0f} MiB; {cost.seconds:,.2f} s"

    return console_table(
        ("tokens", *costs),
        [(f"{tokens:,}", *(cell(column, tokens) for column in costs.values())) for tokens in lengths],
        title="A step of training on one sequence",
        caption="By how much the memory of the process grew at its peak, with the sequence, and the time of the step.",
    )


@dataclasses.dataclass
class Command:
    """Measure a step of training on one sequence of up to a million tokens: in chunks, whole, and beside the Transformer.

    A run that was stopped is continued.

    Examples: twofold reproduce long --quick | twofold reproduce long --chunk 16384 --out runs/long-16384
    """

    chunk: int = CHUNK
    """So many tokens are taken at a time."""
    quick: bool = False
    """Measure up to 16,384 tokens. This takes about a minute."""
    out: Path | None = None
    """The folder for the figures and the picture. If not given, it is runs/long or runs/long-quick."""

    def run(self, console: Console) -> None:
        out = self.out or Path("runs") / ("long" + "-quick" * self.quick)
        console.print(table(reproduce(lengths=LENGTHS[:2] if self.quick else LENGTHS, chunk=self.chunk, out=out)))
        console.print(f"All figures are in {out / 'long.json'}, and the picture is {out / 'long.png'}.")
