"""The site has every public name in its reference; links, equations and pictures are as a browser needs them."""

import importlib
import inspect
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from docs import staged
from twofold.papers.pictures import DRAWN, drawn
from twofold.report.inline_svg import inline_svg

ROOT = Path(__file__).parents[1]


def public(package):
    name = f"twofold.{package}".rstrip(".")
    return {
        each
        for each in importlib.import_module(name).__all__
        if not inspect.ismodule(getattr(importlib.import_module(name), each))
    }


def packages():
    """Every package of twofold that says by `__all__` what is public. `forms` is shared by two packages, and not public."""
    initial = (ROOT / "twofold").glob("**/__init__.py")
    names = {str(file.parent.relative_to(ROOT / "twofold")) for file in initial if "__all__" in file.read_text()}
    return {name.replace(".", "") for name in names} - {"forms"}


def test_every_public_package_has_a_page_in_the_navigation():
    assert set(staged.PACKAGES) == packages()
    navigation = (ROOT / "zensical.toml").read_text()
    assert all(f"reference/{package or 'twofold'}.md" in navigation for package in staged.PACKAGES)


@pytest.mark.parametrize("package", staged.PACKAGES)
def test_every_public_name_is_in_the_reference_and_its_arguments_are_documented(package):
    """`reference` ends the build if a docstring leaves an argument out."""
    name = f"twofold.{package}".rstrip(".")
    listed = set(re.findall(rf"^::: {re.escape(name)}\.(\w+)$", staged.reference(package), re.MULTILINE))
    assert listed == public(package)


def test_an_argument_that_its_docstring_does_not_name_ends_the_build(monkeypatch):
    def scan(a, b):
        """The sum of `a`."""

    assert staged.undocumented(scan) == ["b"]
    monkeypatch.setattr("twofold.scan.linear_scan", scan)
    with pytest.raises(SystemExit, match=r"twofold\.scan\.linear_scan does not say what b is"):
        staged.reference("scan")


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "zensical.toml").read_text()
    for file in [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in staged.PAGES)]:
        assert f'"{staged.place(file)}"' in navigation


def test_links_that_leave_the_pages_lead_to_the_same_file_on_the_site():
    text = staged.page(ROOT / "docs" / "guides" / "speed.md")
    assert "](../results/bench/bench.md)" in text
    assert "](../../results" not in text
    assert "](docs/" not in staged.page(ROOT / "README.md")


def test_equations_become_mathml_and_code_stays():
    shown = staged.equations("Let $a_t$ be\n\n$$a = b$$\n\n```sh\necho $a $b\n```\n")
    assert shown.count("<math") == 2
    assert '<div class="equation"><math' in shown
    assert "echo $a $b" in shown


@pytest.mark.parametrize("picture", ["figure3/figure3.png", "table3/costs.png", "long/long.png"])
def test_a_picture_is_drawn_again_in_the_colours_of_the_page(picture):
    text = inline_svg(drawn(ROOT / "results", picture), "one", "About it")
    assert "#000000" not in text
    assert "currentColor" in text
    assert 'aria-label="About it"' in text
    assert all(name.startswith("one-") for name in re.findall(r' id="([^"]*)"', text))
    ElementTree.fromstring(text.replace("xlink:href", "href"))


def test_every_picture_that_is_drawn_is_there_for_readers_on_github_too():
    for picture, (file, _) in DRAWN.items():
        assert (ROOT / "results" / picture).is_file()
        assert (ROOT / "results" / file).is_file()


def test_the_names_inside_of_two_pictures_differ():
    def names(of):
        figure = Figure()
        figure.subplots().plot([1, 2])
        return set(re.findall(r' id="([^"]*)"', inline_svg(figure, of, "")))

    assert not names("one") & names("two")
