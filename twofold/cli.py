"""The command line: parses, calls, prints."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

import tyro
from rich.console import Console
from rich.table import Table

from .errors import InputError
from .tasks.classification import Classification
from .tasks.events import Events
from .tasks.forecasting import Forecasting
from .tasks.task import Metrics

console = Console(width=None if sys.stdout.isatty() else 130)


@dataclasses.dataclass
class Demo:
    """The main job on real data, in a few minutes: attention becomes an RNN, an RNN turns out to be attention, and an
    attention model streams real recordings in constant memory.

    Example: twofold demo --out runs/demo
    """

    out: Path = Path("runs/demo")
    """Folder for demo.json, the pictures, and the trained models."""

    def run(self) -> None:
        from . import demo

        demo.run(self.out, console)


@dataclasses.dataclass
class Table1:
    """A gated RNN learns to imitate linear self-attention (paper A). A run stopped before is continued.

    Examples: twofold reproduce table1 --recipe fast | twofold reproduce table1 --quick |
    twofold reproduce table1 --seeds 4 --out runs/four
    """

    recipe: Literal["paper", "fast"] = "paper"
    """paper: a million steps of gradient descent. fast: a minute of second-order steps, by which the loss is that of rounding."""
    quick: bool = False
    """A small teacher (d = 2), in about a minute with the paper's recipe."""
    seeds: int = 1
    """How many students to train together, each with a teacher of its own."""
    seed: int = 0
    """Of teachers, initial weights and batches."""
    out: Path | None = None
    """Folder for figures, models and pictures; runs/table1, with -fast and -quick as they apply, if not given."""

    def run(self) -> None:
        from .papers.gated_rnn import table1

        recipe = (table1.QUICK if self.quick else table1.RECIPES)[self.recipe]
        out = self.out or table1.default_folder(self.recipe, self.quick)
        students, seconds = table1.reproduce(recipe, seeds=self.seeds, seed=self.seed, out=out)
        console.print(table1.table(students, recipe))
        for student in students:
            console.print(table1.pruning_table(student))
        console.print(f"Trained in {seconds:,.0f} s. Figures, models and pictures are in {out}.")


@dataclasses.dataclass
class Figure2:
    """The weights of a student trained as for table 1, its teacher's, and the kernels in which they agree (paper A).

    A student that table 1 has trained is taken from its folder.
    Examples: twofold reproduce figure2 --recipe fast | twofold reproduce figure2 --out runs/table1
    """

    recipe: Literal["paper", "fast"] = "paper"
    """As for table1."""
    quick: bool = False
    """A small teacher (d = 2)."""
    seed: int = 0
    """Of teacher, initial weights and batches."""
    out: Path | None = None
    """Folder for figures, models and pictures; that of table1 if not given."""

    def run(self) -> None:
        from .papers.gated_rnn import figure2, table1

        recipe = (table1.QUICK if self.quick else table1.RECIPES)[self.recipe]
        out = self.out or table1.default_folder(self.recipe, self.quick)
        student, kernels = figure2.reproduce(recipe, seed=self.seed, out=out)
        console.print(figure2.table(student, kernels))
        console.print(f"The picture is {out / 'figure2.png'}.")


@dataclasses.dataclass
class Table2:
    """A gated RNN learns to regress in context, and becomes one step of gradient descent (paper A).

    A run stopped before is continued. Examples: twofold reproduce table2 --quick | twofold reproduce table2 --seeds 8
    """

    quick: bool = False
    """Smaller students and fewer steps: a minute or two, rather than the paper's 300,000 steps."""
    seeds: int = 4
    """How many students to train together."""
    seed: int = 0
    """Of initial weights and batches."""
    out: Path | None = None
    """Folder for figures and models; runs/table2 or runs/table2-quick if not given."""

    def run(self) -> None:
        from .papers.gated_rnn import table2

        recipe = table2.QUICK if self.quick else table2.PAPER
        out = self.out or Path("runs") / ("table2" + "-quick" * self.quick)
        students, seconds = table2.reproduce(recipe, seeds=self.seeds, seed=self.seed, out=out)
        console.print(table2.table(students, recipe))
        console.print(f"Trained in {seconds:,.0f} s. Figures and models are in {out}.")


@dataclasses.dataclass
class Training:
    """The curves of docs/training.md: ways to train a student of attention, at equal wall time.

    Example: twofold reproduce training --seconds 60
    """

    seconds: float = 60.0
    """For each way; finding its speed takes some more."""
    seed: int = 0
    """Of teacher, initial weights and batches."""
    out: Path = Path("runs/training")
    """Folder for figures and pictures."""

    def run(self) -> None:

        from .papers.gated_rnn import optimisers

        results = optimisers.compare(seconds=self.seconds, seed=self.seed, out=self.out)
        console.print(optimisers.table(results))
        console.print(f"Figures and pictures are in {self.out}.")


@dataclasses.dataclass
class Conversion:
    """What is converted and measured."""

    d: int = 4
    """Size of tokens, queries, keys and values."""
    tokens: int = 256
    """Random tokens that the error is measured over."""
    dtype: Literal["float64", "float32"] = "float64"
    """Of all weights and arithmetic."""
    seed: int = 0
    """Of weights and tokens."""


@dataclasses.dataclass
class Table3(Conversion):
    """How many layers of LRU, LSTM and GRU are attention, or a gated RNN (paper A): each is built and measured.

    Example: twofold reproduce table3 --d 6 --tokens 1000 --dtype float32
    """

    out: Path = Path("runs/table3")
    """Folder for figures and pictures."""

    def run(self) -> None:
        from .papers.gated_rnn import table3

        cells = table3.reproduce(d=self.d, tokens=self.tokens, dtype=self.dtype, seed=self.seed, out=self.out)
        console.print(table3.table(cells, self.d, self.tokens, self.dtype))
        console.print(f"Figures and pictures are in {self.out}.")


@dataclasses.dataclass
class Table4(Conversion):
    """The LSTM weights that are attention, and those that are a gated RNN (paper A): built, read back and measured.

    Example: twofold reproduce table4 --d 3
    """

    out: Path = Path("runs/table4")
    """Folder for figures and pictures."""

    def run(self) -> None:
        from .papers.gated_rnn import table4

        blocks, cells = table4.reproduce(d=self.d, tokens=self.tokens, dtype=self.dtype, seed=self.seed, out=self.out)
        console.print(table4.table(blocks, cells, self.d, self.tokens, self.dtype))
        console.print(f"Figures and pictures are in {self.out}.")


@dataclasses.dataclass
class Conversions:
    """The pictures and figures of docs/conversions.md: weights of every conversion, and how far the limits reach.

    Example: twofold reproduce conversions --out docs/conversions
    """

    seed: int = 0
    """Of weights and tokens."""
    out: Path = Path("runs/conversions")
    """Folder for figures and pictures."""

    def run(self) -> None:
        from .papers.gated_rnn import conversions

        conversions.draw(self.out, seed=self.seed)
        console.print(f"Figures and pictures are in {self.out}.")


@dataclasses.dataclass
class Efficiency:
    """Memory and time against the number of tokens: a Transformer with a KV cache, Aaren, and all other mixers (paper B).

    A run stopped before is continued. Examples: twofold reproduce efficiency --quick | twofold reproduce efficiency |
    twofold reproduce efficiency --tokens 20000 --width 256 --out runs/narrow
    """

    tokens: int = 100_000
    """Length of the stream."""
    width: int = 512
    """Size of tokens and block; the feed-forward part has four times that."""
    heads: int = 8
    """Attention heads."""
    quick: bool = False
    """1,000 tokens, width 64 and 4 heads instead, in less than a minute."""
    out: Path | None = None
    """Folder for figures and picture; runs/efficiency or runs/efficiency-quick if not given."""

    def run(self) -> None:
        from .papers.attention_as_rnn import efficiency

        out = self.out or Path("runs") / ("efficiency" + "-quick" * self.quick)
        tokens, width, heads = (1_000, 64, 4) if self.quick else (self.tokens, self.width, self.heads)
        figures = efficiency.reproduce(tokens=tokens, width=width, heads=heads, out=out)
        console.print(efficiency.parameter_table(figures))
        console.print(efficiency.table(figures))
        console.print(f"Figures and picture are in {out}.")


@dataclasses.dataclass
class Settings:
    """Aaren beside the Transformer and all other mixers: forecasting, events, classification (paper B's comparison).

    Every mixer has as many parameters. A run stopped before is continued, cell by cell; all of it takes more than an hour.
    Examples: twofold reproduce settings --quick | twofold reproduce settings --seeds 5 --out runs/five
    """

    quick: bool = False
    """Aaren and the Transformer alone, on a little of each task, in a few minutes."""
    only: Literal["forecasting", "events", "classification"] | None = None
    """One task; all if not given."""
    seeds: int = 3
    """How many models of each kind to train."""
    out: Path | None = None
    """Folder for all runs and the results; runs/settings or runs/settings-quick if not given."""

    def run(self) -> None:
        from .layers import MIXERS
        from .papers.attention_as_rnn import comparison

        out = self.out or Path("runs") / ("settings" + "-quick" * self.quick)
        tasks = [t for t in (comparison.QUICK if self.quick else comparison.FULL) if self.only in (None, t.name)]
        mixers = (comparison.AAREN, comparison.TRANSFORMER) if self.quick else tuple(MIXERS)
        cells = comparison.reproduce(tasks, mixers=mixers, seeds=self.seeds, out=out)
        for task in tasks:
            console.print(comparison.table(task, cells))
        console.print(f"All figures are in {out / 'settings.json'}, the tables in {out / 'settings.md'}.")


Experiment = (
    Annotated[Table1, tyro.conf.subcommand("table1")]
    | Annotated[Figure2, tyro.conf.subcommand("figure2")]
    | Annotated[Table2, tyro.conf.subcommand("table2")]
    | Annotated[Table3, tyro.conf.subcommand("table3")]
    | Annotated[Table4, tyro.conf.subcommand("table4")]
    | Annotated[Settings, tyro.conf.subcommand("settings")]
    | Annotated[Training, tyro.conf.subcommand("training")]
    | Annotated[Conversions, tyro.conf.subcommand("conversions")]
    | Annotated[Efficiency, tyro.conf.subcommand("efficiency")]
)


@dataclasses.dataclass
class Reproduce:
    """Make a table of the papers, or the figures of a page of docs, again; published figures are printed beside.

    Examples: twofold reproduce table1 --quick | twofold reproduce table3 --d 6 | twofold reproduce table4
    """

    experiment: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[Experiment]]

    def run(self) -> None:
        self.experiment.run()


AnyTask = TypeVar("AnyTask", Forecasting, Events, Classification)


@dataclasses.dataclass
class TrainOn(Generic[AnyTask]):
    settings: tyro.conf.OmitArgPrefixes[AnyTask]
    out: Path | None = None
    """Folder for the run; runs/DATA-MIXER if not given."""

    def run(self) -> None:
        from .tasks.run import train

        out = self.out or Path("runs") / f"{self.settings.data_name}-{self.settings.mixer}"
        run = train(self.settings, out)
        console.print(_metrics_table(run.tables[0]))
        console.print(
            f"{run.figures['data']}.\n"
            f"Trained in {run.figures['seconds']:.0f} s; the model is kept as it was at step {run.figures['kept at step'][0]}."
            f" Token by token, its answers differ by {run.figures['streaming error'][0]:.0e} of the largest.\n"
            f"Model, metrics and learning curve are in {out}."
        )


OnTask = (
    Annotated[TrainOn[Forecasting], tyro.conf.subcommand("forecasting", description=Forecasting.__doc__)]
    | Annotated[TrainOn[Events], tyro.conf.subcommand("events", description=Events.__doc__)]
    | Annotated[TrainOn[Classification], tyro.conf.subcommand("classification", description=Classification.__doc__)]
)


@dataclasses.dataclass
class Train:
    """Train a model on a task, keep it in a folder, and print its metrics. A run stopped before is continued.

    Examples: twofold train forecasting --dataset elecdemand --horizon 96 --mixer aaren |
    twofold train forecasting --csv ETTh1.csv --target OT | twofold train events --dataset hawkes --mixer gru |
    twofold train classification --dataset data/Heartbeat --steps 3000 --out runs/heartbeat
    """

    task: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[OnTask]]

    def run(self) -> None:
        self.task.run()


@dataclasses.dataclass
class Evaluate:
    """Print the metrics of a finished run again, from its saved model.

    Example: twofold evaluate runs/JapaneseVowels-aaren
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""

    def run(self) -> None:
        from .tasks.run import evaluate_run

        console.print(_metrics_table(evaluate_run(self.folder)[1]))


@dataclasses.dataclass
class Bench:
    """Scans and layers beside those of JAX, memax, Equinox, Flax and PyTorch in one run, and what the machine could do at best.

    Runs from a checkout of the repository, whose folder benchmarks/ it is. Peers that are not installed are left out.
    Examples: twofold bench --quick | twofold bench --only softmax --out runs/softmax
    """

    quick: bool = False
    """Small shapes, in less than two minutes."""
    only: Literal["softmax", "linear", "kv", "layers", "training", "times"] | None = None
    """One part; all if not given, which takes twenty minutes."""
    out: Path = Path("runs/bench")
    """Folder for bench.json, bench.md and times.png."""

    def run(self) -> None:
        checkout = Path(__file__).parents[1]
        if not (checkout / "benchmarks").is_dir():
            raise InputError(f"there are no benchmarks in {checkout}; run this in a checkout of the repository")
        sys.path.insert(0, str(checkout))
        from benchmarks.__main__ import run

        run(self.quick, self.only, self.out)


Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit code: 0, 1 where training failed, 2 for unusable input, 130 where interrupted."""
    command = tyro.cli(
        Command,
        args=arguments,
        prog="twofold",
        description="Attention and recurrent networks as two views of one computation.",
    )
    try:
        command.run()
    except InputError as error:
        print(f"twofold: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"twofold: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntwofold: interrupted; the same command continues the run", file=sys.stderr)
        return 130
    return 0


def _metrics_table(rows: Metrics) -> Table:
    columns = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    table = Table()
    for column in ("", *columns):
        table.add_column(column, justify="left" if column == "" else "right")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[metric]:.4f}" if metric in row else "" for metric in columns))
    return table
