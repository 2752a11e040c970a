"""The optimiser of paper A's experiments."""

import jax
import optax

RECURRENT = {"recurrent", "nu", "theta", "gamma_log"}
"""The names of recurrent weights in `GatedRNN` and `LRU`. gamma_log belongs to them, because it normalises the recurrence."""


def adamw_cosine(
    steps: int, *, learning_rate: float, final_learning_rate: float, b2: float = 0.999, weight_decay: float = 1e-4
) -> optax.GradientTransformation:
    """AdamW with a cosine schedule, for any layer (paper A, appendix B.1).

    The learning rate falls from `learning_rate` to `final_learning_rate` over `steps` steps. All weights decay, except the
    recurrent ones of linear recurrences.
    """
    schedule = optax.cosine_decay_schedule(learning_rate, steps, alpha=final_learning_rate / learning_rate)

    def decayed(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].name not in RECURRENT, params)

    return optax.adamw(schedule, b2=b2, weight_decay=weight_decay, mask=decayed)
