"""What a model costs as its stream grows: state, memory and time, measured in a process that does nothing else.

`python -m twofold.papers.attention_as_rnn.stream_cost '{"mixer": "aaren", "width": 512, "heads": 8, "tokens": [100]}'`
prints a line of JSON for each number of tokens. `Cost` explains it.
"""

import contextlib
import ctypes
import gc
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...layers import MIXERS, Block
from ...layers.mixers import mixer_named
from ...layers.softmax_attention import KVCache
from ...tasks.matched import count_parameters

TRANSFORMER = "softmax-attention"
CACHED = tuple(name for name, mixer in MIXERS.items() if "capacity" in mixer.options)
"""The mixers whose state is a KV cache."""
TIMED = 100
"""So many tokens are timed with a KV cache of one length."""


class Job(NamedTuple):
    """What one process measures: a Transformer block over one mixer."""

    mixer: str
    width: int
    heads: int
    tokens: tuple[int, ...]
    """The numbers of tokens at which to measure, in ascending order. Softmax attention has just one: its cache has a fixed
    size."""

    def block(self) -> Block:
        """A random Transformer block over the mixer, with a feed-forward part of 4 times its width."""
        chosen = mixer_named(self.mixer)
        options = chosen.taken(num_heads=self.heads, capacity=self.tokens[-1])
        keys = jax.random.split(jax.random.key(0))
        mixer = chosen.make(self.width, self.width, key=keys[0], **options)
        return Block(mixer, feed_forward_size=4 * self.width, key=keys[1])


class Cost(NamedTuple):
    """The cost after a number of tokens. Memory is resident memory in bytes."""

    tokens: int
    parameters: int
    """The number of parameters of the block."""
    state_bytes: int
    """The size of the state."""
    model_bytes: int
    """The memory of the process with the model, before anything is compiled."""
    program_bytes: int
    """The memory with the compiled step, before there is a state."""
    compiler_bytes: int
    """The largest memory until then."""
    peak_bytes: int
    """The largest memory while tokens were pushed; if the system cannot tell this, the largest in the life of the process."""
    seconds: float
    """The time since the first token. For softmax attention it is the time of one token, the median of `TIMED`, with a cache
    of `tokens`."""


def measure(job: Job) -> Iterator[Cost]:
    """Push random tokens one at a time, and wait for each output.

    The step is compiled as `twofold.Stream` compiles it: parameters are its constants, and the state is updated in place.
    Softmax attention begins with a full cache.
    """
    block = job.block()
    parameters = count_parameters(block)
    model_bytes = resident_bytes()
    tokens = np.random.default_rng(0).standard_normal((1000, job.width), np.float32)
    begin = jax.jit(lambda: _first_state(block)).lower().compile()
    program = jax.jit(lambda state, x: block.step(state, x), donate_argnums=0)
    step = program.lower(jax.eval_shape(block.init_state), tokens[0]).compile()
    memory = model_bytes, resident_bytes(), peak_bytes()
    state = begin()
    jax.block_until_ready(state)
    _trim()
    with contextlib.suppress(OSError):  # the search for the largest memory begins anew, if the system permits
        Path("/proc/self/clear_refs").write_text("5")
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    known = parameters, state_bytes, *memory

    def push(count: int) -> float:
        nonlocal state
        state, y = step(state, tokens[count % len(tokens)])
        np.asarray(y)
        return time.perf_counter()

    start = time.perf_counter()
    if job.mixer in CACHED:
        each = np.diff([start, *map(push, range(TIMED))])
        yield Cost(job.tokens[-1], *known, peak_bytes(), float(np.median(each)))
        return
    for count in range(1, job.tokens[-1] + 1):
        now = push(count)
        if count in job.tokens:
            yield Cost(count, *known, peak_bytes(), now - start)


def _first_state(block: Block):
    """The first state. If it is a cache, it is full."""
    state = block.init_state()
    if not isinstance(state, KVCache):
        return state
    keys, values = jax.random.normal(jax.random.key(1), (2, *state.keys.shape))
    return KVCache(keys, values, state.position, jnp.full_like(state.length, len(keys)))


def resident_bytes() -> int:
    """The resident memory of this process, after what was freed went back to the system."""
    _trim()
    return _status("VmRSS")


def peak_bytes() -> int:
    """The largest resident memory of this process so far."""
    return _status("VmHWM")


def _trim() -> None:
    """Give back to the system what was freed, so that what is resident is what is in use."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # of glibc
        trim(0)


def _status(name: str) -> int:
    """A size in bytes that Linux itself tells. `ru_maxrss` would be too large: it counts the process that started this one."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


if __name__ == "__main__":
    for cost in measure(Job(**json.loads(sys.argv[1]))):
        print(json.dumps(cost._asdict()), flush=True)
