"""Tables of results hold what they are given."""

import pytest

from twofold.report.tables import console_table, markdown_table

HEADINGS = ("", "loss", "verdict")
ROWS = [("ours", "0.1", "reached"), ("theirs", "0.2", "")]


@pytest.mark.parametrize(("left", "sides"), [((), "left right right"), (("verdict",), "left right left")], ids=str)
def test_a_console_table_has_its_cells_and_sides(left, sides):
    table = console_table(HEADINGS, ROWS, left=left, title="a title", caption="a caption")
    assert (table.title, table.caption) == ("a title", "a caption")
    assert [column.header for column in table.columns] == list(HEADINGS)
    assert [column.justify for column in table.columns] == sides.split()
    assert list(zip(*(column.cells for column in table.columns), strict=True)) == ROWS


def test_a_markdown_table_has_its_cells():
    lines = markdown_table(HEADINGS, ROWS).splitlines()
    assert lines == [
        "|  | loss | verdict |",
        "| --- | ---: | ---: |",
        "| ours | 0.1 | reached |",
        "| theirs | 0.2 |  |",
    ]
