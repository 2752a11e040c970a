"""Gated RNNs and attention as sums of quadratic forms, in float64: what conversion and discovery share."""

from .exactly import exact_outputs, gamma
from .quadratic import coordinates, quadratic_forms, rounding, spanning_subset, symmetric
from .weights import (
    AttentionWeights,
    GatedRNNWeights,
    Matrix,
    accumulated,
    attention_weights,
    check_finite,
    cubic_form,
    gated_rnn_weights,
    states,
)

__all__ = [
    "AttentionWeights",
    "GatedRNNWeights",
    "Matrix",
    "accumulated",
    "attention_weights",
    "check_finite",
    "coordinates",
    "cubic_form",
    "exact_outputs",
    "gamma",
    "gated_rnn_weights",
    "quadratic_forms",
    "rounding",
    "spanning_subset",
    "states",
    "symmetric",
]
