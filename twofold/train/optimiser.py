"""The optimiser of paper A's experiments."""

import equinox as eqx
import jax
import optax

from ..layers import GatedRNN


def adamw_cosine(
    steps: int, *, learning_rate: float, final_learning_rate: float, b2: float = 0.999, weight_decay: float = 1e-4
) -> optax.GradientTransformation:
    """AdamW with a cosine schedule, for a `GatedRNN` (paper A, appendix B.1).

    The learning rate falls from `learning_rate` to `final_learning_rate` over `steps` steps. All weights decay except the
    recurrent ones.
    """
    schedule = optax.cosine_decay_schedule(learning_rate, steps, alpha=final_learning_rate / learning_rate)

    def decayed(params: GatedRNN) -> GatedRNN:
        return eqx.tree_at(lambda p: p.recurrent, jax.tree.map(lambda _: True, params), False)

    return optax.adamw(schedule, b2=b2, weight_decay=weight_decay, mask=decayed)
