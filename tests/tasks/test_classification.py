"""Classification: a run is trained, saved, evaluated again and streamed, all with the same answers."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from twofold import InputError, Stream, load
from twofold.data.uea import load_labelled
from twofold.tasks.classification import Classification, last_outputs
from twofold.tasks.run import evaluate_run, train

SMALL = Classification(
    dataset="BasicMotions", width=8, depth=1, steps=120, batch=8, heads=2, learning_rate=2e-2, measurements=3
)


predict = jax.jit(last_outputs)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "small"
    return folder, train(SMALL, folder, progress=False)


def test_a_small_model_learns(run):
    _, (_, tables, figures, _) = run
    assert tables[0]["train"]["accuracy"] > 0.9
    assert tables[0]["test"]["accuracy"] > 0.7
    assert figures["seconds"] > 0
    assert figures["streaming error"][0] < 1e-5


def test_the_saved_model_has_the_same_metrics(run):
    folder, (models, tables, _, data) = run
    assert evaluate_run(folder) == (SMALL, tables[0])
    assert SMALL.evaluate(models[0], data) == tables[0]


def test_the_run_is_in_its_folder(run):
    folder, (_, tables, figures, _) = run
    assert json.loads((folder / "metrics.json").read_text()) == figures
    assert figures["metrics"] == tables
    assert json.loads((folder / "run.json").read_text())["task"] == "classification"
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == SMALL.measurements
    assert (folder / "curve.png").is_file()


def test_seeds_trained_together_are_each_as_alone(run, tmp_path, assert_close):
    _, (alone, *_) = run
    together = train(SMALL, tmp_path / "two", seeds=[1, 0], progress=False)
    assert_close(together.models[1], alone[0], rtol=1e-6)
    assert_close(load(tmp_path / "two" / "seed-0"), together.models[1])
    task, metrics = evaluate_run(tmp_path / "two" / "seed-1")
    assert (task, metrics) == (dataclasses.replace(SMALL, seed=1), together.tables[0])
    with pytest.raises(InputError, match=r"several seeds were trained there; name the folder of one, as .*seed-1"):
        evaluate_run(tmp_path / "two")
    with pytest.raises(InputError, match="has no seed-2"):
        evaluate_run(tmp_path / "two" / "seed-2")


def test_streaming_a_test_sequence_gives_the_parallel_prediction(run, assert_close):
    folder, (_, _, _, data) = run
    stream = Stream(load(folder))
    tokens, lengths, _ = (x[:10] for x in data.test)
    logits = np.asarray(predict(load(folder), tokens, lengths))
    for xs, length, expected in zip(tokens, lengths, logits, strict=True):
        stream.reset()
        streamed = [stream.push(x) for x in xs[:length]][-1]
        assert_close(streamed, expected, rtol=1e-6)


def test_a_finished_run_is_not_trained_again(run):
    folder, (_, tables, figures, _) = run
    again = train(SMALL, folder, progress=False)
    assert (again.tables, again.figures["seconds"]) == (tables, figures["seconds"])


def test_a_folder_of_other_settings_is_not_overwritten(run):
    with pytest.raises(InputError, match="depth = 1 rather than 2"):
        train(dataclasses.replace(SMALL, depth=2), run[0], progress=False)


def test_every_class_is_held_out_and_the_test_part_is_not_among_the_arrays():
    data = load_labelled("JapaneseVowels")
    arrays = Classification().arrays(data)
    assert arrays.keys() == {"train", "validation"}
    parts = [arrays[name].targets for name in ("train", "validation")]
    assert np.bincount(np.concatenate(parts)).tolist() == [30] * 9
    assert np.bincount(parts[1]).tolist() == [6] * 9


@pytest.mark.parametrize("mixer", ["aaren", "softmax-attention", "gated-rnn"])
def test_padding_does_not_matter(mixer, assert_close):
    data = load_labelled("JapaneseVowels")
    settings = dataclasses.replace(SMALL, mixer=mixer)
    model = settings.model(data, jax.random.key(0))
    tokens, lengths, _ = (x[:3] for x in data.test)
    padding = np.arange(tokens.shape[1])[:, None] >= lengths[:, None, None]
    poisoned = predict(model, np.where(padding, 1e6, tokens), lengths)
    assert_close(poisoned, predict(model, tokens, lengths), rtol=1e-10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixer": "mamba"}, "unknown mixer 'mamba'; the mixers are aaren, aaren-decay, gated-rnn"),
        ({"dataset": "Nothing"}, "unknown dataset 'Nothing'"),
        ({"heads": 3}, "does not split into num_heads = 3"),
        ({"steps": 0}, "steps is 0"),
        ({"batch": -1}, "batch is -1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"patience": 0}, "patience is 0"),
        ({"noise": -1.0}, "noise is -1"),
        ({"held_out": 1.0}, "held_out is 1"),
        ({"held_out": 0.01}, "leaves 40 to train and 0 to validate"),
    ],
)
def test_bad_settings_leave_no_folder(tmp_path, change, message, unchecked):
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(SMALL, **change), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.long
@pytest.mark.parametrize("mixer", ["aaren", "softmax-attention"])
def test_japanese_vowels_reaches_its_accuracy(tmp_path, mixer):
    assert train(Classification(mixer=mixer), tmp_path / "run").tables[0]["test"]["accuracy"] >= 0.96
