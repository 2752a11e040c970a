"""The contestants that are installed agree with float64, on tiny shapes, and the report is written."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest
from rich.console import Console

from benchmarks import layers, limits, recurrent, scans, suite, times, training_steps
from benchmarks.contestants import Contestant, present, with_jax
from benchmarks.timing import compare, references

SHAPE, CHUNKED = (2, 8, 4), (2, 64, 4)


@pytest.fixture(autouse=True)
def _in_float32():
    if present("torch"):
        from benchmarks.torch_peers import torch

        torch.set_num_threads(1)  # Two wait for each other without sleep, which takes long beside other tests.
    with jax.enable_x64(False):
        yield


CASES = {
    "softmax": lambda: scans.softmax_case((2, 8, 2, 4), compiled=False),
    "linear": lambda: scans.linear_case(SHAPE, jnp.complex64, constant=True, compiled=False),
    "kv": lambda: scans.kv_case((2, 64, 2, 4), compiled=False),
    "attention": lambda: scans.attention_case((2, 64, 2, 4)),
    "aaren": lambda: layers.aaren_case(SHAPE),
    "lru": lambda: layers.lru_case(SHAPE),
    "linear attention": lambda: layers.linear_attention_case(CHUNKED),
    "lstm": lambda: recurrent.lstm_case(SHAPE),
    "gru": lambda: recurrent.gru_case(SHAPE),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_contestants_agree(case):
    case = case()
    others = [contestant for contestant in case.contestants if contestant not in case.references.values()]
    case, task = case._replace(contestants=others), case.task()
    figures = compare(case, task, "gradient", references(case, task), seconds=0)
    assert list(figures) == [contestant.name for contestant in others]
    assert all(figure["error"] <= 1e-5 and figure["ms"] > 0 for figure in figures.values())
    assert figures["twofold"]["ratio"] == 1


def test_what_differs_is_reported_and_not_timed(tmp_path, monkeypatch, pictures, lines_of):
    case = scans.linear_case((2, 8, 4), jnp.float32, constant=True, compiled=False)
    wrong = Contestant("wrong", lambda parameters: 1.01 * parameters["b"], with_jax)
    large = Contestant("large", lambda parameters: parameters["b"], with_jax, keeps=2**40)
    case = case._replace(contestants=[*case.contestants[:1], wrong, large])
    monkeypatch.setattr(limits, "LARGE", 2**20)
    monkeypatch.setattr(limits, "SQUARE", 64)
    monkeypatch.setattr(times, "CURVES", {"growing": lambda time: case})
    model, optimiser = eqx.nn.Linear(2, 2, key=jax.random.key(0)), optax.sgd(0.1)
    loop = training_steps.Loop(
        "loop", lambda model, key: jnp.sum(jax.vmap(model)(jnp.ones((3, 2))) ** 2), model, optimiser
    )
    figures = suite.measure([case], ["growing"], [8], [loop], tmp_path, Console(quiet=True), seconds=0)
    written = json.loads((tmp_path / "bench.json").read_text())
    assert written.pop("provenance")
    assert written == json.loads(json.dumps(figures))
    told = written["cases"][0]["contestants"]
    assert "ms" not in told["wrong"]["forward"]
    assert told["wrong"]["forward"]["left_out"].startswith("differs by")
    assert told["large"] == {"forward": {"left_out": "does not fit"}, "gradient": {"left_out": "does not fit"}}
    assert "| large | does not fit |" in (tmp_path / "bench.md").read_text()
    assert written["times"]["growing"]["large"] == {"tokens": [], "ms": [], "stopped": "does not fit"}
    loop = written["training"]["loop"]
    assert loop["flops_of_products"] == 2 * (2 * 3 * 2 * 2)  # forward, and the gradient of the weights
    assert all(rate > 0 for rate in loop["steps_per_s"].values())
    (axes,) = pictures["times.png"].axes
    assert (axes.get_title(), axes.get_xlabel()) == ("growing", "tokens")
    assert lines_of(axes) == {name: (line["tokens"], line["ms"]) for name, line in written["times"]["growing"].items()}
