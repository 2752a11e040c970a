"""Each layer is its paper's equation, written here naively in NumPy, in float64."""

from functools import partial
from itertools import product

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.layers import (
    Aaren,
    Block,
    CausalSelfAttention,
    GatedRNN,
    LinearSelfAttention,
    MinGRU,
    MinLSTM,
    Rescaled,
    RunningMean,
)
from twofold.layers.rotary import rotated
from twofold.models import BareModel, EventModel, Forecaster, SequenceModel

KEY = jax.random.key(0)
run = jax.jit(lambda layer, xs: layer(xs))

DTYPES = st.sampled_from(["float32", "float64"])
SIZES, HEADS = st.sampled_from([1, 3]), st.sampled_from([1, 2])  # Few: each new shape is compiled.


def in_dtype(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype), tree)


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


@settings(max_examples=8)
@given(
    dtype=DTYPES,
    time=st.sampled_from([0, 5, 70]),
    in_size=SIZES,
    out_size=SIZES,
    key_size=SIZES,
    heads=HEADS,
)
def test_linear_attention_is_equation_3(normal, assert_close, dtype, time, in_size, out_size, key_size, heads):
    """y_t = [sum_{s<=t} (W_V x_s)(W_K x_s)^T] W_Q x_t, summed over heads; the bracket, transposed, is the last state."""
    layer = LinearSelfAttention(in_size, out_size, num_heads=heads, key_size=key_size, key=jax.random.key(0))
    layer, xs = in_dtype((layer, normal("x", time, in_size)), dtype)
    w_v, w_k, w_q, tokens = in_dtype((layer.w_v, layer.w_k, layer.w_q, xs), "float64")
    bracket, ys = np.zeros((heads, out_size, key_size)), np.zeros((time, out_size))
    for t, x in enumerate(tokens):
        for head in range(heads):
            bracket[head] += np.outer(w_v[head] @ x, w_k[head] @ x)
            ys[t] += bracket[head] @ (w_q[head] @ x)
    state, out = jax.jit(lambda layer, xs: layer.prefill(layer.init_state(), xs))(layer, xs)
    assert out.dtype == dtype
    assert_close((out, state), (ys, bracket.swapaxes(1, 2)))


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [MinGRU, MinLSTM])
def test_minimal_rnns_are_their_equations(normal, assert_close, kind, dtype, scale):
    """Also with gates that are 0 and 1 up to rounding: their logarithms are compared here, in double precision."""
    layer, xs = in_dtype((kind(3, 2, key=KEY), scale * normal("x", 9, 3)), dtype)
    u, b, tokens = in_dtype((layer.u, layer.b, xs), "float64")
    *gates, candidate = np.split(np.asarray(tokens @ u.T + b), len(u) // 2, 1)
    logs = [-np.logaddexp(0, -x) for x in (gates if len(gates) == 2 else [-gates[0], gates[0]])]
    keep = 1 / (1 + np.exp(np.minimum(logs[1] - logs[0], 700)))
    h, ys = np.zeros(2), []
    for a, new in zip(keep, candidate, strict=True):
        h = a * h + (1 - a) * new
        ys.append(h)
    assert run(layer, xs).dtype == dtype
    assert_close(run(layer, xs), np.array(ys), rtol=None if scale == 1 else 1e-3 if dtype == "float32" else 1e-9)


@settings(max_examples=6)
@given(dtype=DTYPES, in_size=SIZES, head_size=SIZES, heads=HEADS)
def test_aaren_is_prefix_softmax_of_a_learned_query(normal, assert_close, dtype, in_size, head_size, heads):
    layer = Aaren(in_size, heads * head_size, num_heads=heads, key=jax.random.key(0))
    layer, xs = in_dtype((layer, normal("x", 7, in_size)), dtype)
    query, w_k, w_v, w_o, tokens = in_dtype((layer.query, layer.w_k, layer.w_v, layer.w_o, xs), "float64")
    ys = []
    for t in range(len(tokens)):
        keys, values = tokens[: t + 1] @ w_k.T, tokens[: t + 1] @ w_v.T
        each = [slice(i * head_size, (i + 1) * head_size) for i in range(heads)]
        mixed = [softmax(keys[:, i] @ q / np.sqrt(head_size)) @ values[:, i] for q, i in zip(query, each, strict=True)]
        ys.append(w_o @ np.concatenate(mixed))
    out = run(layer, xs)
    assert out.dtype == dtype
    assert_close(out, np.array(ys))


@settings(max_examples=8)
@given(
    dtype=DTYPES,
    in_size=SIZES,
    head_size=SIZES,
    heads=HEADS,
    capacity=st.sampled_from([1, 3, 7, 1024]),
)
def test_softmax_attention_is_over_the_last_capacity_tokens(
    normal, assert_close, dtype, in_size, head_size, heads, capacity
):
    """Causal, with 7 tokens; full where the cache holds them all."""
    layer = CausalSelfAttention(in_size, heads * head_size, num_heads=heads, capacity=capacity, key=jax.random.key(0))
    layer, xs = in_dtype((layer, normal("x", 7, in_size)), dtype)
    w_q, w_k, w_v, w_o, tokens = in_dtype((layer.w_q, layer.w_k, layer.w_v, layer.w_o, xs), "float64")
    ys = []
    for t, x in enumerate(tokens):
        seen = tokens[max(0, t + 1 - capacity) : t + 1]
        query, keys, values = w_q @ x, seen @ w_k.T, seen @ w_v.T
        each = [slice(i * head_size, (i + 1) * head_size) for i in range(heads)]
        mixed = [softmax(keys[:, i] @ query[i] / np.sqrt(head_size)) @ values[:, i] for i in each]
        ys.append(w_o @ np.concatenate(mixed))
    out = run(layer, xs)
    assert out.dtype == dtype
    assert_close(out, np.array(ys))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_aaren_with_decay_lowers_scores_by_age(normal, assert_close, dtype):
    """With lambda from 2^-4 to 2^-8 at the start; 70 tokens are more than are computed in one piece."""
    layer = in_dtype(Aaren(3, 4, num_heads=2, decay=True, key=KEY), dtype)
    np.testing.assert_allclose(layer.log_decay, np.log([2**-4, 2**-8]), rtol=1e-6)
    layer, xs = in_dtype((layer, normal("x", 70, 3)), dtype)
    query, w_k, w_v, w_o, tokens = in_dtype((layer.query, layer.w_k, layer.w_v, layer.w_o, xs), "float64")
    scores = np.stack([tokens @ w_k[h : h + 2].T @ query[h // 2] / np.sqrt(2) for h in (0, 2)], 1)
    lam, ys = np.exp(np.asarray(layer.log_decay, float)), []
    for t in range(70):
        aged = scores[: t + 1] - lam * (t - np.arange(t + 1))[:, None]
        values = tokens[: t + 1] @ w_v.T
        ys.append(w_o @ np.concatenate([softmax(aged[:, h]) @ values[:, 2 * h : 2 * h + 2] for h in range(2)]))
    assert_close(run(layer, xs), np.array(ys))


def turned(vectors, positions):
    """Su et al. 2021, section 3.2.2, in complex numbers: pair i of the features is turned by position * 10000^(-2 i / size)."""
    half = vectors.shape[-1] // 2
    pairs = vectors[..., :half] + 1j * vectors[..., half:]
    pairs = pairs * np.exp(1j * positions[:, None] * 10000.0 ** (-2 * np.arange(half) / (2 * half)))
    return np.concatenate([pairs.real, pairs.imag], -1)


@pytest.mark.parametrize("capacity", [3, 1024])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rotary_attention_turns_queries_and_keys_by_their_positions(normal, assert_close, dtype, capacity):
    """The angles have 32 bits of a turn."""
    layer = CausalSelfAttention(3, 8, num_heads=2, capacity=capacity, rotary=True, key=KEY)
    layer, xs = in_dtype((layer, normal("x", 11, 3)), dtype)
    w_q, w_k, w_v, w_o, tokens = in_dtype((layer.w_q, layer.w_k, layer.w_v, layer.w_o, xs), "float64")
    parts, at = [slice(0, 4), slice(4, 8)], np.arange(11)
    queries, keys = ([turned((tokens @ w.T)[:, i], at) for i in parts] for w in (w_q, w_k))
    ys = []
    for t in range(11):
        seen = slice(max(0, t + 1 - capacity), t + 1)
        each = zip(queries, keys, parts, strict=True)
        mixed = [softmax(k[seen] @ q[t] / 2) @ (tokens[seen] @ w_v.T)[:, i] for q, k, i in each]
        ys.append(w_o @ np.concatenate(mixed))
    assert_close(run(layer, xs), np.array(ys), rtol=1e-5 if dtype == "float32" else 1e-8)


@pytest.mark.parametrize("start", [10**5, 10**6, 2**31 - 2])
def test_positions_lose_no_digits_however_far_a_stream_is(normal, assert_close, start):
    """Scores in float32 depend on the difference of positions alone, also where these wrap."""
    q, k = (jnp.asarray(normal(name, 4, 2, 16), "float32") for name in "qk")

    def scores(start):
        turned = (rotated(x, start + jnp.arange(4, dtype=jnp.int32)) for x in (q, k))
        return jnp.einsum("thk,shk->tsh", *turned, precision="highest")

    assert_close(scores(jnp.int32(start)), scores(jnp.int32(0)), rtol=2e-6)


@pytest.mark.parametrize("recurrence", ["diagonal", "dense"])
@settings(max_examples=6)
@given(
    dtype=DTYPES,
    in_size=SIZES,
    out_size=SIZES,
    hidden_size=st.sampled_from([None, 0, 3]),
    gate_size=st.sampled_from([0, 4]),
)
def test_gated_rnn_is_equation_2(normal, assert_close, recurrence, dtype, in_size, out_size, hidden_size, gate_size):
    """h_t = lambda * h_{t-1} + g_in(x_t, 1) or A h_{t-1} + g_in(x_t, 1), y_t = D g_out(h_t), from h_0 = 0."""
    sizes = {"hidden_size": hidden_size, "gate_size": gate_size, "recurrence": recurrence}
    layer = GatedRNN(in_size, out_size, **sizes, key=jax.random.key(0))
    layer, xs = in_dtype((layer, normal("x", 7, in_size)), dtype)
    rnn, tokens = in_dtype((layer, xs), "float64")
    decay = np.diag(layer.lam.astype("float64")) if recurrence == "diagonal" else rnn.lam
    h, ys = np.zeros(layer.hidden_size), []
    for x in tokens:
        x = np.append(x, 1)
        h = decay @ h + (rnn.w_in_m @ x) * (rnn.w_in_x @ x)
        ys.append(rnn.readout @ ((rnn.w_out_m @ h) * (rnn.w_out_x @ h)))
    out = run(layer, xs)
    assert out.dtype == dtype
    assert_close(out, np.array(ys))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_mean_is_the_mean_so_far(normal, assert_close, dtype):
    xs = normal("x", 9, 3)
    layer = RunningMean(3, dtype=dtype)
    _, ys = layer.prefill(layer.init_state(), xs)
    assert ys.dtype == dtype
    assert_close(ys, np.array([xs[: t + 1].mean(0) for t in range(9)]))


def running_mean(in_size, out_size, *, key):
    return RunningMean(in_size)


def randomised(layer, normal):
    """The layer with normal weights throughout, those of its norms and biases too."""
    leaves, tree = jax.tree.flatten(layer)
    return jax.tree.unflatten(tree, [normal(f"weight {i}", *x.shape) for i, x in enumerate(leaves)])


def linear(layer, x):
    return x @ np.asarray(layer.weight).T + layer.bias


def norm(layer, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5) * layer.weight + layer.bias


def block(layer, xs):
    """A pre-norm residual block over the running mean, with the tanh form of GELU."""
    normed = norm(layer.mixer_norm, xs)
    xs = xs + np.array([normed[: t + 1].mean(0) for t in range(len(xs))])
    inner = linear(layer.expand, norm(layer.feed_forward_norm, xs))
    gelu = inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3))) / 2
    return xs + linear(layer.contract, gelu)


def test_block_is_two_pre_norm_residuals(normal, assert_close):
    layer = randomised(Block(RunningMean(4), key=jax.random.key(0)), normal)
    xs = normal("x", 5, 4)
    assert_close(run(layer, xs), block(layer, xs))


@pytest.mark.parametrize("predicts", ["step", "sequence"])
@pytest.mark.parametrize("reads", ["features", "marks"])
def test_model_is_encoder_blocks_mean_norm_readout(normal, assert_close, reads, predicts):
    """And a mixer may be any constructor."""
    how = {"width": 4, "depth": 2, "mixer": running_mean, "reads": reads, "predicts": predicts}
    model = randomised(SequenceModel(3, 2, **how, key=jax.random.key(0)), normal)
    marks = np.array([0, 2, 1, 1, 0])
    xs = marks if reads == "marks" else normal("x", 5, 3)
    features = np.asarray(model.encoder.weight)[marks] if reads == "marks" else linear(model.encoder, xs)
    for layer in model.stack.layers[:2]:
        features = block(layer, features)
    if predicts == "sequence":
        features = np.array([features[: t + 1].mean(0) for t in range(5)])
    assert_close(run(model, xs), linear(model.readout, norm(model.norm, features)))


def test_bare_model_is_embedding_layers_readout(normal, assert_close):
    """And a mixer may be any constructor."""
    model = randomised(BareModel(3, 2, width=4, depth=2, mixer=running_mean, key=jax.random.key(0)), normal)
    xs = normal("x", 5, 3)
    features = linear(model.embedding, xs)
    for _ in range(2):
        features = np.array([features[: t + 1].mean(0) for t in range(5)])
    assert_close(run(model, xs), linear(model.readout, features))


def test_scaled_input_is_normalised_input(normal, assert_close):
    model = SequenceModel(3, 2, width=4, depth=1, key=jax.random.key(0))
    xs, mean, scale = normal("x", 5, 3), normal("mean", 3), np.exp(normal("scale", 3))
    assert_close(run(model.with_scaled_input(mean, scale), xs), run(model, (xs - mean) / scale), rtol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lambda_is_kept(normal, dtype):
    """To rounding; 0 and 1 exactly."""
    lam = np.array([0, 1, 1e-6, 0.01, 0.3, 0.5, 0.99, 1 - 1e-6], dtype)
    gates = [normal("gate", *shape, dtype=dtype) for shape in [(8, 4), (8, 4), (3, 8), (3, 8), (2, 3)]]
    kept = GatedRNN.from_weights(lam, *gates).lam
    assert kept.dtype == dtype
    assert kept[:2].tolist() == [0, 1]
    np.testing.assert_allclose(kept, lam, rtol=0, atol=2 * np.finfo(dtype).eps)


def test_dense_starts_with_the_spectrum_of_diagonal(assert_close):
    diagonal, dense = (GatedRNN(3, 2, recurrence=r, key=jax.random.key(0)) for r in ("diagonal", "dense"))
    assert_close(np.linalg.eigvalsh(dense.lam), np.sort(diagonal.lam))
    assert eqx.tree_equal(diagonal.readout, dense.readout)


def test_sizes_are_as_asked_for():
    key = jax.random.key(0)
    rnn = GatedRNN(3, 2, key=key)
    assert (rnn.in_size, rnn.out_size, rnn.hidden_size, rnn.gate_size, rnn.recurrence) == (3, 2, 6, 6, "diagonal")
    assert LinearSelfAttention(6, 2, num_heads=3, key=key).w_q.shape == (3, 2, 6)
    assert Block(RunningMean(4), key=key).expand.out_features == 16
    assert SequenceModel(7, 2, reads="marks", width=4, key=key).in_size == 7


@settings(max_examples=6)
@given(dtype=DTYPES, marks=st.sampled_from([1, 3]), components=st.sampled_from([1, 2]))
def test_event_model_reads_log_time_clock_and_mark(normal, assert_close, dtype, marks, components):
    """Answers of `inner`, but for the log-deviations, which are 0 where it says 0, and between -6 and 1."""
    periods = (2.0, 30.0)
    inner = LinearSelfAttention(5 + marks, 3 * components + marks, key=jax.random.key(0))
    layer = in_dtype(EventModel(inner, marks=marks, periods=periods), dtype)
    elapsed, mark = np.abs(normal("elapsed", 9)), np.arange(9) % marks
    elapsed[0] = 0
    features = [[np.log(t) if t > 0 else 0.0 for t in elapsed]]
    for wave in (np.sin, np.cos):
        features += [wave(2 * np.pi * elapsed.cumsum() / period) for period in periods]
    features += [mark == m for m in range(marks)]
    expected = np.array(inner(np.array(features, float).T))
    deviations = slice(2 * components, 3 * components)
    expected[:, deviations] = -6 + 7 / (1 + np.exp(-expected[:, deviations]) / 6)
    assert_close(run(layer, np.stack([elapsed, mark], 1).astype(dtype)), expected.astype(dtype))


@settings(max_examples=6)
@given(dtype=DTYPES, in_size=SIZES, out_size=SIZES)
def test_rescaled_is_the_layer_in_other_units(normal, assert_close, dtype, in_size, out_size):
    inner = LinearSelfAttention(in_size, out_size, key=jax.random.key(0))
    scales = {
        f"{side}_{name}": normal(f"{side}_{name}", size)
        for side, size in [("in", in_size), ("out", out_size)]
        for name in ("mean", "scale")
    }
    layer, xs = in_dtype((Rescaled(inner, **scales), normal("x", 7, in_size)), dtype)
    ys = np.asarray(inner((np.asarray(xs, float) - scales["in_mean"]) / scales["in_scale"]))
    assert_close(
        run(layer, xs),
        (ys * scales["out_scale"] + scales["out_mean"]).astype(dtype),
        rtol=1e-4 if dtype == "float32" else None,
    )


def small_forecaster(normal, *, patch, season, targets=(2, 0), horizon=4, memory=5.0):
    """Of three series and a covariate, with normal weights throughout."""
    mixer = SequenceModel(3 * patch + 1, horizon * len(targets), width=4, depth=1, mixer=running_mean, key=KEY)
    sizes = {"variates": 3, "targets": targets, "horizon": horizon, "patch": patch, "season": season}
    return randomised(Forecaster(mixer, **sizes, memory=memory), normal)


def moments(past, memory):
    """Exponentially weighted mean and deviation, where 1 counts as a tenth of an observation of the variance."""
    weights = np.array([np.exp(-age / memory) for age in range(len(past))][::-1])
    mean = sum(w * x for w, x in zip(weights, past, strict=True)) / weights.sum()
    squares = sum(w * (x - mean) ** 2 for w, x in zip(weights, past, strict=True))
    return mean, np.sqrt((squares + 0.1) / (weights.sum() + 0.1))


def observed(past, lag):
    """What was observed `lag` before the last, or else first."""
    return past[max(len(past) - 1 - lag, 0)]


def forecasts(layer, xs, first=0):
    """One row of forecasts after each observation from `first` on, which is the first that is read."""
    series, tokens, naive, deviations = xs[:, :3], [], [], []
    for t in range(first, len(xs)):
        past = series[: t + 1]
        mean, deviation = moments(past, layer.memory)
        patch = [(observed(past, lag) - mean) / deviation for lag in range(layer.patch)]
        tokens.append(np.concatenate([*patch, xs[t, 3:]]))
        rows = []
        for ahead in range(1, layer.horizon + 1):
            share = 1 / (1 + np.exp(-layer.seasonality[ahead - 1]))
            before = -ahead
            while before < 0:
                before += layer.season
            rows.append((1 - share) * past[-1] + share * observed(past, before))
        naive.append(np.array(rows)[:, list(layer.targets)])
        deviations.append(deviation[list(layer.targets)])
    features = block(layer.model.stack.layers[0], linear(layer.model.encoder, np.array(tokens)))
    changes = linear(layer.model.readout, norm(layer.model.norm, features))
    changes = changes.reshape(len(tokens), layer.horizon, -1)
    return (np.array(naive) + np.array(deviations)[:, None] * changes).reshape(len(tokens), -1)


of_every_season = pytest.mark.parametrize(("patch", "season"), [(2, 3), (3, 1), (1, 6), (1, 1)])


@pytest.mark.parametrize("memory", [5.0, np.inf])
@of_every_season
def test_forecaster_is_changes_of_a_naive_forecast_in_units_of_the_deviation(
    normal, assert_close, patch, season, memory
):
    layer = small_forecaster(normal, patch=patch, season=season, memory=memory)
    xs = normal("x", 14, 4) * [3, 0.1, 1, 1] + [20, 0, -3, 0]
    assert_close(run(layer, xs), forecasts(layer, xs), rtol=1e-11)


@of_every_season
def test_forecasts_at_some_times_are_made_after_the_observations_that_are_only_remembered(
    normal, assert_close, patch, season
):
    layer = small_forecaster(normal, patch=patch, season=season)
    xs = normal("x", 14, 4)
    times = np.array([3, 0, 5])
    made = jax.jit(lambda layer, times, xs: layer.forecasts_at(times, xs))(layer, times, xs)
    assert_close(made, forecasts(layer, xs, first=layer.lags)[times], rtol=1e-11)
    alone = jax.jit(lambda layer, times, xs: layer.forecasts_at(times, xs, fresh=True))(layer, times, xs)
    assert_close(alone, forecasts(layer, xs)[times], rtol=1e-11)


@pytest.mark.parametrize("season", [1, 5])
def test_forecasts_at_all_times_are_the_prefill_of_a_mixer_that_is_fresh(normal, assert_close, season):
    """From the state after the first observations, but for the mixer's."""
    layer = small_forecaster(normal, patch=3, season=season)
    xs = normal("x", 12, 4)

    @jax.jit
    def both(layer, xs):
        state, _ = layer.prefill(layer.init_state(), xs[: layer.lags])
        state = state._replace(inner=layer.model.init_state())
        return layer.forecasts_at(np.arange(12 - layer.lags), xs), layer.prefill(state, xs[layer.lags :])[1]

    assert_close(*both(layer, xs), rtol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forecasts_of_constant_and_of_far_series_are_finite(normal, dtype):
    """And so are their gradients."""
    with jax.enable_x64(dtype == "float64"):
        layer = in_dtype(small_forecaster(normal, patch=2, season=3), dtype)
    fresh = layer.init_state()

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def total(layer, xs):
        _, made = layer.prefill(fresh, xs)
        return jnp.sum(made), made

    for level, spread in product([-1e4, 0.0, 1e4], [0.0, 1e-3, 1e4]):
        (_, made), gradients = total(layer, (level + spread * normal("x", 50, 4)).astype(dtype))
        for x in (made, *jax.tree.leaves(gradients)):
            assert x.dtype == dtype
            assert np.all(np.isfinite(x))


def test_a_forecast_keeps_up_with_the_level_and_scale_of_its_series(normal, assert_close):
    """Where no covariate tells them, and the deviation of the past is known: a tenth of an observation is not much."""
    layer = small_forecaster(normal, patch=2, season=3, targets=(0, 1, 2))
    xs = 1e3 * normal("x", 40, 4) * [1, 1, 1, 0]
    moved = xs * [7, 7, 7, 0] + [5, 5, 5, 0]
    assert_close(run(layer, moved)[10:], 7 * run(layer, xs)[10:] + 5, rtol=1e-5)


@pytest.mark.parametrize("predicts", ["step", "sequence"])
@pytest.mark.parametrize("reads", ["features", "marks"])
def test_reading_the_features_of_a_model_is_its_prefill(normal, assert_close, reads, predicts):
    model = SequenceModel(3, 2, width=4, depth=2, num_heads=2, reads=reads, predicts=predicts, key=KEY)
    xs = np.arange(6) % 3 if reads == "marks" else normal("x", 6, 3)
    resets = np.arange(6) == 4
    state, features = model.features(model.init_state(), xs, resets=resets)
    outputs = model.read(features)
    assert_close((state, outputs), model.prefill(model.init_state(), xs, resets=resets))
