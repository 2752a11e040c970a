"""The page of edge/browser gives the answers of Python, in headless Chromium."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from docs.live.assets import RUNTIME
from docs.live.npm import copy_from_npm
from twofold.deploy import OnnxStream, export_onnx
from twofold.models import SequenceModel

pytestmark = pytest.mark.site

PAGE = Path(__file__).parents[2] / "edge" / "browser"


@pytest.fixture
def page(serve, tmp_path):
    """A served folder with the page and the runtime: its path and its address."""
    folder = shutil.copytree(PAGE, tmp_path / "page")
    copy_from_npm("onnxruntime-web", RUNTIME, folder / "ort")
    with serve(folder) as address:
        yield folder, address + "index.html"


PUSH = """
const [tokens, done] = arguments;
(async () => {
  while (!window.stream) {
    const told = document.getElementById("status").textContent;
    if (told.startsWith("Error")) throw new Error(told);
    await new Promise((next) => setTimeout(next, 20));
  }
  const answers = [];
  for (const token of tokens) answers.push(Array.from(await stream.push(token)));
  return answers;
})().then(done, (error) => done(error.message));
"""


@pytest.mark.parametrize("prefill", [False, True], ids=["step", "prefill"])
@pytest.mark.parametrize("mixer", ["aaren", "softmax-attention", "lru"])
def test_the_page_answers_as_python(mixer, prefill, page, browser, normal):
    folder, address = page
    model = SequenceModel(
        3, 2, width=8, depth=1, mixer=mixer, predicts="sequence", dtype="float32", key=jax.random.key(0)
    )
    export_onnx(model, folder / "model.onnx", prefill=prefill)
    xs = normal("xs", 50, 3, dtype="float32")
    browser.get(f"{address}?model=model.onnx")
    answers = browser.execute_async_script(PUSH, xs.tolist())
    assert not isinstance(answers, str), answers
    np.testing.assert_allclose(answers, OnnxStream(folder / "model.onnx").push_many(xs), atol=1e-5)
    refused = browser.execute_async_script(PUSH, [[1.0, 2.0]])
    assert refused == "the token is 1,2; this model takes tokens of 3"


def test_the_page_reads_marks_and_is_used_by_hand(page, browser, wait_for):
    folder, address = page
    model = SequenceModel(4, 2, width=8, depth=1, reads="marks", dtype="float32", key=jax.random.key(0))
    export_onnx(model, folder / "model.onnx")
    browser.get(address)
    browser.find_element("id", "file").send_keys(str(folder / "model.onnx"))
    browser.execute_async_script(PUSH, [])
    browser.find_element("id", "tokens").send_keys("0\n3\n1")
    browser.find_element("id", "push").click()
    expected = OnnxStream(folder / "model.onnx").push_many([0, 3, 1])
    wait_for("document.getElementById('answers').value.split('\\n').length === 4")
    shown = browser.find_element("id", "answers").get_property("value").split("\n")
    np.testing.assert_allclose([list(map(float, line.split(", "))) for line in shown[:3]], expected, atol=1e-5)
