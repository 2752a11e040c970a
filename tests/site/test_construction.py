"""The page of the construction computes what twofold computes."""

import jax.numpy as jnp
import numpy as np
import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from twofold.convert import to_gated_rnn
from twofold.forms import GatedRNNWeights, attention_weights, gated_rnn_weights
from twofold.layers import LinearSelfAttention

pytestmark = pytest.mark.site

CASES = [
    (d, *ranks, form)
    for d in (1, 2, 3, 4)
    for ranks in sorted({(1, 1), (1, d), (d, 1), (max(d - 1, 1), d), (max(d - 1, 1), max(d - 1, 1)), (d, d)})
    for form in ("paper", "compact", "minimal")
]
"""The size, the ranks of W_V and of W_K^T W_Q, and the form."""
CONSTRUCT = """
const [cases, xs, done] = arguments;
import("/live/construction.js").then((live) => done(cases.map(([d, rankV, rankB, form], seed) => {
  const tokens = xs.map((x) => x.slice(0, d));
  const attention = live.randomAttention(d, rankV, rankB, seed), rnn = live.toGatedRnn(attention, form);
  const ofRnn = live.gatedRnnOutputs(rnn, tokens).map(({y}) => y);
  return [attention, Object.values(rnn), live.attentionOutputs(attention, tokens), ofRnn];
})), (error) => done(String(error)));
"""


READ = """
const all = (place, selector) => [...place.querySelectorAll(selector)];
const tokens = all(document, ".live-tokens").map((row) => all(row, "[role=slider]").map((slider) => +slider.ariaValueNow));
return [tokens, all(document, "#outputs tbody tr").map((row) => all(row, "td").map((cell) => +cell.textContent))];
"""


def layer(attention):
    return LinearSelfAttention.from_weights(*(jnp.asarray(attention[name], "float32") for name in "vkq"))


def test_the_construction_equals_that_of_python(site, browser, normal):
    browser.get(site + "live/construction/")
    xs = normal("tokens", 12, 4)
    results = browser.execute_async_script(CONSTRUCT, CASES, xs.tolist())
    for (d, rank_v, rank_b, form), (attention, weights, of_attention, of_rnn) in zip(CASES, results, strict=True):
        ours = layer(attention)
        assert [
            np.linalg.matrix_rank(ours.w_v[0], 1e-5),
            np.linalg.matrix_rank(attention_weights(ours).b[0], 1e-5),
        ] == [
            rank_v,
            rank_b,
        ]
        expected, found = gated_rnn_weights(to_gated_rnn(ours, form)), GatedRNNWeights(*map(np.array, weights))
        assert [w.shape for w in found] == [w.shape for w in expected]
        if form != "minimal":  # Its bases are any of the space.
            for w, v in zip(found, expected, strict=True):
                np.testing.assert_allclose(w, v, atol=1e-6)
        truth = attention_weights(ours).outputs(xs[None, :, :d])[0]
        for outputs in (of_attention, of_rnn, expected.outputs(xs[None, :, :d])[0]):
            np.testing.assert_allclose(outputs, truth, atol=1e-4 * max(1, np.abs(truth).max()))


def test_a_visitor_with_a_keyboard_gets_the_numbers_of_python(site, browser, look, tab_to):
    look(1280)
    browser.get(site + "live/construction/")
    for name, value in {"d": "3", "rankB": "2", "form": "minimal"}.items():
        Select(tab_to(f"select[name={name}]")).select_by_visible_text(value)
    tab_to("#controls button")
    tab_to("[name=neuron]").send_keys(Keys.ARROW_DOWN)
    assert browser.execute_script("return document.querySelector('[name=neuron]:checked').value") == "1"
    slider = tab_to("[role=slider][aria-label='token 1, feature 1']")
    before = float(slider.get_attribute("aria-valuenow"))
    slider.send_keys(Keys.ARROW_UP, Keys.ARROW_UP, Keys.ARROW_RIGHT)
    assert float(slider.get_attribute("aria-valuenow")) == pytest.approx(before + 0.2)
    browser.switch_to.active_element.send_keys(Keys.PAGE_DOWN)

    tokens, shown = map(np.array, browser.execute_script(READ))
    attention = layer(
        browser.execute_async_script(
            "import('/live/construction.js').then((live) => arguments[0](live.randomAttention(3, 3, 2, 1)))"
        )
    )
    xs = jnp.asarray(tokens, "float32").T
    np.testing.assert_allclose(shown[:, :3], attention(xs), atol=1e-4)
    np.testing.assert_allclose(shown[:, 3:], to_gated_rnn(attention, "minimal")(xs), atol=1e-4)


def test_a_token_can_be_dragged(site, browser, look):
    look(375)
    browser.get(site + "live/construction/")
    slider = browser.find_element(By.CSS_SELECTOR, "[aria-label='token 3, feature 2']")
    before = browser.find_element(By.CSS_SELECTOR, "#outputs p").text
    start = float(slider.get_attribute("aria-valuenow"))
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    ActionChains(browser).click_and_hold(slider).move_by_offset(0, -30).release().perform()
    assert float(slider.get_attribute("aria-valuenow")) > start + 0.5
    assert browser.find_element(By.CSS_SELECTOR, "#outputs p").text != before
