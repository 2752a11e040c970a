"""The tables and figures of paper A, as the files of results have them."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...report import size_pictures
from ...report.gathered import Judged, Part, Row, claim_rows, equal, figures_of, judged
from ...report.line_pictures import draw_costs
from ...report.size_pictures import draw_architectures, draw_figure3
from . import figure3, figure4, figure5
from .architectures import LAYERED, Plan, contestants_of
from .student_scores import Figures
from .table1 import PUBLISHED, ROWS
from .table3 import PUBLISHED as LAYERS


def parts(results: Path) -> list[Part]:
    """Every table and figure. **Raises:** `InputError` if a file is not there."""
    makers = (_figure1, _table1, _figure2, _pruning, _table2, _figure3, _figure4, _figure5, _table3, _errors, _table4)
    return [make(results) for make in makers]


def _students(file: Path) -> list[Figures]:
    return [Figures(**student) for student in figures_of(file)["students"]]


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.2e}" if isinstance(value, float) else str(value)


def _figure1(results: Path) -> Part:
    file = results / "table3" / "table3.json"
    figures = figures_of(file)
    d, cells = figures["d"], figures["cells"]["gated RNN"]
    rows: list[Row] = []
    for form, published in (("paper form", d * d + d), ("compact", d * (d + 1) // 2 + d)):
        cell = cells[f"attention, {form}"]
        rows.append((f"{form}, d = {d}", str(published), str(cell["neurons"]), equal(cell["neurons"], published)))
    return Part(
        "figure1", "Figure 1 of paper A: the construction", ("neurons", "published", "here", "verdict"), rows, [file]
    )


def _table1(results: Path) -> Part:
    files = [results / "table1" / recipe / "table1.json" for recipe in ("paper", "fast")]
    one, fast = map(_students, files)
    rows = []
    for name, value_of in ROWS.items():
        published = value_of(PUBLISHED)
        columns = []
        for students in (one, fast):
            values = [value_of(student) for student in students]
            counted = isinstance(values[0], str)
            middle = max(set(values), key=values.count) if counted else type(values[0])(np.median(values))
            verdict: str | Judged = ""
            if published is not None:
                verdict = equal(middle, published) if counted else judged(float(middle), float(published))
            columns += [_text(middle), verdict]
        worst = max(map(value_of, fast))
        rows.append((name.strip(), _text(published), *columns, _text(worst)))
    fast_heading = f"fast recipe, median of {len(fast)}"
    headings = ("", "published", "paper's recipe", "verdict", fast_heading, "verdict", f"worst of {len(fast)}")
    return Part("table1", "Table 1 of paper A: a student of attention", headings, rows, files, len(one) + len(fast))


def _figure2(results: Path) -> Part:
    file = results / "figure2" / "paper.json"
    figures = figures_of(file)
    student = figures["student"]
    names = {"memory": "memory neurons", "forget": "query neurons", "other": "other neurons"}
    rows: list[Row] = [
        (title, str(getattr(PUBLISHED, name)), str(student[name]), equal(student[name], getattr(PUBLISHED, name)))
        for name, title in names.items()
    ]
    rows.append(("relative error of the kernels", "", f"{figures['kernel_error']:.1e}", ""))
    picture = results / "figure2" / "paper.png"
    return Part(
        "figure2", "Figure 2 of paper A: the weights", ("", "published", "here", "verdict"), rows, [file], 1, picture
    )


def _pruning(results: Path) -> Part:
    file = results / "table1" / "paper" / "table1.json"
    rows = [
        (
            f"{cut['tolerance']:.0e}",
            f"{cut['memory']} + {cut['forget']} + {cut['other']}",
            str(cut["gate_rows"]),
            f"{cut['loss']:.1e}",
        )
        for cut in figures_of(file)["pruning"][0]
    ]
    headings = ("tolerance", "memory + query + other neurons", "gate rows", "loss")
    return Part("pruning", "Section 3.2 of paper A: what pruning leaves", headings, rows, [file], 1)


def _table2(results: Path) -> Part:
    file = results / "table2" / "table2.json"
    figures = figures_of(file)
    students, published, step = figures["students"], figures["published"], figures["one step"]
    rows: list[Row] = []

    def add(name: str, field: str, optimum: float | None, limit: float | None, verdict: Any = "", form: str = ".2e"):
        values = [student[field] for student in students]
        told = f"{np.mean(values):{form}} ± {np.std(values):.1e}"
        rows.append((name, _at(limit, form), told, _at(optimum, form), verdict))

    for i, limit in enumerate(published["coefficients"]):
        values = [student["coefficients"][i] for student in students]
        off = abs(np.mean(values) / step["coefficient"] - 1)
        verdict = Judged(bool(off < 0.01), f"off the optimal step by {off:.2%}")
        told = f"{np.mean(values):.2e} ± {np.std(values):.1e}"
        rows.append((f"(sum x_{i + 1} y_1) x_{i + 1}", f"{limit:.2e}", told, f"{step['coefficient']:.2e}", verdict))
    residual = np.mean([student["one_token_norm"] for student in students])
    limit = published["residual_norm"]
    add("residual norm of one token, as in the paper", "one_token_norm", 0.0, limit, judged(float(residual), limit))
    add("residual norm at the question", "residual_norm", 0.0, None)
    gap = abs(np.mean([student["training_loss"] for student in students]) - step["loss"])
    verdict = Judged(bool(gap < 2e-4), f"off the optimal step by {gap:.1e}")
    add("training loss", "training_loss", step["loss"], published["training_loss"], verdict, ".4f")
    add("loss, new sequences", "loss", step["loss"], None, form=".5f")
    add("loss, W of twice the variance", "validation_loss", 2 * step["loss"], None, form=".5f")
    headings = ("", "published RNN", f"RNN, mean of {len(students)}", "one optimal step", "verdict")
    title = "Table 2 of paper A: one step of gradient descent"
    return Part("table2", title, headings, rows, [file], len(students))


def _at(value: float | None, form: str) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:{form}}"


CLAIMED = ("the paper says", "found here", "verdict")


def _figure3(results: Path) -> Part:
    file = results / "figure3" / "figure3.json"
    figures = figures_of(file)

    def draw() -> Figure:
        grid = figure3.Grid()
        found = figure3.figures_of(grid, [cell["result"] for cell in figures["cells"]])
        return draw_figure3(
            size_pictures.Grid(grid.hidden, grid.gates, found.imitation, figure3.GRID_MARKS),
            size_pictures.Line(grid.neurons, found.excess, figure3.LINE_MARKS),
        )

    title = "Figure 3 of paper A: how large a network must be"
    return Part("figure3", title, CLAIMED, claim_rows(figures["claims"]), [file], _seeds(figures), _png(file), draw)


def _figure4(results: Path) -> Part:
    file = results / "figure4" / "figure4.json"
    title = "Figure 4 of paper A: which architectures find attention"
    return _architectures("figure4", title, file, figure4.SHOWN, figure4.panels)


def _figure5(results: Path) -> Part:
    file = results / "figure5" / "figure5.json"
    return _architectures("figure5", "Figure 5 of paper A: all architectures", file, LAYERED, figure5.panels)


def _architectures(key: str, title: str, file: Path, layered: tuple[str, ...], panels: Any) -> Part:
    figures = figures_of(file)

    def draw(plan: Plan) -> Figure:
        results = [cell["result"] for cell in figures["cells"]]
        return draw_architectures(panels(plan, contestants_of(plan, layered, results)))

    rows = claim_rows(figures["claims"])
    return Part(key, title, CLAIMED, rows, [file], _seeds(figures), _png(file), partial(draw, Plan()))


def _seeds(figures: dict[str, Any]) -> int:
    """The most seeds of any cell."""
    return max(cell["settings"].get("seeds", 1) for cell in figures["cells"])


def _png(file: Path) -> Path:
    return file.with_suffix(".png")


def _table3(results: Path) -> Part:
    file = results / "table3" / "table3.json"
    figures = figures_of(file)
    rows: list[Row] = []
    for name, row in figures["cells"].items():
        built = row["gated RNN"]["layers"], row["attention, paper form"]["layers"]
        published = LAYERS[name]
        if published == (None, None):
            rows.append((name, "none", f"{built[0]}, {built[1]} for a given number of tokens", ""))
        else:
            rows.append((name, "{}, {}".format(*published), f"{built[0]}, {built[1]}", equal(built, published)))
    title = "Table 3 of paper A: layers for a gated RNN, and for attention"
    costs = figures["costs"]
    draw = partial(draw_costs, costs["d"], costs["parameters"])
    headings = ("layers of", "published", "built", "verdict")
    return Part("table3", title, headings, rows, [file], 1, results / "table3" / "costs.png", draw)


def _errors(results: Path) -> Part:
    file = results / "table3" / "table3.json"
    cells = figures_of(file)["cells"]
    sources = list(cells["LRU"])
    rows = [(name, *(f"{row[source]['error']:.1e}" for source in sources)) for name, row in cells.items()]
    return Part("errors", "The errors of the conversions of table 3", ("relative error", *sources), rows, [file], 1)


def _table4(results: Path) -> Part:
    file = results / "table4" / "table4.json"
    rows: list[Row] = [
        (
            f"{block['title']}: {gate}",
            ", ".join(f"`{name}`" for name in block["published"][gate]),
            ", ".join(f"`{name}`" for name in block["built"][gate]),
            _read_back(block["published"][gate], block["built"][gate]),
        )
        for block in figures_of(file)["layers"]
        for gate in block["published"]
    ]
    title = "Table 4 of paper A: the weights of an LSTM"
    return Part("table4", title, ("gate: U, V, b", "published", "read back", "verdict"), rows, [file], 1)


def _read_back(published: list[str], built: list[str]) -> Judged:
    """Whether U, V and b are the published ones. The bias may be the column of U that reads the constant 1 ("in U")."""
    (u, v, b), (own_u, own_v, own_b) = published, built
    biases = {"+inf": ("100",), "-inf": ("-100",), "0": ("0", "in U")}.get(b, (b,))
    holds = u in own_u and v == own_v and own_b in biases
    return Judged(holds, "as published" if holds else "differs")
