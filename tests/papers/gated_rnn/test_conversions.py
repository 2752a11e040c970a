"""The pictures that the page on conversions shows are drawn."""

import json
import re
from pathlib import Path

import numpy as np

from twofold.papers.gated_rnn import conversions


def test_pictures_of_the_conversions_are_drawn(tmp_path, monkeypatch, pictures, lines_of):
    for name, small in {"GROWN_TOKENS": 20, "SUMMED_TOKENS": 30, "MEMORIES": range(2)}.items():
        monkeypatch.setattr(conversions, name, small)
    figures = conversions.draw(tmp_path, progress=False)
    assert figures["memory"]["best found"][0] == 1
    assert json.loads((tmp_path / "conversions.json").read_text())["memory"] == figures["memory"]
    page = (Path(__file__).parents[3] / "docs" / "ideas" / "constructions.md").read_text()
    assert {Path(link).name for link in re.findall(r"\((\.\./conversions/.*\.png)\)", page)} == pictures.keys()
    (axes,) = pictures["memory.png"].axes
    assert axes.get_xlabel() == "memory neurons"
    for name, part in figures["memory"].items():
        np.testing.assert_allclose(lines_of(axes)[name], ([0, 1], part))
    (axes,) = pictures["gru-error.png"].axes
    lengths = {name: len(x) for name, (x, _) in lines_of(axes).items()}
    assert len(lengths) == 5
    assert {n for name, n in lengths.items() if name.startswith("growing")} == {20}
    assert {n for name, n in lengths.items() if name.startswith("running")} == {30}
