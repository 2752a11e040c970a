"""What the pages say is so: their code runs as a reader would run it, and their links and tables lead where they should."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FRONT = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")]
PAGES = [*FRONT, *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def processes() -> list:
    """The blocks of Python on all pages, by the process that runs them, each with its page.

    A block that sets the environment or the configuration of JAX has a process of its own. Two processes share the others,
    because each of them has to import JAX first.
    """
    together: list[tuple[str, list[str]]] = []
    alone = []
    for page in PAGES:
        codes = [code for language, code in BLOCK.findall(page.read_text()) if language == "python"]
        apart = [code for code in codes if "os.environ" in code or "jax.config" in code]
        together.append((name_of(page), [code for code in codes if code not in apart]))
        alone += [[(name_of(page), [code])] for code in apart]
    return [pytest.param(pages, id=str(i)) for i, pages in enumerate([together[::2], together[1::2], *alone])]


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    return LINK.findall(BLOCK.sub("", page.read_text()))


def broken(page: Path, link: str) -> bool:
    """Whether a link leads to no file, or to no heading of it. Links to other sites are not followed."""
    if link.startswith(("http://", "https://")):
        return False
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return not target.exists() or bool(anchor and anchor not in anchors(target))


ALL_OF_THEM = """
import json, os, sys
for place, (page, codes) in enumerate(json.load(sys.stdin)):
    os.mkdir(str(place))
    os.chdir(str(place))
    for number, code in enumerate(codes, 1):
        exec(compile(code, f"{page}, block {number}", "exec"), {"__name__": "__main__"})
    os.chdir("..")
"""


@pytest.mark.parametrize("pages", processes())
def test_python_blocks_run(pages, tmp_path):
    """As users have it: float32, the default implementation, no environment variables but those of quick compilation."""
    ours = ("TWOFOLD_", "JAX_", "XLA_", "OPENBLAS_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    flags = os.environ.get("XLA_FLAGS", "").split()  # conftest's, and none with --plain
    environment["XLA_FLAGS"] = " ".join(flag for flag in flags if "device_count" not in flag)
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", ALL_OF_THEM]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, input=json.dumps(pages), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_block_is_of_a_kind_that_is_tested_or_only_shown():
    assert {language for page in PAGES for language, _ in BLOCK.findall(page.read_text())} <= {"python", "sh", "text"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page):
    assert [link for link in links(page) if broken(page, link)] == []


def test_the_links_are_found_and_a_broken_one_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A heading, here\n\n[a](page.md#a-heading-here) [b](page.md#elsewhere) ![c](gone.png)\n")
    assert [link for link in links(page) if broken(page, link)] == ["page.md#elsewhere", "gone.png"]
    assert sum(len(links(page)) for page in PAGES) > 30


def test_the_index_leads_to_every_page():
    """Every page of docs can be reached from docs/index.md, and the index itself from the README."""
    index = ROOT / "docs" / "index.md"
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert {page for page in PAGES if page != index} <= listed
    assert "docs/index.md" in links(ROOT / "README.md")


def test_the_tables_of_the_tasks_are_those_of_the_results():
    shown = (ROOT / "docs" / "results" / "tasks.md").read_text()
    tables = re.split(r"^### ", (ROOT / "results" / "settings" / "settings.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(tables) == 16
    for table in tables:
        assert table.strip() in shown


def test_the_table_of_the_edge_is_that_of_the_results():
    assert (ROOT / "results" / "edge" / "edge.md").read_text() in (ROOT / "docs" / "guides" / "export.md").read_text()
