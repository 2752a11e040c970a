"""The page of edge/browser gives the answers of Python, in headless Chromium."""

import functools
import http.server
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from twofold.deploy import OnnxStream, export_onnx
from twofold.models import SequenceModel

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "onnxruntime-web"
NEEDED = "ort.wasm.min.js", "ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.mjs"


def needed(program):
    """The path of a program. Without it, the test is skipped, and a warning at the end of the run says so."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"THE PAGE WAS NOT TESTED: {program} is missing")
    return found


@pytest.fixture(scope="module")
def runtime():
    """The folder with the files of onnxruntime-web, from npm."""
    if not all((CACHE / name).exists() for name in NEEDED):
        CACHE.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            [needed("npm"), "pack", "--silent", "onnxruntime-web"],
            cwd=CACHE,
            capture_output=True,
            text=True,
            check=False,
        )
        if packed.returncode:
            pytest.skip(f"THE PAGE WAS NOT TESTED: npm cannot fetch onnxruntime-web: {packed.stderr[-200:]}")
        archive = CACHE / packed.stdout.split()[-1]
        with tarfile.open(archive) as opened:
            for name in NEEDED:
                (CACHE / name).write_bytes(opened.extractfile(f"package/dist/{name}").read())
        archive.unlink()
    return CACHE


@pytest.fixture
def site(runtime, tmp_path):
    """A served folder with the page and the runtime: its path and its address."""
    shutil.copy(ROOT / "edge" / "browser" / "index.html", tmp_path)
    (tmp_path / "ort").symlink_to(runtime)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="THE PAGE WAS NOT TESTED: selenium is missing")
    options = webdriver.ChromeOptions()
    options.binary_location = needed("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(needed("chromedriver")))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


PUSH = """
const [tokens, done] = arguments;
(async () => {
  while (!stream) {
    const told = document.getElementById("status").textContent;
    if (told.startsWith("Error")) throw new Error(told);
    await new Promise((next) => setTimeout(next, 20));
  }
  const answers = [];
  for (const token of tokens) answers.push(Array.from(await stream.push(token)));
  return answers;
})().then(done, (error) => done(error.message));
"""


@pytest.mark.parametrize("mixer", ["aaren", "softmax-attention", "lru"])
def test_the_page_answers_as_python(mixer, site, browser, normal):
    folder, address = site
    model = SequenceModel(
        3, 2, width=8, depth=1, mixer=mixer, predicts="sequence", dtype="float32", key=jax.random.key(0)
    )
    export_onnx(model, folder / "model.onnx")
    xs = normal("xs", 50, 3, dtype="float32")
    browser.get(f"{address}?model=model.onnx")
    answers = browser.execute_async_script(PUSH, xs.tolist())
    assert not isinstance(answers, str), answers
    np.testing.assert_allclose(answers, OnnxStream(folder / "model.onnx").push_many(xs), atol=1e-5)
    refused = browser.execute_async_script(PUSH, [[1.0, 2.0]])
    assert refused == "the token is 1,2; this model takes tokens of 3"


def test_the_page_reads_marks_and_is_used_by_hand(site, browser):
    folder, address = site
    model = SequenceModel(4, 2, width=8, depth=1, reads="marks", dtype="float32", key=jax.random.key(0))
    export_onnx(model, folder / "model.onnx")
    browser.get(address)
    browser.find_element("id", "file").send_keys(str(folder / "model.onnx"))
    browser.execute_async_script(PUSH, [])
    browser.find_element("id", "tokens").send_keys("0\n3\n1")
    browser.find_element("id", "push").click()
    expected = OnnxStream(folder / "model.onnx").push_many([0, 3, 1])
    for _ in range(100):
        shown = browser.find_element("id", "answers").get_property("value").split("\n")
        if len(shown) == 4:
            break
        threading.Event().wait(0.05)
    np.testing.assert_allclose([list(map(float, line.split(", "))) for line in shown[:3]], expected, atol=1e-5)
