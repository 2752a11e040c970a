"""Causal softmax self-attention with a KV cache. It mixes over time in the Transformer, and is the baseline here."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Float, Int, PRNGKeyArray

from ..errors import InputError
from ..scan import causal_attention
from ..scan.axis import refuse_spread_time
from .layer import Layer, check_sizes, head_size, parameter_dtype
from .rotary import rotated


class KVCache(NamedTuple):
    """The keys and values of the last tokens, in a ring of `capacity` slots. Rotary keys have the positions of their slots."""

    keys: Float[Array, "capacity heads head_size"]
    values: Float[Array, "capacity heads head_size"]
    position: Int[Array, ""]
    """The slot that the next token takes."""
    length: Int[Array | np.generic, ""]
    """How many slots hold tokens of the current sequence."""


class CausalSelfAttention(Layer[KVCache]):
    """o_t = sum_{s<=t} softmax_s(q_t . k_s / sqrt(head_size)) v_s (Vaswani et al. 2017, section 3.2).

    The outputs of the heads are concatenated and projected. The state is a KV cache of `capacity` tokens. Up to this length,
    each token attends to all tokens before it and to itself. In a longer sequence, it attends to the last `capacity` tokens,
    itself included; `step` and `prefill` do the same.

    The layer sees order through the causal mask alone, unless it has rotary positions (Su et al. 2021). With `rotary=True`,
    queries and keys are turned by angles that grow with the position of their token, so that scores depend on how long ago
    a token was. Positions may grow without bound: see `rotated`.
    """

    w_q: Float[Array, "inner in"]
    w_k: Float[Array, "inner in"]
    w_v: Float[Array, "inner in"]
    w_o: Float[Array, "out inner"]
    num_heads: int = eqx.field(static=True)
    capacity: int = eqx.field(static=True)
    rotary: bool = eqx.field(static=True, default=False)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        num_heads: int = 1,
        capacity: int = 1024,
        rotary: bool = False,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray,
    ):
        """A random layer. Weights are drawn from N(0, 1/fan_in).

        **Arguments:**

        - `in_size`, `out_size`: the number of features of a token, and of an output.
        - `num_heads`: the number of heads. Each has the size out_size / num_heads.
        - `capacity`: how many tokens the KV cache holds.
        - `rotary`: whether there are rotary positions. They need heads of an even size.
        - `dtype`: the dtype of the parameters. It is JAX's default float dtype if not given.
        - `key`: the random key of the weights.

        **Raises:** `InputError` for sizes below 1, for an out_size that does not split into equal heads, and for heads of an
        odd size with rotary positions.
        """
        check_sizes(in_size=in_size)
        dtype = parameter_dtype(dtype)
        size = head_size("out_size", out_size, num_heads)
        if rotary and size % 2:
            raise InputError(
                f"out_size {out_size} and num_heads {num_heads} make heads of size {size}; rotary positions need an even size"
            )
        if capacity < 1:
            raise InputError(f"capacity is {capacity}; it must be at least 1")
        keys = jax.random.split(key, 4)
        self.w_q, self.w_k, self.w_v = (
            jax.random.normal(k, (out_size, in_size), dtype) / in_size**0.5 for k in keys[:3]
        )
        self.w_o = jax.random.normal(keys[3], (out_size, out_size), dtype) / out_size**0.5
        self.num_heads, self.capacity, self.rotary = num_heads, capacity, rotary

    @property
    def in_size(self) -> int:
        return self.w_q.shape[1]

    @property
    def out_size(self) -> int:
        return self.w_o.shape[0]

    def init_state(self) -> KVCache:
        shape = (self.capacity, self.num_heads, self.w_v.shape[0] // self.num_heads)
        empty = jnp.zeros(shape, self.w_v.dtype)
        return KVCache(empty, empty, jnp.int32(0), np.int32(0))

    def prefill(self, state, xs, *, resets=None):
        q, k, v = self._project(self._tokens(xs, like=self.w_v))
        self._check(state, resets, len(q))
        refuse_spread_time(
            "softmax attention", "each of its queries needs all keys; Aaren has a state of constant size"
        )
        if len(q) == 0:
            return state, jnp.zeros((0, self.out_size), q.dtype)
        resets = None if resets is None else jnp.asarray(resets)
        keys, values, cached = k, v, 0
        if not _known_to_be_empty(state):  # The cache comes first, its oldest token foremost.
            unturned = self._turned(state.keys, -jnp.arange(self.capacity))
            older = (jnp.roll(x, -state.position, 0) for x in (unturned, state.values))
            keys, values = (jnp.concatenate(pair) for pair in zip(older, (k, v), strict=True))
            cached = self.capacity
        token = cached + jnp.arange(len(q))
        start = cached - state.length  # of the sequence that each token is in
        if resets is not None:
            start = lax.cummax(jnp.where(resets, token, start))
        q, keys = self._turned(q, token), self._turned(keys, jnp.arange(len(keys)))
        out = causal_attention(q, keys, values, jnp.maximum(start, token + 1 - self.capacity))
        return self._remember(state, k, v, resets), out.reshape(len(q), len(self.w_v)) @ self.w_o.T

    def step(self, state, x):
        # This does what `prefill` does, but writes the cache in place: to copy a long cache would double the time.
        q, k, v = self._project(self._tokens(jnp.asarray(x)[None], like=self.w_v))
        self._check(state, None, 1)
        now = state.position[None]
        k = self._turned(k, now)
        keys, values = state.keys.at[state.position].set(k[0]), state.values.at[state.position].set(v[0])
        if self.rotary:  # Slots after this one hold tokens of the last round through the ring.
            last_round = jnp.arange(self.capacity) > state.position
            q = jnp.where(last_round[:, None, None], rotated(q, now + self.capacity), rotated(q, now))
        position = (state.position + 1) % self.capacity
        state = KVCache(keys, values, position, jnp.minimum(state.length + 1, self.capacity))
        visible = self._ages(position) < state.length
        # Sums take a quarter of the time of matrix products, which would first transpose all keys and values.
        scores = jnp.sum(q * keys, 2) / q.shape[2] ** 0.5
        weights = jax.nn.softmax(jnp.where(visible[:, None], scores, -jnp.inf), axis=0)
        return state, jnp.sum(weights[:, :, None] * values, 0).reshape(len(self.w_v)) @ self.w_o.T

    def _project(self, xs):
        """Queries, keys and values, each `(time, heads, head_size)`."""
        shape = len(xs), self.num_heads, len(self.w_v) // self.num_heads
        return tuple((xs @ w.T).reshape(shape) for w in (self.w_q, self.w_k, self.w_v))

    def _turned(self, vectors, positions):
        return rotated(vectors, positions) if self.rotary else vectors

    def _ages(self, position):
        """How many tokens ago each slot was written, `(capacity,)`. The newest token has the age 0."""
        return (position - 1 - jnp.arange(self.capacity)) % self.capacity

    def _remember(self, state, k, v, resets):
        """The cache after the new tokens. After a reset, it equals the cache of a fresh start in every slot."""
        time = len(k)
        length, position = jnp.minimum(state.length, self.capacity) + time, state.position + time
        if resets is not None:
            since_reset = jnp.argmax(resets[::-1]) + 1  # how many tokens the last sequence has, if there was a reset
            restarted = jnp.any(resets)
            length, position = (jnp.where(restarted, since_reset, x) for x in (length, position))
        length = jnp.minimum(length, self.capacity).astype(state.length.dtype)
        position = position % self.capacity
        ages = self._ages(position)
        new, kept = (x[:, None, None] for x in ((ages < time) & (ages < length), ages < length))

        def update(cached, tokens):
            return jnp.where(new, tokens, jnp.where(kept, cached, 0))

        k, v = (x[jnp.maximum(time - 1 - ages, 0)] for x in (k, v))
        keys, values = update(state.keys, self._turned(k, jnp.arange(self.capacity))), update(state.values, v)
        return KVCache(keys, values, position.astype(state.position.dtype), length)


def _known_to_be_empty(state: KVCache) -> bool:
    """Whether the cache is known to be empty while the program is traced. This saves half of the work over a whole sequence.

    `init_state` gives the length as a NumPy number, whose value is known then.
    """
    return isinstance(state.length, np.generic) and int(state.length) == 0
