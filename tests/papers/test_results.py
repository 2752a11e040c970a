"""The pages show the results as the runs wrote them: nothing is copied by hand, nothing is forgotten."""

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from twofold import InputError
from twofold.cli import Report
from twofold.papers.results import OURS, RESULTS, filled, page

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "results"


def test_the_pages_are_those_of_the_results():
    """If this fails, run `twofold report`."""
    assert (ROOT / "docs" / "results" / "report.md").read_text() == page(FOLDER, "../../results")
    for file in (ROOT / "docs").glob("**/*.md"):
        assert filled(file.read_text(), FOLDER) == file.read_text(), file


def test_every_claim_of_the_figures_has_a_verdict_and_what_is_missed_comes_first():
    written = page(FOLDER, "../results")
    head, _, rest = written.partition("\n## Gated recurrent")
    for number in (3, 4, 5):
        for claim in json.loads((FOLDER / f"figure{number}" / f"figure{number}.json").read_text())["claims"]:
            assert claim["claim"] in rest
            assert (claim["claim"] in head) == (claim["holds"] is False)


def test_every_table_and_figure_of_the_papers_is_there():
    named = [name for paper, results in RESULTS.items() if paper != OURS for name in results]
    assert {*(f"table{i}" for i in range(1, 5)), *(f"figure{i}" for i in range(1, 6))} <= set(named)
    for results in RESULTS.values():
        for result in results.values():
            pictures = [(FOLDER / result.file).parent / picture for picture in result.pictures]
            assert all(picture.is_file() for picture in pictures)
            assert (ROOT / "docs" / "results" / result.page).is_file()


PENDING = [(name, one) for results in RESULTS.values() for name, one in results.items() if one.command]


@pytest.mark.parametrize(("name", "result"), PENDING)
def test_what_is_not_measured_is_told_until_there_is_a_file(name, result, tmp_path):
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.png"))
    (tmp_path / result.file).unlink(missing_ok=True)
    marked = f"<!-- results: {name} -->\n\n{{}}\n\n<!-- end of results -->"
    told = f"Not measured yet. `{result.command}` makes these figures."
    assert filled(marked.format("old"), tmp_path) == marked.format(told)
    head, _, rest = page(tmp_path, "../results").partition("\n## Gated recurrent")
    assert f"| {result.title} | not measured yet | `{result.command}` |" in head
    assert f"### {result.title}\n\n{told}" in rest
    (tmp_path / result.file).parent.mkdir(exist_ok=True)
    shutil.copy(FOLDER / "settings" / "settings.json", tmp_path / result.file)
    assert "elecdemand-96" in filled(marked.format("old"), tmp_path)
    assert f"not measured yet | `{result.command}`" not in page(tmp_path, "../results")


def test_a_row_that_is_missed_is_told_with_its_published_figure():
    (line,) = [
        line for line in page(FOLDER, "../results").splitlines() if "| KV score | " in line and "published" in line
    ]
    assert "published, d = 4: 4.52e-08" in line
    assert "missed" in line


def test_it_is_a_command(tmp_path, capsys):
    (tmp_path / "page.md").write_text("Before\n<!-- results: figure3 -->\nold\n<!-- end of results -->\nAfter\n")
    command = Report(results=FOLDER, docs=tmp_path)
    command.run(Console(width=200))
    assert capsys.readouterr().out.count("is written") == 2
    assert "confirmed" in (tmp_path / "page.md").read_text()
    assert "old" not in (tmp_path / "page.md").read_text()
    command.run(Console(width=200))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "named"),
    [(None, "table3.json cannot be read"), ("{", "table3.json cannot be read")],
    ids=["missing", "damaged"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, text, named):
    (tmp_path / "table3").mkdir()
    if text is not None:
        (tmp_path / "table3" / "table3.json").write_text(text)
    with pytest.raises(InputError, match=named):
        page(tmp_path, "results")


def test_a_name_that_is_no_result_is_named():
    with pytest.raises(InputError, match="there is no result 'figure9'; the results are figure1, table1"):
        filled("<!-- results: figure9 -->\n<!-- end of results -->", FOLDER)
