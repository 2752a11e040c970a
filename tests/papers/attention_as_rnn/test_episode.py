"""An episode of a trained policy is played as it is evaluated, and drawn with frames and without."""

import numpy as np
import pytest
from rich.console import Console

from twofold import InputError
from twofold.data.environments import make
from twofold.papers.attention_as_rnn import episode
from twofold.tasks import Classification, Control, control, train
from twofold.tasks.rollout import acting, rollout


@pytest.fixture(scope="module")
def run(tmp_path_factory, write_control):
    folder = tmp_path_factory.mktemp("robot")
    small = {"width": 4, "depth": 1, "heads": 1, "window": 4, "steps": 2, "batch": 2, "measurements": 1}
    task = Control(env="inverted-pendulum", dataset=str(write_control(folder)), **small)
    with pytest.MonkeyPatch.context() as patch:  # what the policy is compared with is not what this is about
        patch.setattr(control, "CLONING_STEPS", 5)
        patch.setattr(control, "EPISODES", 2)
        return folder / "run", train(task, folder / "run", progress=False)


def test_it_is_played_and_drawn(run, pictures, capsys):
    folder, trained = run
    episode.Command(folder, asked=30.0, seed=2).run(Console(width=300))
    done = rollout(*acting(trained.models[0], 1), "inverted-pendulum", asked=30.0, seeds=[2])
    steps = int(done.steps[0])
    assert f"asked for a return of 30, and reached {done.returns[0]:,.0f} in {steps} steps" in capsys.readouterr().out
    (line,) = pictures["episode.png"].axes[-1].lines
    assert (line.get_label(), len(line.get_xdata())) == ("hinge", min(steps, episode.SHOWN + 1))


def test_a_machine_that_renders_nothing_draws_the_joints(run, monkeypatch):
    class Blind:
        def __init__(self, robot):
            self.robot = robot

        def __getattr__(self, name):
            return getattr(self.robot, name)

        def render(self):
            raise RuntimeError("no display")

    monkeypatch.setattr("twofold.tasks.rollout.make", lambda name, rendered: Blind(make(name)))
    played = episode.play(run[1].models[0], "inverted-pendulum", asked=30.0, seed=2)
    assert played.frames == []
    assert np.all(np.isfinite(played.angles["hinge"]))


@pytest.mark.parametrize(("name", "joints"), [("hopper", 4), ("walker2d", 7), ("halfcheetah", 7), ("ant", 8)])
def test_the_angles_are_those_of_all_hinges(name, joints):
    robot = make(name)
    robot.reset(seed=0)
    angles = episode.angles_of(robot)
    assert len(angles) == joints
    assert set(angles.values()) <= set(robot.unwrapped.data.qpos.tolist())


def test_only_policies_act(tmp_path, monkeypatch):
    monkeypatch.setattr(episode, "load_run", lambda folder: (Classification(), None, None))
    with pytest.raises(InputError, match="is a run of classification; only a policy of control can act"):
        episode.Command(tmp_path).run(Console())
