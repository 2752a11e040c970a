"""Classification: a run is trained, saved, evaluated again and streamed, all with the same answers."""

import dataclasses

import jax
import numpy as np
import pytest

from twofold import InputError, Stream, load
from twofold.tasks.classification import Classification, evaluate, evaluate_run, last_outputs, train
from twofold.tasks.uea import load_labelled

SMALL = Classification(dataset="BasicMotions", width=16, depth=1, steps=150, heads=2, learning_rate=5e-3)


predict = jax.jit(last_outputs)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "small"
    return folder, *train(SMALL, folder, progress=False)


def test_a_small_model_learns(run):
    _, _, _, metrics, seconds = run
    assert metrics.train_accuracy > 0.9
    assert metrics.test_accuracy > 0.7
    assert seconds > 0


def test_the_saved_model_has_the_same_metrics(run):
    folder, _, data, metrics, _ = run
    assert evaluate_run(folder) == metrics == evaluate(load(folder), data)


def test_streaming_a_test_sequence_gives_the_parallel_prediction(run, assert_close):
    folder, _, data, _, _ = run
    stream = Stream(load(folder))
    tokens, lengths, _ = (x[:10] for x in data.test)
    logits = np.asarray(predict(load(folder), tokens, lengths))
    for xs, length, expected in zip(tokens, lengths, logits, strict=True):
        stream.reset()
        streamed = [stream.push(x) for x in xs[:length]][-1]
        assert_close(streamed, expected, rtol=1e-6)


def test_a_finished_run_is_not_trained_again(run):
    folder, _, _, metrics, seconds = run
    _, _, again, seconds_again = train(SMALL, folder, progress=False)
    assert (again, seconds_again) == (metrics, seconds)


def test_a_folder_of_other_settings_is_not_overwritten(run):
    with pytest.raises(InputError, match="depth = 1 rather than 2"):
        train(dataclasses.replace(SMALL, depth=2), run[0], progress=False)


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
        ({"mixer": "mamba"}, "unknown mixer 'mamba'; the mixers are aaren, gated-rnn"),
        ({"dataset": "Nothing"}, "unknown dataset 'Nothing'"),
        ({"heads": 3}, "does not split into num_heads = 3"),
        ({"steps": 0}, "steps is 0"),
        ({"batch": -1}, "batch is -1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
    ],
)
def test_bad_settings_leave_no_folder(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(SMALL, **change), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.long
@pytest.mark.parametrize("mixer", ["aaren", "softmax-attention"])
def test_japanese_vowels_reaches_its_accuracy(tmp_path, mixer):
    assert train(Classification(mixer=mixer), tmp_path / "run")[2].test_accuracy >= 0.96
