"""Tables of results, on the console and in Markdown."""

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
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rule, *rows))
