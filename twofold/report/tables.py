"""Tables of results, on the console and in Markdown."""

import re
from collections.abc import Container, Iterable, Sequence
from typing import Any

from rich.table import Table


def console_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: Container[str] = (), **options: Any
) -> Table:
    """A table whose first column and those in `left` start at the left; numbers, in all others, end at the right.

    `options` are those of rich's `Table`, such as `title`, `caption` and `show_lines`.
    """
    table = Table(**options)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 or heading in left else "right")
    for row in rows:
        table.add_row(*row)
    return table


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same in Markdown: the first column starts at the left, all others end at the right."""
    return _markdown(headings, ["left", *["right"] * (len(headings) - 1)], rows)


def as_markdown(table: Table) -> str:
    """A table of the console in Markdown, with its caption below. What is green there is of the class "reached", and what is
    red of the class "missed"."""
    headings = [_in_markdown(column.header) for column in table.columns]
    columns = [map(_in_markdown, column.cells) for column in table.columns]
    caption = [_in_markdown(table.caption)] if table.caption else []
    return "\n\n".join([_markdown(headings, [c.justify for c in table.columns], zip(*columns, strict=True)), *caption])


def missed(table: Table) -> list[tuple[str, str]]:
    """The rows that have something red: the cell of their first column, and the others in Markdown, each with its heading."""
    headings = [str(column.header) for column in table.columns]
    rows = zip(*(map(str, column.cells) for column in table.columns), strict=True)
    return [
        (row[0].strip(), "; ".join(_told(*each) for each in zip(headings[1:], row[1:], strict=True) if each[1].strip()))
        for row in rows
        if any("[red]" in cell for cell in row[1:])
    ]


def _told(heading: str, cell: str) -> str:
    told = _in_markdown(cell)
    return told if "<span" in told else f"{heading}: {told}"


def _markdown(headings: Sequence[str], sides: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---:" if side == "right" else "---" for side in sides]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rule, *rows))


def _in_markdown(cell: Any) -> str:
    escaped = str(cell).strip().replace("|", r"\|").replace("<", "&lt;").replace("\n", "<br>")
    for colour, name in {"green": "reached", "red": "missed"}.items():
        escaped = re.sub(rf"\[{colour}](.*?)\[/{colour}]", rf'<span class="{name}">\1</span>', escaped)
    return escaped
