"""The command line: parses, calls, prints."""

import contextlib
import dataclasses
import importlib
import inspect
import io
import os
import pkgutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, Union

import tyro
from rich.console import Console
from rich.table import Table

from .atomic import write_whole
from .compiled import keep_compiled
from .deploy.service import Settings
from .errors import InputError
from .memory import keep_memory
from .papers import attention_as_rnn, gated_rnn
from .report import provenance
from .report.tables import console_table
from .starting import has_started
from .tasks.classification import Classification
from .tasks.control import Control, EnvironmentName
from .tasks.events import Events
from .tasks.forecasting import Forecasting
from .tasks.task import Metrics


@dataclasses.dataclass
class Demo:
    """Show what twofold does, on real data, in a few minutes.

    An attention layer becomes an RNN. A trained RNN turns out to be attention. A classifier of real recordings, made of
    attention, runs on a stream in constant memory.

    Example: twofold demo --out runs/demo
    """

    out: Path = Path("runs/demo")
    """The folder for demo.json, the pictures, and the trained models."""

    def run(self, console: Console) -> None:
        from . import demo

        demo.run(self.out, console)


@dataclasses.dataclass
class Reproduce:
    """Make a table or figure of the papers again, beside the published figures, or the figures of a page in docs/.

    Paper A is "Gated recurrent neural networks discover attention", arXiv:2309.01775. Paper B is "Attention as an RNN",
    arXiv:2405.13956.

    Examples: twofold reproduce table1 --quick | twofold reproduce table3 --d 6 | twofold reproduce --help
    """


OLD_NAMES = {"settings": "comparison", "training": "optimisers"}
"""The names that experiments had once, and the ones that they have now."""


def experiments() -> dict[str, type]:
    """The command of each experiment by its name. An experiment is a module of papers/ that has a class `Command`."""
    found = {}
    for paper in (gated_rnn, attention_as_rnn):
        for module in pkgutil.iter_modules(paper.__path__):
            imported = importlib.import_module(f"{paper.__name__}.{module.name}")
            if hasattr(imported, "Command"):
                found[module.name] = imported.Command
    return found


def experiment_of(arguments: list[str]) -> Any:
    """The experiment that the words after `twofold reproduce` ask for, with its options."""
    words = [OLD_NAMES.get(arguments[0], arguments[0]), *arguments[1:]] if arguments else []
    each = tuple(
        Annotated[kind, tyro.conf.subcommand(name, description=inspect.getdoc(kind))]
        for name, kind in experiments().items()
    )
    kinds: Any = Union[each]  # noqa: UP007
    return tyro.cli(kinds, args=words, prog="twofold reproduce", description=inspect.getdoc(Reproduce))


AnyTask = TypeVar("AnyTask", Forecasting, Events, Classification, Control)


@dataclasses.dataclass
class TrainOn(Generic[AnyTask]):
    settings: tyro.conf.OmitArgPrefixes[AnyTask]
    out: Path | None = None
    """The folder for the run. If not given, it is runs/DATA-MIXER."""
    data_devices: int = 1
    """The sequences of a batch are spread over so many devices."""
    time_devices: int = 1
    """The tokens of each sequence are spread over so many devices."""
    coordinator: str | None = None
    """HOST:PORT of the first of several processes that train together. Each of them runs this command, and all have the same
    folders. "auto" finds the processes that SLURM or Kubernetes started."""
    processes: int | None = None
    """How many processes train together."""
    process: int | None = None
    """Which of them this one is, counted from 0."""

    def run(self, console: Console) -> None:
        from .tasks.run import train
        from .train import join_processes, mesh_of
        from .train.processes import is_first

        keep_compiled()
        if self.coordinator is not None:
            join_processes(self.coordinator, self.processes, self.process)
        out = self.out or Path("runs") / f"{self.settings.data_name}-{self.settings.mixer}"
        run = train(self.settings, out, mesh=mesh_of(self.data_devices, self.time_devices))
        if not is_first():
            return
        console.print(_metrics_table(run.tables[0]))
        console.print(
            f"{run.figures['data']}.\n"
            f"Training took {run.figures['seconds']:.0f} s. The model is kept as it was at step {run.figures['kept at step'][0]}."
            f" Token by token, its answers differ from those in parallel by {run.figures['streaming error'][0]:.0e} of the"
            f" largest answer.\nModel, metrics and learning curve are in {out}."
        )


OnTask = (
    Annotated[TrainOn[Forecasting], tyro.conf.subcommand("forecasting", description=inspect.getdoc(Forecasting))]
    | Annotated[TrainOn[Events], tyro.conf.subcommand("events", description=inspect.getdoc(Events))]
    | Annotated[
        TrainOn[Classification], tyro.conf.subcommand("classification", description=inspect.getdoc(Classification))
    ]
    | Annotated[TrainOn[Control], tyro.conf.subcommand("control", description=inspect.getdoc(Control))]
)


@dataclasses.dataclass
class Train:
    """Train a model on a task, keep it in a folder, and print its metrics. A run that was stopped is continued.

    Examples: twofold train forecasting --dataset elecdemand --horizon 96 --mixer aaren |
    twofold train forecasting --csv ETTh1.csv --target OT | twofold train events --dataset hawkes --mixer gru |
    twofold train forecasting --csv ETTh1.csv --split ett --protocol window --batch 32 |
    twofold train classification --dataset data/Heartbeat --steps 3000 --out runs/heartbeat |
    twofold train control --env hopper --quality medium --mixer aaren
    """

    task: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[OnTask]]

    def run(self, console: Console) -> None:
        self.task.run(console)


@dataclasses.dataclass
class Evaluate:
    """Print the metrics of a finished run again, from its saved model.

    Example: twofold evaluate runs/JapaneseVowels-aaren
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of the run, with its model."""

    def run(self, console: Console) -> None:
        from .tasks.run import evaluate_run

        keep_compiled()
        console.print(_metrics_table(evaluate_run(self.folder)[1]))


@dataclasses.dataclass(frozen=True)
class Stream(Settings):
    """Answer a stream of records with a trained run: a line in, a line out, as soon as the answer is known.

    Every key has a state of its own. A record has the features of a token by their names, as words.json in the folder of the
    run lists them. Events have `time` and `mark`, and forecasts may have a `date`. An answer has the number of its line, the
    key, and what the model says, in the words of the task.

    With --store, the command can be stopped or killed at any moment, and the same command goes on. If --input and --output
    are files, no answer is then missing, and none is there twice. To a pipe, the answers since the last commit are written
    again, with the numbers that they had before.

    Examples: twofold stream runs/demand --input demand.ndjson --key house |
    twofold stream runs/flights --input flights.csv --format csv --key origin --output answers.ndjson --store flights.sqlite |
    mosquitto_sub -t sensors | twofold stream runs/sensors --key sensor | mosquitto_pub -t answers -l
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of the run."""

    def run(self, console: Console) -> None:
        from .deploy.pipeline import Pipeline

        keep_compiled()
        with contextlib.closing(Pipeline(self)) as pipeline:
            pipeline.run()


@dataclasses.dataclass
class Export:
    """Write the model of a finished run to an ONNX file, which runs without JAX: with twofold_edge, or in a browser.

    The graph takes one token of each sequence in a batch, and the state; --prefill takes whole sequences. Tokens and answers are
    in the units of the data. What they mean is in the file too.

    Examples: twofold export runs/JapaneseVowels-aaren vowels.onnx | twofold export runs/demand demand.onnx --verify 1000 |
    twofold export runs/demand history.onnx --prefill
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of the run."""
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.onnx")]
    """The file that is written. If it is there, it is replaced."""
    prefill: bool = False
    """Write the graph that reads sequences of any length, 64 tokens in parallel."""
    verify: int = 0
    """Run so many tokens of the test part through ONNX Runtime and JAX, and print the largest difference of the answers.
    With --prefill there are at least 65, so that every part of the graph runs."""

    def run(self, console: Console) -> None:
        from .deploy.exported_run import ALLOWED, export_run, verify

        if self.verify < 0:
            raise InputError(f"verify is {self.verify}; it must be a number of tokens, or 0")
        export_run(self.folder, self.file, prefill=self.prefill)
        console.print(f"{self.file} has {self.file.stat().st_size / 1000:.0f} kB.")
        if self.verify:
            tokens, largest = verify(self.folder, self.file, self.verify)
            told = f"Over {tokens} tokens, the answers of ONNX Runtime differ from those of JAX by {largest:.1e}"
            if not largest < ALLOWED:
                raise FloatingPointError(f"{told} of the largest; they may differ by {ALLOWED}")
            console.print(f"{told} of the largest.")


@dataclasses.dataclass
class Data:
    """Make data sets: episodes of a robot in Minari's folder, which are medium, medium-replay and medium-expert.

    The policies that act in them come with twofold, or are found by a search. A search or a recording that was stopped is
    continued. The environment variable MINARI_DATASETS_PATH names another folder than Minari's own.

    Example: twofold data control --env hopper
    """

    task: tyro.conf.Positional[Literal["control"]]
    """The task that the data are for."""
    env: EnvironmentName = "hopper"
    """The robot."""
    steps: int = 200_000
    """Each data set has at least this many steps."""
    search: bool = False
    """Search for policies first, by augmented random search. This takes minutes to hours."""
    seed: int = 0
    """The seed of the search."""
    out: Path | None = None
    """The folder of the search. If not given, it is runs/search-ENV."""

    def run(self, console: Console) -> None:
        from .data.recording import QUALITIES, policies_of, record, search_policies

        if self.steps < 1:
            raise InputError(f"steps is {self.steps}; it must be at least 1")
        file = None
        if self.search:
            out = self.out or Path("runs") / f"search-{self.env}"
            file = search_policies(self.env, out, seed=self.seed, report=console.print)
        policies, notes = policies_of(self.env, file)
        for kind, value in notes["returns"].items():
            console.print(f"The {kind} policy has a return of {value['mean']:.0f} ± {value['deviation']:.0f}.")
        for quality in QUALITIES:
            console.print(f"{record(self.env, quality, policies, notes, self.steps)} is in Minari's folder.")


@dataclasses.dataclass
class Bench:
    """Measure scans, layers and whole models beside those of JAX, memax, Equinox, Flax and PyTorch, and the machine's limits.

    This command needs a checkout of the repository: it runs what is in the folder benchmarks/ there. Peers that are not
    installed are left out.

    Examples: twofold bench --quick | twofold bench --only models --out runs/models
    """

    quick: bool = False
    """Measure small shapes. This takes a few minutes."""
    only: Literal["softmax", "linear", "kv", "attention", "layers", "models", "training", "times"] | None = None
    """Measure this part alone. If not given, all parts are measured, which takes about an hour."""
    out: Path = Path("runs/bench")
    """The folder for bench.json, bench.md and times.png."""

    def run(self, console: Console) -> None:
        checkout = Path(__file__).parents[1]
        if not (checkout / "benchmarks").is_dir():
            raise InputError(f"there are no benchmarks in {checkout}; run this command in a checkout of the repository")
        sys.path.insert(0, str(checkout))
        from benchmarks.__main__ import run

        run(self.quick, self.only, self.out)


@dataclasses.dataclass
class Report:
    """Write all results on one page, and the tables of the other pages that show results.

    Each figure stands beside the published one. What is missed comes first. The numbers come from the files of runs alone.

    Example: twofold report --results results --docs docs
    """

    results: Path = Path("results")
    """The folder with the results of runs."""
    docs: Path = Path("docs")
    """The folder of the pages. Its results/report.md is written, and the marked tables of all its pages are filled."""

    def run(self, console: Console) -> None:
        from .papers.results import filled, page

        pages = {file: filled(file.read_text(), self.results) for file in sorted(self.docs.glob("**/*.md"))}
        report = self.docs / "results" / "report.md"
        pages[report] = page(self.results, Path(os.path.relpath(self.results, report.parent)).as_posix())
        report.parent.mkdir(exist_ok=True)
        for file, text in pages.items():
            if not file.exists() or file.read_text() != text:
                write_whole(file, text)
                console.print(f"{file} is written.")


Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Stream, tyro.conf.subcommand("stream")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[Report, tyro.conf.subcommand("report")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command line.

    **Returns:** the exit code: 0, 1 where training failed, 2 for unusable input or files, 130 where interrupted.
    """
    keep_memory()
    words = sys.argv[1:] if arguments is None else arguments
    if sys.stderr is None:  # It is closed. Libraries write there all the same, so no other file may take its place.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        return _told("standard output is closed", 2)
    for stream in (sys.stdout, sys.stderr):  # a terminal may know ASCII alone
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    provenance.command = provenance.command_of(words)
    try:
        try:
            has_started()
            return _run(words)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has seen enough. What is left of it must not be tried again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ConnectionError as error:  # Another process was lost, for which the end of JAX would wait.
        _told(error, 2)
        os._exit(2)
    except (InputError, OSError) as error:
        return _told(error, 2)
    except FloatingPointError as error:
        return _told(error, 1)
    except KeyboardInterrupt:
        return _told("interrupted; the same command continues the run", 130)


def _run(words: list[str]) -> int:
    if words == ["--version"]:
        print(f"twofold {version('twofold')}")
        return 0
    command = experiment_of(words[1:]) if words[:1] == ["reproduce"] else _parsed(words)
    command.run(Console(width=None if sys.stdout.isatty() else 130))
    return 0


def _parsed(words: list[str]) -> Any:
    description = "Attention and recurrent networks as two views of one computation. --version prints the version."
    return tyro.cli(Command, args=words, prog="twofold", description=description)


def _told(error: Exception | str, code: int) -> int:
    with contextlib.suppress(OSError):  # of a stream that is closed, or a disk that is full
        print(f"twofold: {error}", file=sys.stderr, flush=True)
    return code


def _metrics_table(metrics: Metrics) -> Table:
    columns = list(dict.fromkeys(metric for row in metrics.values() for metric in row))
    rows = [
        (name, *(f"{row[metric]:.4f}" if metric in row else "" for metric in columns)) for name, row in metrics.items()
    ]
    return console_table(("", *columns), rows)
