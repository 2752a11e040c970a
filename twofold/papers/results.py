"""The results of committed runs as tables, beside the published ones, and all of them on one page."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from ..errors import InputError
from ..report.claims import Claim, claims_table
from ..report.tables import as_markdown, console_table, missed
from ..tasks.students.ways import AdamW
from .attention_as_rnn import clock, efficiency, literature, long, positions, scale, whole
from .attention_as_rnn.comparison import Cell as Compared
from .attention_as_rnn.loop_clock import Clocked
from .attention_as_rnn.training_cost import StepCost
from .gated_rnn import figure2, optimisers, table1, table2, table3, table4
from .gated_rnn.measured_conversion import Cell, Conversion
from .gated_rnn.optimisers import Contestant
from .gated_rnn.student_scores import Cut, Figures
from .gated_rnn.students import Curve

Figured = dict[str, Any]
"""The content of a file of results."""


class Result(NamedTuple):
    """A file of results, and what the page shows of it."""

    title: str
    file: str
    """Its path in the folder of results."""
    tables: Callable[[Figured], list[Table]]
    page: str
    """The page that says more, from the folder of the report."""
    pictures: tuple[str, ...] = ()
    """Their paths beside the file."""
    command: str | None = None
    """What makes the file, if no run may have made it yet."""

    def unmeasured(self, folder: Path) -> str | None:
        """What is said in place of tables, if there is no file yet."""
        if self.command is None or (folder / self.file).exists():
            return None
        return f"Not measured yet. `{self.command}` makes these figures."


def _figure2(results: Figured) -> list[Table]:
    return [figure2.table(Figures(**results["student"]), results["kernel_error"])]


def _table2(results: Figured) -> list[Table]:
    named = results["recipe"]
    way = AdamW(**{name: named[name] for name in AdamW._fields})
    sizes = {name: named[name] for name in table2.Recipe._fields if name != "way"}
    return [table2.table([table2.Figures(**one) for one in results["students"]], table2.Recipe(**sizes, way=way))]


def _conversion(results: Figured) -> Conversion:
    return Conversion(**{name: results[name] for name in ("d", "tokens", "dtype", "seed")})


def _table3(results: Figured) -> list[Table]:
    cells = {name: {source: Cell(**cell) for source, cell in row.items()} for name, row in results["cells"].items()}
    return [table3.table(cells, _conversion(results))]


def _table4(results: Figured) -> list[Table]:
    blocks = [table4.Block(**block) for block in results["layers"]]
    cells = {name: Cell(**cell) for name, cell in results["cells"].items()}
    return [table4.table(blocks, cells, _conversion(results))]


def _claims(results: Figured) -> list[Table]:
    return [claims_table([Claim(**claim) for claim in results["claims"]], "Claims of the paper")]


def _settings(results: Figured) -> list[Table]:
    verdicts = {"better": "[green]{}[/green]", "worse": "[red]{}[/red]", "no difference": "{}"}
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for one in results["verdicts"]:
        found.setdefault((one["task"], one["metric"]), {}).setdefault(one["verdict"], []).append(one["data"])
    rows = [
        (
            task,
            metric,
            *(how.format(", ".join(each[name])) if name in each else "none" for name, how in verdicts.items()),
        )
        for (task, metric), each in found.items()
    ]
    headings = ("task", "metric", *(f"Aaren is {name}" for name in ("better", "worse")), "no difference")
    return [console_table(headings, rows, left=headings)]


def _ways(results: Figured) -> list[Table]:
    contestants = {
        name: Contestant(
            Curve(*map(np.array, (way["seconds"], way["losses"]))), way["steps"], way["loss"], way["residual"]
        )
        for name, way in results["ways"].items()
    }
    return [optimisers.table(contestants)]


def _figure1(results: Figured) -> list[Table]:
    """The neurons of the exact construction, which table 3 counts too."""
    d, cells = results["d"], results["cells"]["gated RNN"]
    published = {"paper form": d * d + d, "compact": d * (d + 1) // 2 + d}
    rows = []
    for form, neurons in published.items():
        built = cells[f"attention, {form}"]
        judged = "[green]as published[/green]" if built["neurons"] == neurons else "[red]differs[/red]"
        rows.append((form, str(neurons), str(built["neurons"]), f"{built['error']:.1e}", judged))
    return [
        console_table((f"neurons, d = {d}", "published", "built", "relative error", "verdict"), rows, left=("verdict",))
    ]


def _clock(results: Figured) -> list[Table]:
    policies = {name: Clocked(**clocked) for name, clocked in results["policies"].items()}
    return [clock.table(policies, results["steps"])]


def _long(results: Figured) -> list[Table]:
    def cost(line: Figured) -> StepCost:
        return StepCost(**{name: line[name] for name in StepCost._fields})

    models = results["models"].items()
    return [long.table({name: {line["tokens"]: cost(line) for line in lines} for name, lines in models})]


PAPER_A = "Gated recurrent neural networks discover attention"
PAPER_B = "Attention as an RNN"
OURS = "Not in the papers"
RESULTS: dict[str, dict[str, Result]] = {
    PAPER_A: {
        "figure1": Result("Figure 1", "table3/table3.json", _figure1, "../ideas/an-rnn-as-attention.md"),
        "table1": Result(
            "Table 1, the paper's recipe", "table1/paper/table1.json", lambda r: [table1.table(r)], "students.md"
        ),
        "table1-fast": Result(
            "Table 1, the fast recipe", "table1/fast/table1.json", lambda r: [table1.table(r)], "students.md"
        ),
        "table1-fast6": Result(
            "Table 1, the fast recipe for d = 6", "table1/fast6/table1.json", lambda r: [table1.table(r)], "students.md"
        ),
        "pruning": Result(
            "What pruning leaves (section 3.2)",
            "table1/paper/table1.json",
            lambda r: [table1.pruning_table([Cut(**cut) for cut in r["pruning"][0]], r["students"][0]["loss"])],
            "students.md",
        ),
        "table2": Result("Table 2", "table2/table2.json", _table2, "students.md"),
        "table3": Result("Table 3", "table3/table3.json", _table3, "../ideas/constructions.md", ("costs.png",)),
        "table4": Result(
            "Table 4", "table4/table4.json", _table4, "../ideas/constructions.md", ("attention.png", "gated-rnn.png")
        ),
        "figure2": Result("Figure 2", "figure2/paper.json", _figure2, "students.md", ("paper.png",)),
        "figure3": Result("Figure 3", "figure3/figure3.json", _claims, "sizes.md", ("figure3.png",)),
        "figure4": Result("Figure 4", "figure4/figure4.json", _claims, "sizes.md", ("figure4.png",)),
        "figure5": Result("Figure 5", "figure5/figure5.json", _claims, "sizes.md", ("figure5.png",)),
    },
    PAPER_B: {
        "literature": Result(
            "Data sets of paper B, by the protocol of the literature",
            "literature/settings.json",
            lambda r: literature.tables([Compared(**cell) for cell in r["cells"]]),
            "tasks.md",
            command="twofold reproduce literature",
        ),
        "control": Result(
            "Policies of robots (paper B's table 1)",
            "control/settings.json",
            _settings,
            "tasks.md",
            command="twofold reproduce control",
        ),
        "settings": Result("Forecasting, events, classification", "settings/settings.json", _settings, "tasks.md"),
        "efficiency": Result(
            "Memory and time of a stream",
            "efficiency/efficiency.json",
            lambda r: [efficiency.table(r), efficiency.parameter_table(r)],
            "tasks.md",
            ("efficiency.png",),
        ),
    },
    OURS: {
        "ways": Result(
            "Ways to train, at equal wall time", "training/training.json", _ways, "students.md", ("training.png",)
        ),
        "long": Result("Training on a million tokens", "long/long.json", _long, "../guides/scale.md", ("long.png",)),
        "whole": Result(
            "Training in one piece",
            "whole/settings.json",
            lambda r: [whole.table([Compared(**cell) for cell in r["cells"]])],
            "../guides/scale.md",
        ),
        "scale": Result(
            "Exchanges between devices", "scale/scale.json", lambda r: [scale.table(r)], "../guides/scale.md"
        ),
        "positions": Result(
            "What positions are worth",
            "positions/settings.json",
            lambda r: [positions.table([Compared(**cell) for cell in r["cells"]])],
            "../ideas/attention-as-an-rnn.md",
        ),
        "clock": Result("The clock of a loop of control", "clock/clock.json", _clock, "tasks.md"),
    },
}


def read(folder: Path, result: Result) -> Figured:
    """Read the file of a result. **Raises:** `InputError` as `read_figures` does."""
    return read_figures(folder / result.file)


def read_figures(file: Path) -> Figured:
    """Read a file of results.

    **Raises:** `InputError` if it is missing or damaged.
    """
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error


def page(folder: Path, to_results: str) -> str:
    """All results as a page in Markdown: what was missed first, then every table and every picture.

    **Arguments:**

    - `folder`: the folder of results.
    - `to_results`: how this folder is reached from the page, for pictures.

    **Raises:** `InputError` if a file is missing or damaged.
    """
    sections, misses = [], []
    for paper, results in RESULTS.items():
        sections.append(f"## {paper}")
        for result in results.values():
            if unmeasured := result.unmeasured(folder):
                sections += [f"### {result.title}", unmeasured]
                misses.append(f"| {result.title} | not measured yet | `{result.command}` |")
                continue
            found = read(folder, result)
            tables = result.tables(found)
            sections += [f"### {result.title}", *_section(result, found, tables, to_results)]
            rows = [row for table in tables for row in missed(table)]
            anchor = re.sub(r"[^\w\- ]", "", result.title.lower()).replace(" ", "-")
            misses += [f"| [{result.title}](#{anchor}) | {what} | {told} |" for what, told in rows]
    told = "\n".join(["| | missed, or not confirmed | |", "|---|---|---|", *misses])
    return "\n\n".join([HEAD, "## What is missed", told, *sections]) + "\n"


HEAD = """# Both papers, beside ours

After this page you know what twofold reaches of both papers, and what it misses. `twofold report` writes this page from the
files in `results/`, which runs have written. Each table has the published figures beside those that were found here, if the
papers have any. Below it are the command, the commit, the machine and the date of the run."""


def _section(result: Result, found: Figured, tables: Sequence[Table], to_results: str) -> list[str]:
    beside = f"{to_results}/{Path(result.file).parent}"
    pictures = [f"![{result.title}: {Path(name).stem}]({beside}/{name})" for name in result.pictures]
    links = f"[All figures]({to_results}/{result.file}). [More about it]({result.page})."
    return [*map(as_markdown, tables), *pictures, f"{_made(found)} {links}"]


def _made(found: Figured) -> str:
    """What made a result."""
    made = found["provenance"]
    count = found.get("seeds") or len(found.get("students", ""))
    seeds = f", {count} seeds" if count > 1 else f", seed {found['seed']}" if "seed" in found else ""
    return (
        f"Run by `{made['command']}`{seeds}, at commit {made['commit'][:7]}, with JAX {made['versions']['jax']}, on"
        f" {made['machine']}, {made['date'][:10]}."
    )


MARKED = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def filled(text: str, folder: Path) -> str:
    """A page whose tables between `<!-- results: name -->` and `<!-- end of results -->` are those of the results.

    **Raises:** `InputError` for a name that no result has, and if a file is missing or damaged.
    """
    by_name = {name: result for results in RESULTS.values() for name, result in results.items()}

    def tables(found: re.Match) -> str:
        begin, name, end = found.groups()
        if name not in by_name:
            raise InputError(f"there is no result {name!r}; the results are {', '.join(by_name)}")
        result = by_name[name]
        shown = result.unmeasured(folder) or "\n\n".join(map(as_markdown, result.tables(read(folder, result))))
        return f"{begin}\n{shown}\n\n{end}"

    return MARKED.sub(tables, text)
