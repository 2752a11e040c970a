"""Table 3 is built, measured, printed and drawn, and says where it differs from the paper."""

import json

from rich.console import Console

from twofold.papers.gated_rnn import table3
from twofold.papers.gated_rnn.measured_conversion import Cell, Conversion

SMALL = Conversion(d=2, tokens=16)


def test_table3_is_built_measured_printed_and_drawn(tmp_path, capsys, monkeypatch, pictures, lines_of):
    monkeypatch.setattr(table3, "PLOTTED_SIZES", (1, 2))
    cells = table3.reproduce(SMALL, out=tmp_path, progress=False)
    for name, row in cells.items():
        rnn, *attention = row.values()
        built = rnn.layers, attention[0].layers
        assert built == {"GRU": (5, 3)}.get(name, table3.PUBLISHED[name])
        assert all(cell.layers == built[1] for cell in attention)
        assert all(cell.error < 1e-6 for cell in row.values())
    assert [cell.neurons for cell in cells["gated RNN"].values()] == [5, 4 + 2, 3 + 2, 1 + 1]
    assert [cell.neurons for cell in cells["LRU"].values()] == [5, 4, 3, 1]
    Console(width=200).print(table3.table(cells, SMALL))
    printed = capsys.readouterr().out
    assert "published: -, -" in printed
    assert f"error {cells['LSTM']['gated RNN'].error:.1e}" in printed
    assert "differs" not in printed
    written = json.loads((tmp_path / "table3.json").read_text())
    assert (written["d"], written["tokens"], written["dtype"], written["seed"]) == (2, 16, "float64", 0)
    assert written["cells"]["GRU"]["gated RNN"] == cells["GRU"]["gated RNN"]._asdict()
    costs = written["costs"]["parameters"]
    assert costs["paper"]["attention"] == [3, 12]
    for axes, (form, parameters) in zip(pictures["costs.png"].axes, costs.items(), strict=True):
        assert axes.get_title() == f"{form} form"
        assert lines_of(axes) == {name: ([1, 2], values) for name, values in parameters.items()}


def test_table3_says_where_it_differs_from_the_paper(capsys):
    cell = Cell(layers=1, neurons=1, parameters=1, error=0.0)
    Console(width=200).print(table3.table({"LRU": {"gated RNN": cell, "attention": cell}}, SMALL))
    assert "differs" in capsys.readouterr().out
