"""The robots that control is learned on, and the returns that scores are measured with."""

import importlib.util
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from .packages import missing

if TYPE_CHECKING:
    import gymnasium


class Environment(NamedTuple):
    """An environment of gymnasium, with the returns that D4RL's score compares with."""

    id: str
    """Its name in gymnasium."""
    random: float | None = None
    """The return of a random policy, from D4RL (Fu et al. 2020, `d4rl/infos.py`). It is None where D4RL has none."""
    expert: float | None = None
    """The return of an expert, from the same place."""
    survival: float = 0.0
    """The reward for each step in which the robot does not fall. A search for policies leaves it out."""
    steps: int = 1000
    """An episode ends after this many steps."""
    options: dict[str, Any] = {}  # noqa: RUF012  nobody changes it
    camera: str | None = "track"
    """The camera for pictures, by its name in MuJoCo's model. This one stays with the robot."""

    def score(self, value: float) -> float | None:
        """D4RL's normalised score of a return: 0 is the random policy, and 100 the expert."""
        if self.random is None or self.expert is None:
            return None
        return 100 * (value - self.random) / (self.expert - self.random)


ENVIRONMENTS: dict[str, Environment] = {
    "halfcheetah": Environment("HalfCheetah-v5", -280.178953, 12135.0),
    "hopper": Environment("Hopper-v5", -20.272305, 3234.3, survival=1.0),
    "walker2d": Environment("Walker2d-v5", 1.629008, 4592.3, survival=1.0),
    "ant": Environment("Ant-v5", -325.6, 3879.7, survival=1.0, options={"include_cfrc_ext_in_observation": False}),
    "inverted-pendulum": Environment("InvertedPendulum-v5", camera=None),
}
"""The environments by the names that commands use. The pendulum is learned in seconds, and is for trying things out."""


def make(name: str, *, rendered: bool = False) -> "gymnasium.Env":
    """Make the environment of this name. If it is `rendered`, its `render()` is a picture, as an array of RGB values.

    **Raises:** `InputError` that says what to install, if gymnasium or MuJoCo is missing.
    """
    for package in ("gymnasium", "mujoco"):
        if importlib.util.find_spec(package) is None:
            raise missing(package, extra="control")
    import gymnasium  # imported here, because it belongs to an extra

    environment = ENVIRONMENTS[name]
    pictures: dict[str, Any] = {"render_mode": "rgb_array", "camera_name": environment.camera} if rendered else {}
    return gymnasium.make(environment.id, disable_env_checker=True, **environment.options, **pictures)


def bounds(environment: "gymnasium.Env") -> tuple[Float[np.ndarray, " actions"], Float[np.ndarray, " actions"]]:
    """The smallest and the largest value of each feature of an action."""
    space: Any = environment.action_space
    return space.low, space.high
