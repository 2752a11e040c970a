"""What the site is built from: the pages of docs/, the files that they link to, and a reference of all public names.

GitHub shows the pages of docs/ where they are. The site has docs/ at its root, so a link that leaves docs/ leads one folder less
up there. Run `python -m docs.staged build/pages` before Zensical.
"""

import functools
import importlib
import inspect
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

from twofold.papers.pictures import DRAWN, drawn
from twofold.report.inline_svg import inline_svg

ROOT = Path(__file__).parents[1]
PAGES = {f"{name.upper()}.md": f"project/{name}.md" for name in ("readme", "contributing", "changelog", "security")}
"""The pages outside of docs/ that the site has too, and where it has them."""
FILES = ("results", "examples", "notebooks", "edge/browser")
"""The folders whose files the pages link to or show."""
PACKAGES = ("", "scan", "layers", "models", "convert", "discover", "data", "tasks", "train", "deploy")
"""The public packages. The first one is twofold itself."""
CODE = re.compile(r"^```.*?^```\n", re.DOTALL | re.MULTILINE)
EQUATION = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", re.DOTALL)
IMAGE = re.compile(r"^!\[(.*)\]\((?:\.\./)+results/(\S+)\)$", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)\s#]+)")


def place(file: Path) -> Path:
    """Where the site has a file of the repository, relative to the site's root."""
    path = file.relative_to(ROOT)
    if str(path) in PAGES:
        return Path(PAGES[str(path)])
    if path.suffix == ".html":  # its source is shown
        path = path.with_name(path.name + ".txt")
    return path.relative_to("docs") if path.parts[0] == "docs" else path


def page(file: Path) -> str:
    """The text of a page as the site has it."""
    here = place(file).parent

    def led(link: re.Match[str]) -> str:
        target = (file.parent / link[1]).resolve()
        return os.path.relpath(place(target), here) if target.is_relative_to(ROOT) else link[1]

    text = LINK.sub(led, IMAGE.sub(picture, file.read_text()))
    return equations(text) if here == Path("ideas") else text


@functools.cache
def svg(file: str, about: str) -> str:
    """A picture of results as SVG."""
    return inline_svg(drawn(ROOT / "results", file), Path(file).stem, about)


def picture(image: re.Match[str]) -> str:
    """A picture of results, drawn again where the files of results have what it shows, so that it suits a dark page too."""
    about, file = image.groups()
    return svg(file, about) if file in DRAWN else image[0]


def equations(text: str) -> str:
    """The text with its equations as MathML, which browsers show without any script. Code is left as it is."""

    def shown(found: re.Match[str]) -> str:
        display = "block" if found[1] else "inline"
        equation = convert(found[1] or found[2], display=display)
        return f'<div class="equation">{equation}</div>' if found[1] else equation

    parts = zip(CODE.split(text), [*CODE.findall(text), ""], strict=True)
    return "".join(EQUATION.sub(shown, prose) + code for prose, code in parts)


def undocumented(thing: Any) -> list[str]:
    """The arguments of a function that its docstring does not name."""
    if not inspect.isfunction(function := inspect.unwrap(thing)):
        return []
    told = inspect.getdoc(function) or ""
    return [name for name in inspect.signature(function).parameters if f"`{name}`" not in told]


def reference(package: str) -> str:
    """The page of the reference for a public package. mkdocstrings writes it from the docstrings."""
    name = f"twofold.{package}".rstrip(".")
    module = importlib.import_module(name)
    names = [each for each in module.__all__ if f"{name}.{each}" not in {f"twofold.{other}" for other in PACKAGES}]
    for each in names:
        if missing := undocumented(getattr(module, each)):
            sys.exit(f"the docstring of {name}.{each} does not say what {', '.join(missing)} is")
    about = f"::: {name}\n    options:\n      members: false\n      show_root_heading: false\n      show_root_toc_entry: false\n"
    return "\n".join([f"# {name}\n", about, *(f"::: {name}.{each}\n" for each in sorted(names))])


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for file in (file for name in FILES for file in (ROOT / name).rglob("*.*") if file.suffix != ".pyc"):
        (folder / place(file)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / place(file))
    shutil.copy(ROOT / "CITATION.cff", folder)
    for file in [*(ROOT / "docs").rglob("*.md"), *(ROOT / "results").rglob("*.md"), *(ROOT / name for name in PAGES)]:
        target = folder / place(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page(file))
    (folder / "reference").mkdir()
    for package in PACKAGES:
        (folder / "reference" / f"{package or 'twofold'}.md").write_text(reference(package))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
