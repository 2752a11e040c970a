"""Every page of the site, as a person meets it: on a phone and on a screen, in light and in dark."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.site

BUILT = Path(__file__).parents[2] / "build" / "site"
PAGES = sorted(str(page.relative_to(BUILT).parent) for page in BUILT.rglob("index.html"))


def test_the_site_is_built():
    assert {"live/construction", "live/training", "live/stream"} <= set(PAGES), "run make docs first"


def not_received(browser, address):
    """The files that the page asked for, which are missing or on another host."""
    script = "return performance.getEntriesByType('resource').map((entry) => [entry.name, entry.responseStatus])"
    return [url for url, status in browser.execute_script(script) if not url.startswith(address) or status >= 400]


def too_wide(browser):
    """By how many pixels the page is wider than the window."""
    return browser.execute_script("return Math.max(document.documentElement.scrollWidth - innerWidth, 0)")


@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (1280, "dark")], ids=["phone-light", "screen-dark"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_and_can_be_read(page, width, scheme, site, browser, look, faults):
    look(width, scheme)
    browser.get(f"{site}{page}/")
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    shown = browser.execute_script("return document.body.dataset.mdColorScheme")
    assert page == "edge/browser" or shown == {"light": "default", "dark": "slate"}[scheme]
    assert not_received(browser, site) == []
    assert too_wide(browser) == 0
    assert faults() == []


FAULTY = """
<!doctype html><html lang="en"><title>Faulty</title><link rel="icon" href="data:,">
<p style="width: 900px; color: #999; background: #fff">Pale</p>
<img src="gone.png" alt="gone"><script src="http://elsewhere.example/script.js"></script><script>throw new Error("bad")</script>
"""


def test_faults_are_noticed(serve, tmp_path, browser, look, faults):
    (tmp_path / "index.html").write_text(FAULTY)
    look(375)
    with serve(tmp_path) as address:
        browser.get(address)
        assert not_received(browser, address) == [address + "gone.png", "http://elsewhere.example/script.js"]
        assert too_wide(browser) > 500
        assert any("contrast" in fault for fault in faults())
        assert sum(entry["level"] == "SEVERE" for entry in browser.get_log("browser")) == 3
