"""Policies act in environments, side by side."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from ..data.environments import bounds, make
from ..layers import Layer

Act = Callable[[Any, Float[np.ndarray, "robots tokens"]], tuple[Any, Float[ArrayLike, "robots actions"]]]
"""A function from the state and the tokens of all robots to the new state and their actions."""


class Rollout(NamedTuple):
    """What came of it, for each episode."""

    returns: Float[np.ndarray, " episodes"]
    steps: Float[np.ndarray, " episodes"]


def rollout(
    act: Act,
    state: Any,
    environment: str,
    *,
    asked: float | Float[ArrayLike, " robots"],
    seeds: Sequence[int],
    watch: Callable[[list[Any]], None] | None = None,
) -> Rollout:
    """Let a policy act for one episode with each seed. All robots take their steps together.

    **Arguments:**

    - `act`, `state`: a policy, and its state before the first step. It reads the tokens of `twofold.models.Policy`.
    - `environment`: a name of `ENVIRONMENTS`.
    - `asked`: the return that the policy is asked for, by all robots or by each. The tokens have what is left of it.
    - `seeds`: the seeds of the environments, one for each robot.
    - `watch`: is called with the environments before each step. They can then be rendered.

    **Raises:** `InputError` if the environment cannot be made.
    """
    robots = [make(environment, rendered=watch is not None) for _ in seeds]
    seen = np.array([robot.reset(seed=seed)[0] for robot, seed in zip(robots, seeds, strict=True)], np.float32)
    actions = np.zeros((len(robots), len(bounds(robots[0])[0])), np.float32)
    returns, steps, running = np.zeros(len(robots)), np.zeros(len(robots)), np.ones(len(robots), bool)
    while np.any(running):
        if watch is not None:
            watch(robots)
        left = (asked - returns).astype(np.float32)[:, None]
        state, chosen = act(state, np.concatenate([left, seen, actions], 1))
        actions = np.asarray(chosen, np.float32)
        for i in np.flatnonzero(running):
            seen[i], reward, terminated, truncated, _ = robots[i].step(actions[i])
            returns[i] += float(reward)
            steps[i] += 1
            running[i] = not (terminated or truncated)
    for robot in robots:
        robot.close()
    return Rollout(returns, steps)


def acting(model: Layer, robots: int) -> tuple[Act, Any]:
    """A model as a policy for many robots at once, compiled, and its state before the first step."""
    # The parameters are constants of the compiled step, which halves the cost of a call. The state is updated in place.
    act = jax.jit(jax.vmap(lambda state, x: model.step(state, x)), donate_argnums=0)
    state = jax.tree.map(lambda x: jnp.stack([x] * robots), model.init_state())
    return act, state
