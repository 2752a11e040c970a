"""The two models on the page of the stream give the answers of Python, with the memory that they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from docs.live.assets import FEATURES, stream_models

pytestmark = pytest.mark.site

READ = """
const number = (cell) => +cell.textContent.replace(/,/g, "");
return [...document.querySelectorAll("#controls tbody tr")].map((row) => [...row.querySelectorAll("td")].map(number));
"""
TOKENS = """
const [count, features, done] = arguments;
import("/live/construction.js").then(({ normalNumbers }) => {
  const normal = normalNumbers(1);
  done(Array.from({ length: count }, () => Array.from({ length: features }, normal)));
});
"""


def test_the_models_on_the_page_answer_as_in_python(site, browser, look, tab_to, wait_for):
    look(375)
    browser.get(site + "live/stream/")
    wait_for("!document.querySelector('#controls button').disabled")
    button = tab_to("#controls button")
    button.send_keys(Keys.ENTER)
    # Far enough that the cache for 64 tokens is copied into that for 256.
    wait_for("+document.querySelector('#controls td').textContent > 80")
    button.send_keys(Keys.ENTER)
    wait_for("document.querySelector('#controls button').textContent === 'Run'")
    (tokens, same), (aaren_bytes, reserved), (_, used), times, outputs = browser.execute_script(READ)
    assert tokens == same
    assert all(time > 0 for time in times)

    models = stream_models()
    xs = jnp.asarray(browser.execute_async_script(TOKENS, int(tokens), FEATURES), "float32")
    largest = models["transformer-4096"]
    np.testing.assert_allclose(outputs, [models["aaren"](xs)[-1, 0], largest(xs)[-1, 0]], atol=1e-4)

    def size(model):
        return sum(leaf.nbytes for leaf in jax.tree.leaves(model.init_state()))

    capacity = min(n for n in (256, 1024, 4096) if n >= tokens)
    assert (aaren_bytes, reserved) == (size(models["aaren"]), size(models[f"transformer-{capacity}"]))
    counters = 2 * 2 * 4  # the position and the length of both layers
    assert used == round((reserved - counters) * tokens / capacity) + counters
