"""A trained model on many streams at once. Each key has a state of its own."""

import functools
import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import ArrayLike, Float, Int, Shaped

from ..errors import InputError
from ..layers import Layer
from ..layers.layer import dtype_of
from ..saving import fingerprint
from .rows import row_of, state_of
from .store import Key, Store
from .tokens import Tokens

TOGETHER = 8
"""So many keys take a step together, always. Matrix products of another number of rows would be rounded in another way, and
the answers to a key would depend on what else is in a batch. More keys together would hardly be faster."""
LARGEST = 1 << 12
"""The most tokens that one compiled call reads."""
SEAL = 16
"""A snapshot of a state begins with so many letters of the fingerprint of its model."""


class KeyedStream:
    """Runs a model on many streams at once: a state for each key, and one compiled batch for the tokens of all keys.

    A key is a string or an integer. `max_keys` states are kept in memory. The states that were used least recently go to the
    store, and come back exactly. So the memory does not grow, neither with the number of tokens nor with that of keys.

    The answers to a key depend on the tokens of this key alone, and not on what else is in a batch. Threads may share a
    keyed stream.

    !!! example

        stream = twofold.deploy.KeyedStream(model)
        for sensors, readings in batches:
            ys = stream.push(sensors, readings)
    """

    def __init__(self, model: Layer, *, max_keys: int = 4096, store: Store | None = None, warm: int = 0):
        """A stream for each key. No key has read a token, except for those that the store knows.

        **Arguments:**

        - `model`: the model that all keys share.
        - `max_keys`: the most states that are in memory.
        - `store`: where the other states are. Without it, they are in a temporary file.
        - `warm`: so many of the last tokens of each key are kept beside its state. If the store is that of another model
            and has such tokens, the states of all keys are made anew: `model` reads these tokens.

        **Raises:** `InputError` for sizes that cannot be used, and for the store of another model, if `warm` is 0 or the
        store has no tokens that `model` can read.
        """
        for name, size, least in (("max_keys", max_keys, 1), ("warm", warm, 0)):
            if size < least:
                raise InputError(f"{name} is {size}; it must be at least {least}")
        self.model, self.max_keys, self.warm = model, max_keys, warm
        self._takes = Tokens(model)
        self._features = 1 if self._takes.are_marks else model.in_size
        self._form = jax.eval_shape(model.init_state)
        nothing = np.full(warm * self._features, np.nan, np.float32)
        fresh = np.asarray(jax.jit(lambda: row_of(model.init_state()))())
        # A row has the last tokens of its key, and then its state. NaN stands where there were no tokens yet.
        self._fresh = np.concatenate([nothing.view(np.uint32), fresh])
        self._rows = np.zeros((max_keys, len(self._fresh)), np.uint32)
        self._changed = np.zeros(max_keys, bool)  # since the row was last written to the store
        self._slots: dict[Key, int] = {}  # the rows of keys; the least recently used key comes first
        self._free = list(range(max_keys))
        # The parameters are constants of the compiled program, as in `Stream`.
        self._run = jax.jit(self._stepped)
        self._lock, self._process = threading.RLock(), os.getpid()
        self.store = Store() if store is None else store
        if store is not None:
            self._adopt(store)

    @property
    def state_bytes(self) -> int:
        """The memory that the state of a key takes, in bytes, with its last tokens if they are kept."""
        return self._fresh.nbytes

    def push(
        self, keys: Sequence[Key] | Shaped[np.ndarray, " tokens"], xs: Shaped[ArrayLike, "tokens *features"]
    ) -> Float[np.ndarray, "tokens out"]:
        """Read one token for each of `keys`, and return the outputs after them, `(tokens, out_size)`.

        A key may come several times. Its tokens are then read in their order. A token can be finite and still so large that
        an output is not. The state of its key then stays as it was, and the output has the infinity or the NaN.

        **Arguments:**

        - `keys`: strings or integers.
        - `xs`: a token for each of them, `(tokens, in_size)`, or `(tokens,)` for a model that reads marks.

        **Raises:** `InputError` for keys or tokens that cannot be used, which leaves all states as they were. `RuntimeError`
        in a process that was forked after the stream was made.
        """
        if os.getpid() != self._process:
            raise RuntimeError("this process was forked after the stream was made; start it with the method 'spawn'")
        names = _checked(keys)
        xs = self._takes.checked(xs, many=True)
        if len(names) != len(xs):
            raise InputError(f"there are {len(names)} keys and {len(xs)} tokens; every token needs a key")
        ys, start = [np.zeros((0, self.model.out_size), dtype_of(self.model))], 0
        with self._lock:
            for different, lanes in _pieces(names, self.max_keys):
                ys.append(self._read(self._slots_of(different), lanes, xs[start : start + len(lanes)]))
                start += len(lanes)
        return np.concatenate(ys)

    def snapshot(self, keys: Iterable[Key] | None = None) -> dict[Key, bytes]:
        """The states of some keys, or of all keys, as bytes. Keys that have read no token are left out.

        **Raises:** `InputError` for keys that cannot be used, and for a model that `twofold.save` cannot save.
        """
        seal = self._fingerprint[:SEAL].encode()
        with self._lock:
            self._write(self._slots.items())
            found = self.store.items() if keys is None else [self.store.read(_checked(keys)).items()]
            return {key: seal + row for some in found for key, row in some}

    def restore(self, snapshot: Mapping[Key, bytes]) -> None:
        """Give keys the states that `snapshot` returned. Other keys stay as they are.

        **Raises:** `InputError` for a state of another model, or of a stream with another `warm`. No state is then changed.
        """
        seal = self._fingerprint[:SEAL].encode()
        for key, row in snapshot.items():
            if row[:SEAL] != seal or len(row) != SEAL + self._fresh.nbytes:
                raise InputError(f"the state of {key!r} is not one of this model and this number of kept tokens")
        with self._lock:
            self.reset(snapshot)
            self.store.write((key, row[SEAL:]) for key, row in snapshot.items())

    def reset(self, keys: Iterable[Key] | None = None) -> None:
        """Forget some keys, or all keys. They are then as new.

        **Raises:** `InputError` for keys that cannot be used.
        """
        with self._lock:
            chosen = [*self._slots] if keys is None else _checked(keys)
            self._free += [self._slots.pop(key) for key in chosen if key in self._slots]
            self.store.remove(None if keys is None else chosen)

    def commit(self, notes: Mapping[str, Any] | None = None) -> None:
        """Write all states to the store, with some notes. After a kill, the store has all of it or nothing.

        `notes` is anything that JSON can say, by names. `Store.note` returns it.
        """
        with self._lock:
            self._write(self._slots.items())
            for name, value in (notes or {}).items():
                self.store.take_note(name, value)
            self.store.commit()

    def _slots_of(self, keys: list[Key]) -> Int[np.ndarray, " keys"]:
        """The rows of different keys, which are at most `max_keys`. Those that are not in memory come from the store."""
        missing = [key for key in keys if key not in self._slots]
        found = self.store.read(missing)
        for key in keys:
            if key in self._slots:
                self._slots[key] = self._slots.pop(key)  # it is now among the last to leave
        leaving = list(itertools.islice(self._slots.items(), max(0, len(missing) - len(self._free))))
        self._write(leaving)
        for key, slot in leaving:
            del self._slots[key]
            self._free.append(slot)
        for key in missing:
            slot = self._slots[key] = self._free.pop()
            self._rows[slot] = np.frombuffer(found[key], np.uint32) if key in found else self._fresh
            self._changed[slot] = False
        return np.array([self._slots[key] for key in keys], int)

    def _write(self, places: Iterable[tuple[Key, int]]) -> None:
        """Write the rows that have changed to the store."""
        changed = [(key, slot) for key, slot in places if self._changed[slot]]
        self.store.write((key, self._rows[slot].tobytes()) for key, slot in changed)
        self._changed[[slot for _, slot in changed]] = False

    def _read(self, slots: np.ndarray, lanes: np.ndarray, xs: np.ndarray) -> np.ndarray:
        """The outputs after the tokens `xs`. The token i belongs to the row `slots[lanes[i]]`.

        Tokens are read in rounds: first a token of each key, then another one of each key that has two, and so on. The keys
        with the most tokens come first, so that a round is of the first so many keys. Rounds are cut into blocks.
        """
        ranks = _ranks(lanes)
        by_count = np.argsort(-np.bincount(lanes), kind="stable")
        slots, place = slots[by_count], np.argsort(by_count)
        order = np.lexsort((place[lanes], ranks))
        room = _room(len(xs))
        blocks = _blocks(np.bincount(ranks))
        tokens = np.zeros((room + TOGETHER, *xs.shape[1:]), xs.dtype)
        tokens[: len(xs)] = xs[order]
        state = slice(self.warm * self._features, None)
        rows = self._rows[np.resize(slots, _room(len(slots))), state]
        rows, out = self._run(rows, tokens, np.pad(blocks, ((0, 0), (0, room - blocks.shape[1]))), blocks.shape[1])
        self._rows[slots, state] = np.asarray(rows)[: len(slots)]
        self._changed[slots] = True
        ys = np.empty((len(xs), out.shape[1]), out.dtype)
        ys[order] = np.asarray(out)[: len(xs)]
        if self.warm:
            read = np.isfinite(ys).all(1)
            self._remember(slots[place[lanes[read]]], xs[read].reshape(-1, self._features))
        return ys

    def _stepped(self, rows, xs, blocks, count):
        """The rows after `count` blocks of tokens, and the outputs of all tokens."""

        def one(i, carry):
            rows, ys = carry
            token, lane, size = blocks[:, i]
            before = lax.dynamic_slice_in_dim(rows, lane, TOGETHER)
            states = jax.vmap(lambda row: state_of(row, self._form))(before)
            states, y = jax.vmap(self.model.step)(states, lax.dynamic_slice_in_dim(xs, token, TOGETHER))
            read = (jnp.arange(TOGETHER) < size) & jnp.all(jnp.isfinite(y), 1)
            after = jnp.where(read[:, None], jax.vmap(row_of)(states), before)
            # Outputs behind those of the block are of no token. The next block writes over them.
            return lax.dynamic_update_slice_in_dim(rows, after, lane, 0), lax.dynamic_update_slice_in_dim(
                ys, y, token, 0
            )

        return lax.fori_loop(0, count, one, (rows, jnp.zeros((len(xs), self.model.out_size), dtype_of(self.model))))

    def _remember(self, slots: np.ndarray, xs: np.ndarray) -> None:
        """Put tokens at the ends of the last tokens of their rows."""
        if not len(slots):
            return
        rows, lanes = np.unique(slots, return_inverse=True)
        counts, ranks = np.bincount(lanes)[:, None], _ranks(lanes)
        recent = self._recent_in(self._rows[rows])
        recent = np.take_along_axis(recent, np.minimum(np.arange(self.warm) + counts, self.warm - 1)[..., None], 1)
        place = self.warm - counts[lanes, 0] + ranks
        recent[lanes[place >= 0], place[place >= 0]] = xs[place >= 0]
        self._rows[rows, : self.warm * self._features] = recent.reshape(len(rows), -1).view(np.uint32)

    def _recent_in(self, rows: np.ndarray, warm: int | None = None) -> Float[np.ndarray, "keys warm features"]:
        """The last tokens in rows, which begin with `warm` of them."""
        warm = self.warm if warm is None else warm
        return rows[:, : warm * self._features].view(np.float32).reshape(len(rows), warm, self._features)

    @functools.cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.model)

    def _adopt(self, store: Store) -> None:
        """Make the rows in the store rows of this stream."""
        own: dict[str, Any] = {"model": self._fingerprint, "warm": self.warm, "features": self._features}
        kept = store.note("rows") or own
        same = kept["model"] == self._fingerprint
        if not same and not (self.warm and kept["warm"] and kept["features"] == self._features):
            raise InputError(
                f"the store {store.path} has states of another model, which do not fit this one, and keeps"
                f" {kept['warm']} tokens of {kept['features']} features for each key to warm it up with; take a new store, or"
                " ask for such tokens with warm if the store keeps them"
            )
        store.take_note("rows", own)
        if kept == own:
            return
        for some in store.items():
            rows = np.array([np.frombuffer(row, np.uint32) for _, row in some])
            recent = self._recent_in(rows, kept["warm"])
            states = rows[:, kept["warm"] * self._features :] if same else self._warmed_up(recent)
            before = np.full((len(rows), self.warm, self._features), np.nan, np.float32)
            recent = np.concatenate([before, recent], 1)[:, kept["warm"] :]
            words = recent.reshape(len(rows), -1).view(np.uint32)
            changed = np.concatenate([words, states], 1)
            store.write((key, row.tobytes()) for (key, _), row in zip(some, changed, strict=True))

    def _warmed_up(self, recent: np.ndarray) -> np.ndarray:
        """The states after these tokens."""
        tokens = np.where(np.isnan(recent), 0, recent).astype(self._takes.dtype)
        first = np.cumsum(~np.isnan(recent[:, :, 0]), axis=1) == 1  # the model forgets there what came before: nothing
        return np.asarray(self._prefill(tokens[:, :, 0] if self._takes.are_marks else tokens, first))

    @functools.cached_property
    def _prefill(self):
        def state_after(xs, resets):
            return row_of(self.model.prefill(self.model.init_state(), xs, resets=resets)[0])

        return jax.jit(jax.vmap(state_after))


def _checked(keys: Any) -> list[Key]:
    keys = keys.tolist() if isinstance(keys, np.ndarray) else list(keys)
    for key in keys:
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise InputError(f"the key {key!r:.80} is of type {type(key).__name__}; keys are strings or integers")
    return keys


def _pieces(keys: list[Key], most: int) -> Iterator[tuple[list[Key], Int[np.ndarray, " tokens"]]]:
    """Cut `keys` into pieces of at most `most` different keys: these keys, and which of them each token has."""
    numbers: dict[Key, int] = {}
    lanes: list[int] = []
    for key in keys:
        if len(lanes) == LARGEST or (len(numbers) == most and key not in numbers):
            yield list(numbers), np.array(lanes)
            numbers, lanes = {}, []
        lanes.append(numbers.setdefault(key, len(numbers)))
    if lanes:
        yield list(numbers), np.array(lanes)


def _ranks(lanes: Int[np.ndarray, " tokens"]) -> Int[np.ndarray, " tokens"]:
    """For each token, how many tokens of its lane come before it."""
    order = np.argsort(lanes, kind="stable")
    in_order = lanes[order]
    ranks = np.empty_like(lanes)
    ranks[order] = np.arange(len(lanes)) - np.searchsorted(in_order, in_order)
    return ranks


def _blocks(sizes: Int[np.ndarray, " rounds"]) -> Int[np.ndarray, "3 blocks"]:
    """Cut rounds of these sizes into blocks of at most `TOGETHER` tokens: their first tokens, their first keys, their sizes."""
    counts = -(-sizes // TOGETHER)
    before = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    lane = TOGETHER * before
    token = np.repeat(np.cumsum(sizes) - sizes, counts) + lane
    return np.stack([token, lane, np.minimum(np.repeat(sizes, counts) - lane, TOGETHER)]).astype(np.int32)


def _room(count: int) -> int:
    """At least `count`, and one of few numbers, so that few shapes are compiled: 8, 64, 512, ..."""
    room = TOGETHER
    while room < count:
        room *= 8
    return room
