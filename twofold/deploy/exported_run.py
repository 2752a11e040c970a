"""The model of a run as an ONNX file, with what the run knows, and the check that both give the same answers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import ArrayLike, Float

from ..errors import InputError
from ..layers import Layer
from ..saving import load
from ..tasks.run import load_run, settings_of
from ..tasks.words import Words

ALLOWED = 1e-4
"""The largest difference between the answers of ONNX Runtime and of JAX, as a part of the largest answer."""


def export_run(folder: Path | str, file: Path | str, *, prefill: bool = False) -> None:
    """Write the model of the run in `folder` with `export_onnx`. The metadata have the settings of the run, and its words.

    **Raises:** as `export_onnx`; `InputError` for a folder that is not the folder of a finished run, or has several seeds.
    """
    from . import export_onnx  # the libraries for it may be missing

    try:
        settings = settings_of(folder)
    except OSError as error:
        raise InputError(f"{folder} is not the folder of a run: {error}") from error
    words = Words.read(folder).as_json()
    export_onnx(load(folder), file, prefill=prefill, about={"settings": settings, "words": words})


def verify(folder: Path | str, file: Path | str, tokens: int) -> tuple[int, float]:
    """Run tokens of the test part of a run through its model and through its ONNX file. Return how many, and the `difference`.

    If the test part has fewer tokens, they are repeated. A graph of sequences gets at least one more token than its blocks
    have, so that all parts of it run.

    **Raises:** `InputError` for a folder that is not the folder of a finished run, or has several seeds.
    """
    from . import OnnxStream
    from .blocks import BLOCK

    if OnnxStream(file).about["form"] == "prefill":
        tokens = max(tokens, BLOCK + 1)
    task, model, data = load_run(folder)
    example = np.asarray(task.example(data))
    return tokens, difference(model, file, np.resize(example, (tokens, *example.shape[1:])))


def difference(model: Layer, file: Path | str, tokens: Float[ArrayLike, "time in"]) -> float:
    """The largest difference between the answers of `model` and of its ONNX file to these tokens, one after another.

    It is given as a part of the largest answer.
    """
    from . import OnnxStream

    actual = OnnxStream(file).push_many(tokens)
    run = jax.jit(lambda xs: lax.scan(lambda state, x: model.step(state, x), model.init_state(), xs)[1])
    expected = np.asarray(run(jnp.asarray(tokens)))
    return float(np.max(np.abs(actual - expected)) / np.max(np.abs(expected)))
