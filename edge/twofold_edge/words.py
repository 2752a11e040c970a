"""The answers of a model in words, as `twofold stream` gives them."""

from typing import Any

import numpy as np


def answer(y: np.ndarray, words: dict[str, Any]) -> dict[str, Any]:
    """What an output, `(out_size,)`, says, by the words that the file of the model has.

    A class and the probabilities of all classes; the next values of each target; the expected time to the next event, its
    most probable mark and the probabilities of all marks; or an action.
    """
    return ANSWERS[words["task"]](np.asarray(y, float), words)


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def _class(y, words):
    classes = words["classes"]
    return {"class": classes[int(y.argmax())], "probabilities": dict(zip(classes, _softmax(y).tolist(), strict=True))}


def _forecast(y, words):
    values = y.reshape(words["horizon"], len(words["targets"])).T.tolist()
    return {"forecast": dict(zip(words["targets"], values, strict=True))}


def _event(y, words):
    marks = words["marks"]
    components = (len(y) - len(marks)) // 3
    logits, means, log_deviations, of_marks = np.split(y, [components * i for i in (1, 2, 3)])
    gap = np.sum(_softmax(logits) * np.exp(means + np.exp(2 * log_deviations) / 2))
    probabilities = dict(zip(marks, _softmax(of_marks).tolist(), strict=True))
    return {"gap": float(gap), "mark": marks[int(of_marks.argmax())], "probabilities": probabilities}


ANSWERS = {
    "classification": _class,
    "forecasting": _forecast,
    "events": _event,
    "control": lambda y, words: {"action": y.tolist()},
}
"""How the outputs of each task are read."""
