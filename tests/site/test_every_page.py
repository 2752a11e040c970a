"""Every page of the site, as a person meets it: on a phone and on a screen, in light and in dark."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.site

BUILT = Path(__file__).parents[2] / "build" / "site"
PAGES = sorted(str(page.relative_to(BUILT).parent) for page in BUILT.rglob("index.html"))


def test_the_site_is_built():
    assert {"live/construction", "live/training", "live/stream"} <= set(PAGES), "run make docs first"


@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (1280, "dark")], ids=["phone-light", "screen-dark"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_and_can_be_read(page, width, scheme, site, browser, look, faults):
    look(width, scheme)
    browser.get(f"{site}{page}/")
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    shown = browser.execute_script("return document.body.dataset.mdColorScheme")
    assert shown == {"light": "default", "dark": "slate"}[scheme]
    requests = browser.execute_script(
        "return performance.getEntriesByType('resource').map(r => [r.name, r.responseStatus])"
    )
    assert [name for name, status in requests if not name.startswith(site) or status >= 400] == []
    assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0
    assert faults() == []
