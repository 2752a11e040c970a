"""How long a policy takes from an observation to its action, measured in a process that does nothing else.

`python -m twofold.papers.attention_as_rnn.loop_clock '{"mixer": "aaren", "context": 20, "steps": 1000}'` prints a line of JSON,
which has the fields of `Clocked`.
"""

import json
import sys
import time
from typing import NamedTuple

import jax
import numpy as np

from ...deploy import Stream
from ...models import Policy, policy_features
from ...tasks.control import Control
from ...tasks.matched import matched_model
from .stream_cost import resident_bytes

OBSERVATIONS, ACTIONS, EPISODE = 11, 3, 1000
"""The sizes of the Hopper, and the number of steps in one of its episodes."""
WARM_UP = 1000
"""So many steps are not counted. They compile the policy and fill its context."""


class Job(NamedTuple):
    """A policy that one process measures. Its sizes are the defaults of `Control`."""

    mixer: str
    context: int
    """The Transformer attends to this many steps."""
    steps: int

    def policy(self) -> Policy:
        """A random policy of this kind."""
        task = Control()
        inner = matched_model(
            policy_features(OBSERVATIONS, ACTIONS),
            ACTIONS,
            mixer=self.mixer,
            width=task.width,
            depth=task.depth,
            heads=task.heads,
            capacity=self.context,
            key=jax.random.key(0),
        )
        zeros, ones = np.zeros(1 + OBSERVATIONS), np.ones(ACTIONS)
        return Policy(inner, mean=zeros, scale=zeros + 1, low=-ones, high=ones)


class Clocked(NamedTuple):
    """What a step of the loop takes, in microseconds, and the memory."""

    median: float
    high: float
    """The 99.9th percentile."""
    longest: float
    state_bytes: int
    resident_bytes: int
    """The memory of the whole process, Python and JAX included."""
    growth_bytes: int
    """By how much this memory grew while the steps were taken."""


def clocked(job: Job) -> Clocked:
    """Measure `job.steps` steps of a loop of control. Each is from an observation, an array of NumPy, to the action.

    The return that is left and the previous action are joined to the observation, as a robot's loop must do. The garbage
    collector of Python runs as it does by default, and its pauses count. A new episode begins after each 1,000 steps; this
    is not timed.
    """
    stream = Stream(job.policy())
    seen = np.random.default_rng(0).standard_normal((EPISODE, OBSERVATIONS), np.float32)
    times = np.zeros(job.steps)
    action, before = np.zeros(ACTIONS, np.float32), 0
    for step in range(-WARM_UP, job.steps):
        if step % EPISODE == 0:
            stream.reset()
            action = np.zeros(ACTIONS, np.float32)
        if step == 0:
            before = resident_bytes()
        observation = seen[step % EPISODE]
        start = time.perf_counter()
        action = stream.push(np.concatenate([[np.float32(3000 - step % EPISODE)], observation, action]))
        if step >= 0:
            times[step] = time.perf_counter() - start
    after = resident_bytes()
    microseconds = 1e6 * times
    return Clocked(
        float(np.median(microseconds)),
        float(np.quantile(microseconds, 0.999)),
        float(np.max(microseconds)),
        stream.state_bytes,
        after,
        after - before,
    )


if __name__ == "__main__":
    print(json.dumps(clocked(Job(**json.loads(sys.argv[1])))._asdict()), flush=True)
