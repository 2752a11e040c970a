"""How much attention is in any layer: the attention whose function is nearest to the layer's, and what it explains."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from ..errors import InputError
from ..forms import Matrix
from ..layers import LinearSelfAttention
from ..layers.layer import Layer, check_sizes, dtype_of
from .heads import attention_of, fitted_heads, most_heads
from .regression import cubic_outputs, regression

TIME, LONGER = 32, 256
"""The lengths of the sequences that are drawn if none are given."""
SEQUENCES, HELD_OUT, LONGER_SEQUENCES = 512, 4, 64
"""The least number of sequences drawn, of which one in four is held out, and the number of longer ones."""
TOKENS = 20
"""The least number of tokens drawn for each coefficient of an output."""
MOST_FEATURES = 16
"""An output has d^2 (d+1)/2 coefficients, and the time of the search grows with their cube."""
LOST = 1e-3
"""The share of the variance that may be lost for the sake of fewer heads."""


@dataclasses.dataclass(frozen=True)
class NearestAttention:
    """What `nearest_attention` found. A share is 1 - sum |y - y^|^2 / sum |y - mean of y|^2, over all outputs y together.

    y^ is the output of `attention`. Shares are measured on sequences that the attention was not fitted to. A share is 1 for
    attention. It is about 0 for a layer that has nothing of attention, and below 0 where y^ is farther from y than the mean is.
    """

    attention: LinearSelfAttention
    """The nearest attention, in the dtype of the layer."""
    explained: float
    """The share that `attention` explains."""
    explained_by_any: float
    """The share that the nearest sum of any number of heads explains."""
    explained_longer: float | None
    """The share that `attention` explains on the longer sequences. None if there are none."""
    tokens: int
    """The length of the sequences."""
    longer_tokens: int | None
    """The length of the longer sequences."""

    @property
    def report(self) -> str:
        """The shares, in words."""
        heads = self.attention.num_heads
        text = (
            f"Attention with {heads} head{'s' * (heads > 1)} explains {_percent(self.explained)} of the variance of the outputs"
            f" over {self.tokens} tokens. With any number of heads it would be {_percent(self.explained_by_any)}."
        )
        if self.explained_longer is None:
            return text
        return f"{text} Over {self.longer_tokens} tokens, the same heads explain {_percent(self.explained_longer)}."


def nearest_attention(
    layer: Layer,
    xs: Shaped[Array | np.ndarray, "sequences time in"] | None = None,
    *,
    longer: Shaped[Array | np.ndarray, "sequences more_time in"] | None = None,
    max_heads: int | None = None,
    last: bool = False,
) -> NearestAttention:
    """The linear self-attention nearest to the function of any layer on given tokens, and the share that it explains.

    The outputs of attention are y_o = sum A_oabk S_ab x_k with S_t = sum_{s<=t} x_s x_s^T. They are linear in A, so the best
    attention of any number of heads is one linear least squares problem. Then heads are fitted, nearest in the same outputs.
    Attention has no constant output, so the fit has none either.

    The fit uses the first three quarters of the sequences. The shares are measured on the last quarter, and on all of `longer`.

    **Arguments:**

    - `layer`: any layer or model that takes tokens of at most 16 features, in any dtype.
    - `xs`: at least two sequences, `(sequences, time, in_size)`. If they are not given, they are 512 sequences or more of 32
        standard normal tokens, from a fixed random key. `longer` is then 64 sequences of 256 such tokens.
    - `longer`: sequences on which the share is measured again, `(sequences, time, in_size)`.
    - `max_heads`: the most heads to fit. If it is not given, it is `in_size`, or fewer where these would have more than 2,000
        weights. The fewest heads are taken that lose less than 0.001 of the variance, and less than any number of heads leaves.
        If no number does so, heads are added while they help.
    - `last`: whether only the output at the last token of each sequence counts, as for an answer to a question.

    **Returns:** a `NearestAttention`.

    **Raises:** `InputError` for what is no layer, a layer that reads marks or takes more than 16 features, for tokens of other
    shapes or that are not finite, for outputs that are not finite or do not vary, and for a number of heads below 1.
    """
    _check_layer(layer)
    check_sizes(max_heads=1 if max_heads is None else max_heads)
    if xs is None:
        xs, longer = _drawn(layer.in_size, last, longer)
    tokens = _tokens("xs", xs, layer, at_least=2)
    more = None if longer is None else _tokens("longer", longer, layer, at_least=1)
    precision = min(100 * float(jnp.finfo(jnp.promote_types(tokens.dtype, jnp.float32)).eps), 1e-4)

    scale = np.sqrt(np.mean(tokens.astype(np.float64) ** 2, (0, 1)))
    scale = np.where(scale > 0, scale, 1.0)
    fitted_to, held_out = np.split(tokens, [len(tokens) - max(len(tokens) // HELD_OUT, 1)])
    ys, truth = (_outputs(layer, x, last) for x in (fitted_to, held_out))
    cubic, root = regression(ys, _scaled(fitted_to, scale), precision)
    left = np.linalg.norm(ys - cubic_outputs(cubic, _scaled(fitted_to, scale))[:, -ys.shape[1] :])
    noise = min(left / (np.linalg.norm(ys) or 1.0), LOST**0.5)
    if max_heads is None:
        max_heads = min(layer.in_size, most_heads(layer.in_size, layer.out_size))
    w_v, b = fitted_heads(cubic, max_heads, max(float(noise), precision), root)
    attention = attention_of(w_v, b, dtype_of(layer), scale)
    any_heads = cubic_outputs(cubic, _scaled(held_out, scale))[:, -truth.shape[1] :]
    return NearestAttention(
        attention,
        explained=_share(truth, _outputs(attention, held_out, last)),
        explained_by_any=_share(truth, any_heads),
        explained_longer=None if more is None else _share(_outputs(layer, more, last), _outputs(attention, more, last)),
        tokens=tokens.shape[1],
        longer_tokens=None if more is None else more.shape[1],
    )


def _check_layer(layer: Layer) -> None:
    if not isinstance(layer, Layer):
        raise InputError(f"the layer is a {type(layer).__name__}; it must be a Layer")
    if layer.reads != "features":
        raise InputError(f"this {type(layer).__name__} reads {layer.reads}; attention reads features")
    if layer.in_size > MOST_FEATURES:
        raise InputError(f"the layer takes {layer.in_size} features; it must take at most {MOST_FEATURES}")


def _drawn(in_size: int, last: bool, longer):
    """Standard normal tokens: enough for the fit, and longer sequences if none are given."""
    coefficients = in_size**2 * (in_size + 1) // 2
    read = 1 if last else TIME
    number = max(SEQUENCES, -(-TOKENS * coefficients * HELD_OUT // ((HELD_OUT - 1) * read)))
    key, other_key = jax.random.split(jax.random.key(0))
    xs = jax.random.normal(key, (number, TIME, in_size))
    return xs, jax.random.normal(other_key, (LONGER_SEQUENCES, LONGER, in_size)) if longer is None else longer


def _tokens(name: str, xs, layer: Layer, at_least: int) -> Matrix:
    """The tokens that the layer sees, in its dtype."""
    xs = np.asarray(xs)
    if xs.ndim != 3 or xs.shape[2] != layer.in_size or xs.shape[0] < at_least or xs.shape[1] < 1:
        raise InputError(
            f"{name} has the shape {xs.shape}; it must be (sequences, time, {layer.in_size}),"
            f" with at least {at_least} sequence{'s' * (at_least > 1)} of at least one token"
        )
    if not jnp.issubdtype(xs.dtype, jnp.floating) and not jnp.issubdtype(xs.dtype, jnp.integer):
        raise InputError(f"{name} is an array of {xs.dtype}; it must hold real numbers")
    xs = xs.astype(dtype_of(layer))
    if not np.all(np.isfinite(xs)):
        raise InputError(f"{name} contains {xs[~np.isfinite(xs)][0]}; all tokens must be finite")
    return xs


@eqx.filter_jit
def _all_outputs(layer, xs):
    return jax.vmap(layer)(xs)


def _outputs(layer: Layer, xs: Matrix, last: bool) -> Float[Matrix, "sequences read out"]:
    ys = np.asarray(_all_outputs(layer, xs), np.float64)[:, -1 if last else 0 :]
    if not np.all(np.isfinite(ys)):
        raise InputError(f"the outputs of the layer contain {ys[~np.isfinite(ys)][0]}; all must be finite")
    return ys


def _scaled(xs: Matrix, scale: Matrix) -> Matrix:
    """Tokens of equal sizes in float64, so that units do not matter."""
    return xs.astype(np.float64) / scale


def _share(ys: Matrix, explained: Matrix) -> float:
    if not np.any(np.ptp(ys, (0, 1))):
        raise InputError("the outputs of the layer are the same for every token; there is no variance to explain")
    return float(1 - np.sum((ys - explained) ** 2) / np.sum((ys - ys.mean((0, 1))) ** 2))


def _percent(share: float) -> str:
    """Few digits, and what is missing where this is little."""
    return f"all but {1 - share:.1e}" if share > 0.999 else f"{share:.1%}"
