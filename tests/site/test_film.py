"""The film of a training shows a run of twofold, step by step."""

import json

import jax
import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from docs.live.record_training import FILE, beginning
from twofold.discover import decompile, finetune
from twofold.forms import GatedRNNWeights, gated_rnn_weights
from twofold.layers import GatedRNN

pytestmark = pytest.mark.site

FILM = json.loads(FILE.read_text())


def test_the_film_is_of_a_run_that_python_repeats():
    with jax.enable_x64(True):
        student, teacher = beginning()
        run = finetune(student, teacher, steps=3)
        np.testing.assert_allclose(run.losses, FILM["losses"][:4], rtol=2e-3)
        for name, w in gated_rnn_weights(run.network)._asdict().items():
            np.testing.assert_allclose(w, FILM["networks"][3][name], rtol=1e-2, atol=1e-3)
        assert decompile(run.network).residual == pytest.approx(FILM["residuals"][3], rel=1e-2)


def test_the_film_ends_in_attention():
    assert FILM["losses"][-1] < 1e-20
    assert FILM["residuals"][-1] < 1e-10
    pruned = GatedRNN.from_weights(*(np.array(FILM["pruned"][name]) for name in GatedRNNWeights._fields))
    assert pruned.lam.tolist() == [1, 1, 1, 0, 0]
    assert decompile(pruned).residual < 1e-5, "even with three digits, the pruned network is attention"


def test_the_film_is_moved_with_the_keyboard(site, browser, look, tab_to, wait_for):
    look(375)
    browser.get(site + "live/training/")
    told = browser.find_element("css selector", "#controls p")
    button = tab_to("#controls button")
    slider = tab_to("#controls input")
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    loss, residual = (
        f"{FILM[name][2]:.1e}".replace("e-0", "e-").replace("e+00", "e+0") for name in ("losses", "residuals")
    )
    assert told.text.startswith(
        f"Step 2 of {len(FILM['losses']) - 1}: the loss is {loss} and the residual is {residual}."
    )
    slider.send_keys(Keys.END)
    lam = np.array(FILM["networks"][-1]["lam"])
    assert np.all(np.isclose(lam, 0, atol=1e-3) | np.isclose(lam, 1, atol=1e-3))
    assert f"Of 10 neurons, {np.sum(lam > 0.5)} are memories and {np.sum(lam < 0.5)} are queries." in told.text
    slider.send_keys(Keys.HOME)
    button.send_keys(Keys.ENTER)
    assert button.text == "Pause"
    wait_for("document.querySelector('#controls input').value === '3'")
    button.send_keys(Keys.ENTER)
    assert button.text == "Play"
    assert told.text.startswith(("Step 3", "Step 4"))
