"""The tables of the benchmarks, on the console and in Markdown, and the picture of time against tokens."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from rich.table import Table

from twofold.report.tables import console_table, markdown_table

READING = """\
After this page you can compare the speed of twofold's scans and layers with other libraries. The columns of the tables mean:

- *ms*: the median time in milliseconds. In each round, all contestants take one turn, in random order. Short calls are
  repeated within a turn.
- *ratio*: the time of a contestant divided by the time of twofold in the same round, as the median over rounds. Above 1, twofold
  is faster.
- *limits*: the time as a multiple of the least time that the machine needs. This is the longer of two times. The first is the
  time to read every input once and to write every result once, at the speed of a copy of the largest of them. The second is the
  time of the matrix products in twofold's function, at the speed of a large product.
- *copies*: the time as a multiple of the time that a copy of the values takes.
- *compile*: the time of tracing, lowering and compiling. For torch.compile it is the time of the first call.
- *error*: the largest difference from a float64 reference, in the output or in any gradient, relative to the largest entry of the
  array. A contestant with an error above 1e-3 is not timed."""

TRAINING = """\
A step has a loss, a gradient and an update by the optimiser, compiled as `twofold.train.fit` compiles them. The first two columns
are with the native kernels, the next two with XLA alone. *Of peak* is the share of the time that the matrix products would take
at the speed of a large product. The ratio is the time with XLA alone divided by the time with the kernels."""


def rows(case: dict, winner: str) -> tuple[list[str], list[list[str]]]:
    """The headings and the cells of a case. `winner` is the format of a ratio that is clearly below 1."""
    copies = ["copies"] * (case["operation"] == "softmax scan")
    each = ["ms", "ratio", "limits", *copies, "compile, s"]
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
    ratio = figures.get("ratio")  # None if twofold itself was not timed
    shown = {
        "ms": f"{figures['ms']:.3g}" if figures["ms"] < 100 else f"{figures['ms']:,.0f}",
        "ratio": "" if ratio is None else (winner if ratio < 0.95 else "{}").format(f"{ratio:.2f}"),
        "limits": f"{figures['ms'] / limit:.1f}",
        "copies": f"{figures['ms'] / copy:.1f}",
        "compile, s": f"{figures['compile_s']:.2f}",
    }
    return [shown[heading] for heading in headings]


def table(case: dict) -> Table:
    headings, lines = rows(case, "[bold red]{}[/]")
    note = case["note"] or None
    return console_table(headings, lines, title=title(case), title_justify="left", caption=note, caption_justify="left")


def training_rows(figures: dict) -> tuple[list[str], list[list[str]]]:
    """The headings and the cells of the training loops."""
    headings = ["training loop", "steps/s", "of peak", "XLA, steps/s", "of peak", "ratio"]
    lines = []
    for name, loop in figures["training"].items():
        pairs = zip(loop["steps_per_s"].values(), loop["share_of_peak"].values(), strict=True)
        cells = [cell for rate, share in pairs for cell in (f"{rate:.3g}", f"{share:.0%}")]
        lines.append([name, *cells, f"{loop['ratio']:.2f}"])
    return headings, lines


def training_table(figures: dict) -> Table:
    return console_table(*training_rows(figures), title="training loops", title_justify="left")


def title(case: dict) -> str:
    return f"{case['operation']}, {case['variant']}, ({', '.join(map(str, case['shape']))})"


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
        parts += [f"## {title(case)}", markdown_table(*rows(case, "**{}**"))]
        parts += [case["note"]] * bool(case["note"])
    if figures["training"]:
        parts += ["## Training loops", TRAINING, markdown_table(*training_rows(figures))]
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
