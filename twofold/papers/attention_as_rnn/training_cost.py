"""What a step of training on one long sequence costs, measured in a process that does nothing else.

`python -m twofold.papers.attention_as_rnn.training_cost '{"mixer": "aaren", "tokens": 65536, "chunk": 4096}'` prints a line of
JSON, which has the fields of `StepCost`.
"""

import json
import sys
import time
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...layers import Chunked
from ...layers.mixers import mixer_named
from ...models import SequenceModel
from .stream_cost import peak_bytes, resident_bytes

WIDTH, DEPTH, HEADS, FEATURES = 32, 2, 4, 8


class Job(NamedTuple):
    """What one process measures: a model of two blocks of width 32, and a sequence of tokens with 8 features."""

    mixer: str
    tokens: int
    chunk: int | None
    """The sequence is taken in chunks of so many tokens, or whole for None."""

    def model(self) -> SequenceModel:
        """A random model of this kind."""
        mixer = mixer_named(self.mixer)
        options = mixer.taken(num_heads=HEADS, capacity=self.tokens)
        return SequenceModel(
            FEATURES, FEATURES, mixer=self.mixer, width=WIDTH, depth=DEPTH, key=jax.random.key(0), **options
        )


class StepCost(NamedTuple):
    """The cost of a step: forward, gradient and AdamW, on one sequence."""

    sequence_bytes: int
    """The size of the sequence."""
    before_bytes: int
    """The resident memory of the process with the compiled step, before the sequence."""
    peak_bytes: int
    """The largest resident memory."""
    seconds: float
    """The time of the second step."""


def measured(job: Job) -> StepCost:
    """Take two steps of next-token prediction on a random sequence."""
    model, optimiser = job.model(), optax.adamw(1e-3)

    def loss(model, xs):
        layer = model if job.chunk is None else Chunked(model, chunk=job.chunk)
        return jnp.mean((layer(xs)[:-1] - xs[1:]) ** 2)

    def step(model, memory, xs):
        value, slopes = jax.value_and_grad(loss)(model, xs)
        updates, memory = optimiser.update(slopes, memory, model)
        return optax.apply_updates(model, updates), memory, value

    memory = optimiser.init(eqx.filter(model, eqx.is_array))
    tokens = jax.ShapeDtypeStruct((job.tokens, FEATURES), jnp.float32)
    program = jax.jit(step, donate_argnums=(0, 1)).lower(model, memory, tokens).compile()
    before = resident_bytes()
    xs = jnp.asarray(np.random.default_rng(0).standard_normal(tokens.shape, np.float32))
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        model, memory, value = program(model, memory, xs)
        value.block_until_ready()
        seconds = time.perf_counter() - start
    return StepCost(xs.nbytes, before, peak_bytes(), seconds)


if __name__ == "__main__":
    print(json.dumps(measured(Job(**json.loads(sys.argv[1])))._asdict()), flush=True)
