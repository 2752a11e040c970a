"""The contestants that are installed agree with float64, on tiny shapes, and the report is written."""

import json
from pathlib import Path
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest
from rich.console import Console

from benchmarks import layers, limits, models, ordinary, recurrent, scans, suite, times, training_steps
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


@pytest.mark.parametrize("mixer", ["softmax-attention", "gru"])
def test_models_train(mixer):
    training = models.training(mixer, models.Shape(2, 4, 32, 1), by_compiler=False)
    told = []
    figures = training_steps.compare(training, peak=1e9, seconds=0, advance=told.append)["contestants"]
    assert told == list(figures) == list(training.contestants)
    assert all(figure["ms"] > 0 and figure["share_of_peak"] > 0 for figure in figures.values())
    assert figures["twofold"]["ratio"] == 1
    assert (
        figures["twofold"]["memory_bytes"] > 3 * 4 * figures["twofold"]["parameters"]
    )  # Adam keeps two averages of each.


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
        lambda model, key: jnp.sum(jax.vmap(model)(jnp.ones((3, 2))) ** 2), model, optimiser, steps=2
    )
    others = {
        "larger": lambda: training_steps.Trainer(lambda: [2.0, 1.0], parameters=7),
        "stuck": lambda: training_steps.Trainer(lambda: [1.0, 1.0], parameters=6),
    }
    training = training_steps.Training("loops", "loop", loop, others)
    figures = suite.measure([case], [training], ["growing"], [8], tmp_path, Console(quiet=True), seconds=0)
    written = json.loads((tmp_path / "bench.json").read_text())
    assert written.pop("provenance")
    assert written == json.loads(json.dumps(figures))
    told = written["cases"][0]["contestants"]
    assert "ms" not in told["wrong"]["forward"]
    assert told["wrong"]["forward"]["left_out"].startswith("differs by")
    assert told["large"] == {"forward": {"left_out": "does not fit"}, "gradient": {"left_out": "does not fit"}}
    assert "| large | does not fit |" in (tmp_path / "bench.md").read_text()
    assert written["times"]["growing"]["large"] == {"tokens": [], "ms": [], "stopped": "does not fit"}
    (loop,) = written["training"]
    assert loop["flops_of_products"] == 2 * (2 * 3 * 2 * 2)  # forward, and the gradient of the weights
    assert [loop["contestants"][name]["ms"] > 0 for name in ("twofold", "twofold, XLA")] == [True, True]
    assert loop["contestants"]["larger"]["left_out"] == "has +17% parameters"
    assert loop["contestants"]["stuck"]["left_out"] == "loss does not fall"
    (axes,) = pictures["times.png"].axes
    assert (axes.get_title(), axes.get_xlabel()) == ("growing", "tokens")
    assert lines_of(axes) == {name: (line["tokens"], line["ms"]) for name, line in written["times"]["growing"].items()}


def test_losses_of_equal_weights_are_compared():
    assert not training_steps.differs([1, 1.0005], [1, 1])
    assert training_steps.differs([1, 1.01], [1, 1]) == "losses differ by 1e-02"


def test_an_ordinary_process_is_measured_beside(monkeypatch, tmp_path):
    """Its times get columns of their own."""
    loop = training_steps.Loop(lambda model, key: model**2, jnp.ones(()), optax.sgd(0.1), steps=2)
    training = training_steps.Training("loops", "loop", loop, {})
    monkeypatch.setattr(limits, "LARGE", 2**20)
    monkeypatch.setattr(limits, "SQUARE", 64)
    case = scans.linear_case((2, 8, 4), jnp.float32, constant=True, compiled=False)
    case = case._replace(contestants=case.contestants[:2])

    def measure(out, apart=None):
        return suite.measure([case], [training], [], [], Path(out), Console(quiet=True), apart, seconds=0)

    def process(command, **options):
        assert command[1:5] == ["-m", "benchmarks", "--ordinary", "--quick"]
        measure(command[-1])

    monkeypatch.setattr(ordinary, "subprocess", SimpleNamespace(run=process, DEVNULL=None))
    apart = ordinary.in_an_ordinary_process(["--quick"])
    figures = measure(tmp_path, apart)
    steps = figures["training"][0]["contestants"]["twofold"]
    assert steps["ordinary"]["ms"] == apart["training"][0]["contestants"]["twofold"]["ms"] > 0
    scan = figures["cases"][0]["contestants"]["twofold, XLA"]["gradient"]
    assert scan["ordinary"]["ratio"] == apart["cases"][0]["contestants"]["twofold, XLA"]["gradient"]["ratio"]
    assert (tmp_path / "bench.md").read_text().count("| ms | ratio | ordinary, ms | ordinary, ratio |") == 1
    assert "| with gradient, ms | ratio | ordinary, ms | ordinary, ratio |" in (tmp_path / "bench.md").read_text()
