"""Quadratic forms are the products that they stand for, and spanning subsets span."""

import numpy as np
import pytest

from twofold.forms import coordinates, quadratic_forms, spanning_subset, symmetric


def test_symmetric_part_of_a_tensor(normal, assert_close):
    tensor = normal("t", 2, 3, 3, 4)
    part = symmetric(tensor)
    assert_close(part, part.swapaxes(1, 2))
    assert_close(symmetric(part), part)
    x = normal("x", 3)
    assert_close(np.einsum("nabk,a,b->nk", part, x, x), np.einsum("nabk,a,b->nk", tensor, x, x))


def test_forms_are_products_of_linear_functions(normal, assert_close):
    left, right, x = normal("left", 5, 3), normal("right", 5, 3), normal("x", 3)
    assert_close(np.einsum("nab,a,b->n", quadratic_forms(left, right), x, x), (left @ x) * (right @ x))


def test_coordinates_keep_inner_products(normal, assert_close):
    forms = symmetric(normal("forms", 5, 3, 3))
    assert_close(coordinates(forms) @ coordinates(forms).T, np.einsum("nab,mab->nm", forms, forms))


@pytest.mark.parametrize("rank", [0, 1, 3, 5])
def test_subset_spans_all_rows(normal, assert_close, rank):
    rows = normal("left", 5, rank) @ normal("right", rank, 6)
    chosen, mixture = spanning_subset(rows, 1e-15)
    assert len(chosen) == rank
    assert_close(mixture @ rows[chosen], rows)


def test_no_rows_are_spanned_by_none():
    chosen, mixture = spanning_subset(np.zeros((0, 4)), 1e-15)
    assert (len(chosen), mixture.shape) == (0, (0, 0))
