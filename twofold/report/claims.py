"""What a paper claims, beside what was found."""

from collections.abc import Iterable
from typing import NamedTuple

from rich.table import Table

from .tables import console_table


class Claim(NamedTuple):
    """One claim of a paper, and what became of it here."""

    claim: str
    """What the paper says, in our words."""
    found: str
    """What was measured here."""
    holds: bool | None
    """Whether the measurement agrees. It is None if too much is missing to say so."""


def claims_table(claims: Iterable[Claim], title: str) -> Table:
    """The claims with what was found, and a verdict for each."""
    verdicts = {True: "[green]confirmed[/green]", False: "[red]not confirmed[/red]", None: "not measured"}
    rows = [(claim.claim, claim.found, verdicts[claim.holds]) for claim in claims]
    headings = ("the paper says", "found here", "verdict")
    return console_table(headings, rows, left=headings, title=title, show_lines=True)
