"""A student that is not trained, but constructed from its teacher: what table 1 and figure 2 show of it is known."""

import jax
import numpy as np
import pytest

from twofold.convert import to_gated_rnn
from twofold.layers import LinearSelfAttention
from twofold.papers.gated_rnn.students import Curve, Student


@pytest.fixture(scope="session")
def constructed():
    """A `Student` of size 2: the compact construction, whose loss fell in 3 seconds."""
    teacher = LinearSelfAttention(2, 2, key=jax.random.key(0))
    return Student(teacher, to_gated_rnn(teacher, "compact"), Curve(np.array([1.0, 3.0]), np.array([0.5, 1e-20])))
