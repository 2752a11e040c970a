"""The built site on a server of its own, and headless Chromium, which can reach nothing else."""

import functools
import http.server
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from docs.live.npm import copy_from_npm

BUILT = Path(__file__).parents[2] / "build" / "site"


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

    def log_message(self, *_):
        pass


@contextmanager
def served(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def serve():
    """`with serve(folder) as address`: a server of the files in a folder."""
    return served


@pytest.fixture(scope="session")
def site(serve):
    """The address of the site."""
    with serve(BUILT) as address:
        yield address


@pytest.fixture(scope="session")
def chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium):
    """The browser, which must have found no fault with the pages when the test ends: no error, and no file that is missing."""
    chromium.get_log("browser")
    yield chromium
    assert [entry["message"] for entry in chromium.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


@pytest.fixture
def look(browser):
    """`look(width, scheme)`: how the browser shows pages from now on. The scheme is "light" or "dark"."""

    def change(width, scheme="light"):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "no-preference"},
        ]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    return change


@pytest.fixture
def tab_to(browser):
    """`tab_to(selector)`: press Tab until the element that the selector names has the focus, and return it."""

    def press(selector):
        for _ in range(100):
            browser.switch_to.active_element.send_keys(Keys.TAB)
            if browser.execute_script("return document.activeElement.matches(arguments[0])", selector):
                return browser.switch_to.active_element
        raise AssertionError(f"Tab does not reach {selector}")

    return press


@pytest.fixture
def wait_for(browser):
    """`wait_for(condition)`: wait until an expression of JavaScript is true."""

    def wait(condition):
        browser.execute_async_script(
            f"const id = setInterval(() => {{ if ({condition}) {{ clearInterval(id); arguments[0](); }} }}, 20)"
        )

    return wait


@pytest.fixture
def faults(browser, tmp_path):
    """`faults()`: what axe-core finds on the page against the rules of WCAG 2.2, levels A and AA."""
    copy_from_npm("axe-core", ["axe.min.js"], tmp_path)

    def found():
        browser.execute_script((tmp_path / "axe.min.js").read_text())
        return browser.execute_async_script(AXE)

    return found


AXE = """
const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
axe.run({ runOnly: rules, resultTypes: ["violations"] }).then(({ violations }) =>
  arguments[0](violations.flatMap(({ nodes }) => nodes.map((node) => `${node.html} ${node.failureSummary}`))),
);
"""
