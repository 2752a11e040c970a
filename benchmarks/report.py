"""The tables of the benchmarks, on the console and in Markdown, and the picture of time against tokens."""

from itertools import groupby
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from rich.table import Table

from twofold.report.tables import console_table, markdown_table

READING = """\
After this page you can compare the speed of twofold's scans, layers and models with other libraries. The columns mean:

- *ms*: the median time in milliseconds. In each round, all contestants take one turn, in random order. Short calls are
  repeated within a turn.
- *ratio*: the time of a contestant divided by the time of twofold in the same round, as the median over rounds. Above 1, twofold
  is faster.
- *limits*: the time as a multiple of the least time that the machine needs. This is the longer of two times. The first is the
  time to read every input once and to write every result once, at the speed of a copy of the largest of them. The second is the
  time of the matrix products in twofold's function, at the speed of a large product.
- *ordinary*: the time and the ratio in an ordinary process, where glibc gives the memory of large arrays back to the system
  after each call. All other figures are from a process that keeps this memory, by `twofold.keep_memory`.
- *copies*: the time as a multiple of the time that a copy of the values takes.
- *compile*: the time of tracing, lowering and compiling. For torch.compile it is the time of the first call.
- *error*: the largest difference from a float64 reference, in the output or in any gradient, relative to the largest entry of the
  array. A contestant with an error above 1e-3 is not timed."""

TRAINING = """\
A step has a loss, a gradient and an update by the optimiser. In JAX, several steps are compiled into one call, as
`twofold.train.fit` compiles them. In PyTorch they are a loop. The further columns mean:

- *of peak*: the share of the time that the matrix products of twofold's step would take at the speed of a large product.
- *memory*: what the compiled call needs for its arguments, its results and all arrays between them, as XLA plans it. What a
  kernel allocates itself is not counted. PyTorch does not say what it needs.

Losses of twofold with the kernels and on XLA alone are compared before they are timed. Other models with a *SequenceModel* have
the same architecture, the same tokens and AdamW, which PyTorch runs as one kernel. Their weights are not the same, so they are
timed if they have as many parameters, up to 1%, and if their loss falls. The shape is (batch, time, width, depth)."""


def rows(case: dict, winner: str) -> tuple[list[str], list[list[str]]]:
    """The headings and the cells of a case. `winner` is the format of a ratio that is clearly below 1."""
    copies = ["copies"] * (case["operation"] == "softmax scan")
    both = any("ordinary" in figures["forward"] for figures in case["contestants"].values())
    each = ["ms", "ratio", *["ordinary, ms", "ordinary, ratio"] * both, "limits", *copies, "compile, s"]
    headings = ["contestant", *(f"forward, {each[0]}", *each[1:]), *(f"with gradient, {each[0]}", *each[1:]), "error"]
    lines = []
    for name, figures in case["contestants"].items():
        cells = [name]
        for which in ("forward", "gradient"):
            cells += _cells(figures[which], case["limits_ms"][which], case["copy_ms"], each, winner)
        errors = [figures[which]["error"] for which in ("forward", "gradient") if "error" in figures[which]]
        lines.append([*cells, f"{max(errors):.0e}" if errors else ""])
    return headings, lines


def _cells(figures: dict, limit: float, copy: float, headings: list[str], winner: str) -> list[str]:
    if "ms" not in figures:
        return [figures["left_out"], *[""] * (len(headings) - 1)]
    shown = _times(figures, winner) | {
        "limits": f"{figures['ms'] / limit:.1f}",
        "copies": f"{figures['ms'] / copy:.1f}",
        "compile, s": f"{figures['compile_s']:.2f}",
    }
    return [shown.get(heading, "") for heading in headings]


def _times(figures: dict, winner: str) -> dict[str, str]:
    """The time and the ratio, in this process and in an ordinary one, by their headings."""
    shown = {}  # There is no ratio if twofold itself was not timed.
    for prefix, timed in (("", figures), ("ordinary, ", figures.get("ordinary", {}))):
        if "ms" in timed:
            shown[f"{prefix}ms"] = digits(timed["ms"])
        if "ratio" in timed:
            shown[f"{prefix}ratio"] = (winner if timed["ratio"] < 0.95 else "{}").format(f"{timed['ratio']:.2f}")
    return shown


def digits(x: float) -> str:
    return f"{x:.3g}" if x < 100 else f"{x:,.0f}"


def table(case: dict) -> Table:
    headings, lines = rows(case, "[bold red]{}[/]")
    note = case["note"] or None
    return console_table(
        headings, lines, title=case["title"], title_justify="left", caption=note, caption_justify="left"
    )


def training_rows(trainings: list[dict], winner: str) -> tuple[list[str], list[list[str]]]:
    """The headings and the cells of comparisons of training loops. `winner` is as in `rows`."""
    each = [
        (training["name"], name, figures) for training in trainings for name, figures in training["contestants"].items()
    ]
    both = any("ordinary" in figures for _, _, figures in each)
    times = ["ms", "ratio", *["ordinary, ms", "ordinary, ratio"] * both]
    headings = ["loop", "contestant", *times, "steps/s", "of peak", "compile, s", "memory, MB"]
    lines = []
    for loop, name, figures in each:
        if "ms" not in figures:
            lines.append([loop, name, figures["left_out"], *[""] * (len(headings) - 3)])
            continue
        shown, memory = _times(figures, winner), figures["memory_bytes"]
        cells = [digits(1e3 / figures["ms"]), f"{figures['share_of_peak']:.0%}", f"{figures['compile_s']:.1f}"]
        cells.append("" if memory is None else f"{memory / 1e6:,.0f}")
        lines.append([loop, name, *(shown.get(heading, "") for heading in times), *cells])
    return headings, lines


def training_table(trainings: list[dict]) -> Table:
    """The table of the comparisons of one group."""
    rows = training_rows(trainings, "[bold red]{}[/]")
    return console_table(*rows, left=["contestant"], title=trainings[0]["group"], title_justify="left")


def markdown(figures: dict) -> str:
    """The content of bench.json as a page."""
    machine, limits = figures["machine"], figures["limits"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    parts = [
        "# Benchmarks",
        f"{machine['cores']} cores of {machine['processor']} ({caches}); {versions}."
        f" A copy of 128 MiB reads and writes {limits['bytes_per_s'] / 1e9:.1f} GB/s, and a product of float32 matrices does"
        f" {limits['flops_per_s'] / 1e9:.0f} GFLOP/s. The load before the run was {machine['load_before']:.1f}. If it is not"
        " near 0, all times are too long. PyTorch's are then by far the most too long, because its threads wait for each"
        " other without sleep.",
        READING,
        *figures["notes"],
    ]
    for case in figures["cases"]:
        parts += [f"## {case['title']}", markdown_table(*rows(case, "**{}**"))]
        parts += [case["note"]] * bool(case["note"])
    parts += ["## Training", TRAINING] * bool(figures["training"])
    for group, trainings in groupby(figures["training"], key=lambda training: training["group"]):
        parts += [f"### {group}", markdown_table(*training_rows(list(trainings), "**{}**"))]
    if figures["times"]:
        parts += ["## Time against tokens", "![Time against tokens](times.png)"]
    return "\n\n".join(parts) + "\n"


def draw(times: dict[str, dict[str, dict]], file: Path) -> None:
    """Draw the time of forward and gradient for one sequence against its tokens, with one panel for each operation.

    Both axes are logarithmic. A contestant has the same colour in all panels.
    """
    figure, axes = plt.subplots(1, len(times), figsize=(6 * len(times), 4.5), squeeze=False, layout="constrained")
    names = list(dict.fromkeys(name for lines in times.values() for name in lines))
    for ax, (operation, lines) in zip(axes[0], times.items(), strict=True):
        for name, line in lines.items():
            ax.plot(line["tokens"], line["ms"], label=name, marker="o", markersize=4, color=f"C{names.index(name)}")
        ax.set(title=operation, xlabel="tokens", ylabel="forward and gradient, ms", xscale="log", yscale="log")
        ax.set_xscale("log", base=2)
        ax.grid(True, color="#e2e2e2")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=130)
    plt.close(figure)
