"""A robot at work: one episode of a trained policy, as a strip of frames and as the angles of its joints."""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from rich.console import Console
from tyro.conf import Positional

from ...data.environments import ENVIRONMENTS
from ...errors import InputError
from ...layers import Layer
from ...report.episode_pictures import draw_episode
from ...tasks.control import Control
from ...tasks.rollout import acting, rollout
from ...tasks.run import load_run

FRAMES = 8
"""The strip has so many frames."""
SHOWN = 120
"""The frames are from the first steps. In these, a robot that runs takes some strides."""


class Played(NamedTuple):
    """What happened in an episode."""

    value: float
    """The return."""
    steps: int
    """How many steps the episode had."""
    angles: dict[str, Float[np.ndarray, " steps"]]
    """The angle of each joint before each step, in radians, by MuJoCo's name of the joint."""
    frames: list[UInt8[np.ndarray, "height width 3"]]
    """Pictures of the robot. There are none where nothing can be rendered."""


def play(model: Layer, environment: str, *, asked: float, seed: int) -> Played:
    """Let a policy act for one episode, token by token."""
    when = set(np.linspace(0, SHOWN, FRAMES).astype(int).tolist())
    positions: list[dict[str, float]] = []
    frames: list[Any] = []

    def watch(robots: list[Any]) -> None:
        (robot,) = robots
        if len(positions) in when:
            with contextlib.suppress(Exception):  # what fails without a display differs between MuJoCo's ways to render
                frames.append(robot.render())
        positions.append(angles_of(robot))

    done = rollout(*acting(model, 1), environment, asked=asked, seeds=[seed], watch=watch)
    angles = {joint: np.array([each[joint] for each in positions]) for joint in positions[0]}
    return Played(float(done.returns[0]), int(done.steps[0]), angles, frames)


def angles_of(robot: Any) -> dict[str, float]:
    """The angles of the hinges of a robot of MuJoCo, by their names, in radians."""
    from mujoco import mjtJoint  # imported here, because it belongs to an extra

    inside = robot.unwrapped
    hinges = [inside.model.joint(i) for i in np.flatnonzero(inside.model.jnt_type == mjtJoint.mjJNT_HINGE)]
    return {hinge.name: float(inside.data.qpos[hinge.qposadr[0]]) for hinge in hinges}


@dataclasses.dataclass
class Command:
    """Draw an episode of a trained policy: frames of the robot, and the angles of its joints.

    Frames need a display or EGL. Without them, the angles are drawn alone.

    Example: twofold reproduce episode runs/hopper-medium-aaren
    """

    folder: Positional[Path]
    """The folder of a run of `twofold train control`."""
    asked: float | None = None
    """The return that the policy is asked for. If not given, it is the largest return in the data."""
    seed: int = 0
    """The seed of the episode."""
    out: Path | None = None
    """The file of the picture. If not given, it is episode.png in the folder of the run."""

    def run(self, console: Console) -> None:
        if "DISPLAY" not in os.environ:
            os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo reads it when it is imported
        task, model, data = load_run(self.folder)
        if not isinstance(task, Control):
            raise InputError(f"{self.folder} is a run of {task.name}; only a policy of control can act")
        asked = float(data.episodes.returns.max()) if self.asked is None else self.asked
        played = play(model, task.env, asked=asked, seed=self.seed)
        file = self.out or self.folder / "episode.png"
        title = f"{ENVIRONMENTS[task.env].id}, {task.mixer}: asked for {asked:,.0f}, reached {played.value:,.0f}"
        draw_episode(played.frames, played.angles, SHOWN, title).savefig(file)
        missing = "" if played.frames else " No frames could be rendered, so it has the joints alone."
        console.print(
            f"The policy was asked for a return of {asked:,.0f}, and reached {played.value:,.0f} in"
            f" {played.steps} steps. The picture is {file}.{missing}"
        )
