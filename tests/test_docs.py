"""What the pages of docs show is what the committed results say, and their links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_tables_of_the_tasks_are_those_of_the_results():
    shown = (ROOT / "docs" / "tasks.md").read_text()
    tables = re.split(r"^### ", (ROOT / "results" / "settings" / "settings.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(tables) == 16
    for table in tables:
        assert table.strip() in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert link.startswith("http") or (page.parent / link).exists(), link
