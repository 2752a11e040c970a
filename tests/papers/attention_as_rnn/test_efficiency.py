"""The cost of a growing stream is measured, kept, written and drawn; parameters add up to the published numbers."""

import json

import equinox as eqx
import jax
import numpy as np
import pytest
from rich.console import Console

from twofold import InputError
from twofold.layers import MIXERS
from twofold.papers.attention_as_rnn import efficiency, stream_cost
from twofold.papers.attention_as_rnn.efficiency import NAMES, PUBLISHED, built_as_published, not_in_ours, sampled
from twofold.papers.attention_as_rnn.stream_cost import TRANSFORMER, Cost, Job

SMALL = {"tokens": 300, "width": 8, "heads": 2}


@pytest.fixture
def processes(monkeypatch):
    """The jobs that were measured, here in the process of the tests."""
    jobs = []

    def run(job):
        jobs.append(job)
        return stream_cost.measure(job)

    monkeypatch.setattr(efficiency, "_run", run)
    monkeypatch.setattr(stream_cost, "TIMED", 3)
    return jobs


def test_efficiency_is_measured_written_drawn_and_printed(tmp_path, capsys, monkeypatch, processes, pictures, lines_of):
    monkeypatch.setattr(efficiency, "NAMES", {name: NAMES[name] for name in ("aaren", TRANSFORMER)})
    figures = efficiency.reproduce(**SMALL, out=tmp_path / "run", progress=False)
    assert [(job.mixer, job.tokens) for job in processes[:3]] == [
        ("aaren", (100, 300)),
        (TRANSFORMER, (100,)),
        (TRANSFORMER, (300,)),
    ]
    written = json.loads((tmp_path / "run" / "efficiency.json").read_text())
    assert written["streams"] == figures["streams"]
    drawn = dict(zip(("state_bytes", "peak_bytes", "cumulative_seconds"), pictures["efficiency.png"].axes, strict=True))
    for name, stream in figures["streams"].items():
        assert stream["tokens"] == [100, 300]
        for key, unit in (("state_bytes", 2**10), ("peak_bytes", 2**20), ("cumulative_seconds", 1)):
            assert lines_of(drawn[key])[name] == ([100, 300], np.divide(stream[key], unit).tolist())
        assert stream["integrated"] == (name == "Transformer")
        assert 0 < stream["cumulative_seconds"][0] < stream["cumulative_seconds"][1]
        first, last = stream["state_bytes"]
        assert last - first == (200 * 2 * 8 * 8 if name == "Transformer" else 0)  # keys and values, here in float64
        assert first < 2**14
        assert min(stream["model_bytes"] + stream["program_bytes"] + stream["peak_bytes"]) > 2**20
    console = Console(width=160)
    console.print(efficiency.table(figures), efficiency.parameter_table(figures))
    printed = capsys.readouterr().out
    assert "3,152,896" in printed
    assert f"{figures['streams']['Aaren']['cumulative_seconds'][1]:.2f} s" in printed


def test_a_run_that_was_stopped_is_continued(tmp_path, monkeypatch, caplog):
    measured = []

    def run(job):
        if job.mixer == stopped_at:
            raise KeyboardInterrupt
        measured.append(job.mixer)
        return [Cost(n, 1, 1, 1, 1, 1, 1, seconds=float(n + len(measured))) for n in job.tokens]

    monkeypatch.setattr(efficiency, "_run", run)
    stopped_at = "lru"
    with pytest.raises(KeyboardInterrupt):
        efficiency.reproduce(**SMALL, out=tmp_path, progress=False)
    measured.clear()
    rest = ["lru", "lstm", "gru", "min-gru", "min-lstm", "aaren-decay", *["softmax-attention-rotary"] * 2]
    stopped_at = None
    first = efficiency.reproduce(**SMALL, out=tmp_path, progress=False)["streams"]
    assert measured == rest
    assert efficiency.reproduce(**SMALL, out=tmp_path, progress=False)["streams"] == first
    assert measured == rest
    with pytest.raises(InputError, match="another run, of width = 8 rather than 16"):
        efficiency.reproduce(**SMALL | {"width": 16}, out=tmp_path, progress=False)
    damaged = tmp_path / "aaren-300.json"
    damaged.write_bytes(damaged.read_bytes()[:50])
    assert efficiency.reproduce(**SMALL, out=tmp_path, progress=False)["streams"].keys() == first.keys()
    assert measured == [*rest, "aaren"]
    assert f"{damaged} is damaged" in caplog.text


@pytest.mark.parametrize("width", [16, 512])
def test_parameters_add_up_to_the_published_ones(width):
    published = built_as_published(width, 8)
    for mixer in (TRANSFORMER, "aaren"):
        ours = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter_eval_shape(Job(mixer, width, 8, (1,)).block)))
        assert ours == published[NAMES[mixer]] - sum(not_in_ours(width)[NAMES[mixer]].values())
    assert published == {
        "Transformer": 12 * width**2 + 13 * width,
        "Aaren": 12 * width**2 + 14 * width,
    }
    if width == 512:
        assert published == PUBLISHED


def test_a_process_of_its_own_has_memory_of_its_own():
    """Also where this process once took more, and the KV cache is in it."""
    ballast = np.ones(2**26)
    length = 2**16
    (cost,) = efficiency._run(Job(TRANSFORMER, 64, 2, (length,)))
    assert cost.tokens == length
    assert cost.state_bytes == pytest.approx(length * 2 * 64 * 4, rel=1e-6)
    assert cost.model_bytes < cost.program_bytes < ballast.nbytes
    assert 0.9 * cost.state_bytes < cost.peak_bytes - cost.program_bytes < 2 * cost.state_bytes
    assert cost.seconds > 0


def test_a_process_that_fails_is_told_of(capfd):
    with pytest.raises(InputError, match=r"softmax-attention could not be measured at 0 tokens \(exit code 1\)"):
        list(efficiency._run(Job(TRANSFORMER, 8, 2, (0,))))
    assert "capacity is 0; it must be at least 1" in capfd.readouterr().err


def test_the_transformers_cache_is_neither_copied_nor_transposed():
    """Or else it would be measured with twice the memory, and ten times the time, that it needs."""
    block = Job(TRANSFORMER, 16, 2, (1000,)).block()
    state = jax.eval_shape(block.init_state)
    step = jax.jit(lambda state, x: block.step(state, x), donate_argnums=0).lower(state, np.zeros(16)).compile()
    assert step.memory_analysis().temp_size_in_bytes < state.keys.size * state.keys.dtype.itemsize / 2


def test_time_of_the_transformer_is_the_integral_of_its_tokens():
    costs = [Cost(n, 1, 1, 1, 1, 1, 1, seconds=2.0 * n) for n in (100, 300, 1000)]
    stream = efficiency._stream(TRANSFORMER, costs)
    np.testing.assert_allclose(np.diff(stream["cumulative_seconds"]), np.diff(np.square([100.0, 300, 1000])))
    assert stream["seconds_per_token"] == [200, 600, 2000]
    stream = efficiency._stream("aaren", costs)
    assert stream["cumulative_seconds"] == [200, 600, 2000]
    np.testing.assert_allclose(stream["seconds_per_token"], 2)


def test_every_mixer_is_measured():
    assert NAMES.keys() == MIXERS.keys()
    assert sampled(100_000) == (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
    assert sampled(2_000) == (100, 300, 1_000, 2_000)
    assert sampled(100) == (100,)
    assert sampled(7) == (7,)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"tokens": 0}, "tokens is 0; it must be at least 1"),
        ({"heads": -1}, "heads is -1"),
        ({"width": 10, "heads": 4}, "width is 10, which does not split into heads = 4"),
    ],
)
def test_sizes_are_checked(tmp_path, sizes, message):
    with pytest.raises(InputError, match=message):
        efficiency.reproduce(**SMALL | sizes, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
