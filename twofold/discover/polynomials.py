"""The function of one token that a layer computes: a polynomial in the token's features."""

import itertools

import numpy as np
from jaxtyping import Float

from ..errors import InputError
from ..forms import attention_weights, cubic_form, gated_rnn_weights
from ..layers import GatedRNN, LinearSelfAttention


def instantaneous_polynomials(
    layer: GatedRNN | LinearSelfAttention,
) -> Float[np.ndarray, "out monomials"]:
    """The coefficients of each output of `layer` as a polynomial in one token x, from the zero state (paper A, section 3.2).

    Monomials are all products of at most 4 features, in the order of `monomials`. Attention has degree 3, a gated RNN
    degree 4.

    **Raises:** `InputError` for any other layer, and for weights that are not finite.
    """
    return collected(_tensor(layer))


def collected(tensor: Float[np.ndarray, "out v v v v"]) -> Float[np.ndarray, "out monomials"]:
    """The coefficients of the 4-linear forms `tensor`, in the order of `monomials`. All four arguments are x~ = (x, 1)."""
    variables = tensor.shape[1]
    number = {monomial: n for n, monomial in enumerate(monomials(variables - 1))}
    index = [number[tuple(sorted(i))] for i in itertools.product(range(variables), repeat=4)]
    coefficients = np.zeros((len(number), len(tensor)))
    np.add.at(coefficients, index, tensor.reshape(len(tensor), -1).T)
    return coefficients.T


def monomials(in_size: int) -> list[tuple[int, ...]]:
    """The monomials of `instantaneous_polynomials`. Each is the indices of four factors, where `in_size` is the constant 1."""
    return list(itertools.combinations_with_replacement(range(in_size + 1), 4))


def polynomial_distance(a: GatedRNN | LinearSelfAttention, b: GatedRNN | LinearSelfAttention) -> float:
    """How far the one-token function of `a` is from that of `b`: |p_a - p_b| / |p_b| of the coefficient vectors.

    It is the mean over all outputs. In paper A's table 1, `a` is the student and `b` is the teacher.

    **Raises:** `InputError` if sizes differ, if an output of `b` is zero for every token, and for weights that are not finite.
    """
    if (a.in_size, a.out_size) != (b.in_size, b.out_size):
        raise InputError(
            f"the layers map {a.in_size} to {a.out_size} and {b.in_size} to {b.out_size} features; they must be of equal sizes"
        )
    p_a, p_b = instantaneous_polynomials(a), instantaneous_polynomials(b)
    sizes = np.linalg.norm(p_b, axis=1)
    if not np.all(sizes > 0):
        raise InputError(
            f"output {int(np.argmin(sizes))} of the second layer is zero for every token; no distance to it"
        )
    return float(np.mean(np.linalg.norm(p_a - p_b, axis=1) / sizes))


def _tensor(layer) -> Float[np.ndarray, "out v v v v"]:
    """The outputs as 4-linear forms in x~ = (x, 1)."""
    if isinstance(layer, GatedRNN):
        weights = gated_rnn_weights(layer, dense=True)
        return weights.product(*weights.branches())
    if isinstance(layer, LinearSelfAttention):
        d, heads = layer.in_size, attention_weights(layer)
        tensor = np.zeros((layer.out_size,) + (d + 1,) * 4)
        tensor[:, :d, :d, :d, d] = cubic_form(heads.w_v, heads.b)
        return tensor
    raise InputError(f"{type(layer).__name__} is not a polynomial; use a GatedRNN or a LinearSelfAttention")
