"""Tokens are checked before a model reads them, so that a bad one changes nothing."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from ..errors import InputError
from ..layers import Layer


class Tokens:
    """The tokens that a model reads."""

    def __init__(self, model: Layer):
        self.size, self.are_marks = model.in_size, model.reads == "marks"
        self.dtype = np.dtype(int) if self.are_marks else jnp.result_type(float)

    def checked(self, x, *, many: bool = False, before: int = 0) -> Shaped[np.ndarray, "..."]:
        """One token, or many of them, as an array that the model reads. `before` is the number of the first, for errors.

        **Raises:** `InputError` for tokens of another shape or kind, and for numbers that are not finite.
        """
        x = np.asarray(x)
        if self.are_marks:
            if x.ndim != many or (x.dtype.kind not in "iu" and x.size) or not np.all((x >= 0) & (x < self.size)):
                takes = "integers" if many else "one integer"
                given = "tokens are" if many else "token is"
                raise InputError(f"the {given} {x!r}; this model takes {takes} from 0 to {self.size - 1}")
            return x.astype(self.dtype)
        if x.ndim != 1 + many or x.shape[-1] != self.size or x.dtype.kind not in "fiu":
            numbers = f"{self.size} numbers, ({self.size},)"
            takes = f"tokens of {self.size} numbers, (time, {self.size})" if many else numbers
            given = "tokens have" if many else "token has"
            raise InputError(f"the {given} shape {x.shape} and dtype {x.dtype}; this model takes {takes}")
        finite = np.isfinite(x)
        if np.count_nonzero(finite) < finite.size:  # `finite.all()` would take a tenth of the time of a step
            *row, feature = map(int, np.argwhere(~finite)[0])
            raise InputError(
                f"feature {feature} of token {before + sum(row)} is {x[*row, feature]}; all features must be finite numbers"
            )
        return x.astype(self.dtype)  # always the same dtype, so that the step is compiled only once
