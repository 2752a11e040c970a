"""Figures as SVG inside of a page. Lines and letters that are black have the colour of the page's text, in light and in dark."""

import io
import re

import matplotlib
from matplotlib.figure import Figure

COLOURS = {
    "#000000": "currentColor",
    "#555555": "currentColor",
    "#e2e2e2": "var(--picture-grid)",
    "#1f5fa8": "var(--picture-blue)",
    "#c0392b": "var(--picture-red)",
    "#2e8b57": "var(--picture-green)",
}
"""The colours that a page replaces, and by what."""


def inline_svg(figure: Figure, name: str, about: str) -> str:
    """A figure as an element of HTML.

    **Arguments:**

    - `figure`: the figure. Its background is not drawn.
    - `name`: a name that no other picture of the page has.
    - `about`: what it shows, for readers who do not see it.
    """
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue().partition("<svg")[2]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for colour, own in COLOURS.items():
        svg = svg.replace(colour, own)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    body = re.sub(r"\s*\n\s*", " ", svg)
    return f'<div class="picture"><svg role="img" aria-label="{about}"{body}</div>'
