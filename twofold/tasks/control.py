"""How should a robot act, to earn the return that is asked for? It is learned from episodes that others made."""

import dataclasses
import functools
from typing import TYPE_CHECKING, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar

from ..data.environments import ENVIRONMENTS
from ..data.minari_sets import ControlSet, Episodes, load_control
from ..data.recording import QUALITIES, dataset_id
from ..errors import InputError
from ..layers.mixers import mixer_named
from ..models import Policy, policy_features
from ..train import fit
from ..train.mesh import over_batch
from .matched import matched_model
from .rollout import Act, Rollout, acting, rollout
from .task import Metrics, Task
from .words import ActionWords

EPISODES = 10
"""A policy is measured in this many episodes."""
SHARES = (0.25, 0.5, 0.75, 1.0, 1.25)
"""A policy is asked for these shares of the return, each in as many episodes."""
CLONING_STEPS = 3000
"""Behaviour cloning is trained for this many steps."""
VALIDATED = 256
"""The validation loss is over this many windows."""

if TYPE_CHECKING:
    EnvironmentName = str
    Quality = str
else:
    EnvironmentName = Literal[tuple(ENVIRONMENTS)]  # the command line shows these choices
    Quality = Literal[QUALITIES]


class Windows(eqx.Module):
    """All steps of some episodes, one after another, and where windows begin. Padding follows, for windows at the end."""

    tokens: Float[Array, "padded tokens"]
    actions: Float[Array, "padded actions"]
    left: Int[Array, " steps"]
    """How many steps the episode still has, this one included."""
    starts: Int[Array, " windows"]


@dataclasses.dataclass(frozen=True)
class Control(Task[ControlSet]):
    """How should a robot act, to earn the return that is asked for?

    A policy learns the actions of recorded episodes, given the return that was still to come (Chen et al. 2021, *Decision
    Transformer*). It is trained on windows of episodes, and then acts step by step. A model is measured by the returns of 10
    episodes. The score is D4RL's: 0 is a random policy, and 100 an expert.
    """

    env: EnvironmentName = "hopper"
    """The robot."""
    quality: Quality = "medium"
    """Which data set of `twofold data control` is taken."""
    dataset: str | None = None
    """A data set in Minari's format, in place of these: the path of a folder, or a name in Minari's folder."""
    tokens: Literal["one", "three"] = "one"
    """How many tokens of the model a step of time is. With three, the previous action, the return and the observation have a
    token each, as in the paper."""
    context: int | None = 20
    """The Transformer attends to this many steps; to the whole episode for None."""
    window: int = 64
    """A training sequence has this many steps of an episode."""
    asked: float | None = None
    """The return that the policy is asked for. If not given, it is the largest return of an episode in the data."""
    held_out: float = 0.1
    """This share of the episodes is used for validation."""
    depth: int = 3
    steps: int = 5000
    batch: int = 16
    weight_decay: float = 1e-4
    patience: int = 40

    name = "control"
    headline: ClassVar = {"score": True}
    positive = (*Task.positive, "window")

    def check(self) -> None:
        super().check()
        if self.env not in ENVIRONMENTS:
            raise InputError(f"unknown env {self.env!r}; the environments are {', '.join(ENVIRONMENTS)}")
        if self.quality not in QUALITIES:
            raise InputError(f"unknown quality {self.quality!r}; the qualities are {', '.join(QUALITIES)}")
        if self.tokens not in ("one", "three"):
            raise InputError(f"tokens is {self.tokens!r}; it must be 'one' or 'three'")
        if self.context is not None and self.context < 1:
            raise InputError(f"context is {self.context}; it must be at least 1")
        if self.asked is not None and not np.isfinite(self.asked):
            raise InputError(f"asked is {self.asked}; it must be a finite number")
        if not 0 < self.held_out < 1:
            raise InputError(f"held_out is {self.held_out}; it must be a share between 0 and 1")

    @property
    def data_name(self) -> str:
        return f"{self.env}-{self.quality}" if self.dataset is None else self.dataset.strip("/.").replace("/", "-")

    @property
    def model_name(self) -> str:
        whole = "capacity" in mixer_named(self.mixer).options and self.context is None
        return self.mixer + "-whole-episode" * whole + "-three-tokens" * (self.tokens == "three")

    def load(self) -> ControlSet:
        return load_control(self.dataset or dataset_id(self.env, self.quality), self.env)

    def arrays(self, data: ControlSet) -> dict[str, Windows]:
        train, validation = self._split(data)
        steps = len(validation.rewards)
        some = np.linspace(0, steps - 1, min(steps, VALIDATED)).astype(int)
        return {
            "train": self._windows(train, np.arange(len(train.rewards))),
            "validation": self._windows(validation, some),
        }

    def _split(self, data: ControlSet) -> tuple[Episodes, Episodes]:
        """The episodes to train on, and those that are held out. The split never changes."""
        count = len(data.episodes.lengths)
        held_out = min(max(1, round(self.held_out * count)), count - 1)
        shuffled = np.random.default_rng(0).permutation(count)
        return data.episodes.at(shuffled[held_out:]), data.episodes.at(shuffled[:held_out])

    def _windows(self, part: Episodes, starts: np.ndarray) -> Windows:
        left = np.concatenate([np.arange(n, 0, -1) for n in part.lengths]).astype(np.int32)
        padding = [(0, self.window), (0, 0)]  # so that a window may begin anywhere
        tokens, actions = np.pad(part.tokens, padding), np.pad(part.actions, padding)
        return Windows(*(jnp.asarray(x) for x in (tokens, actions, left, starts)))

    def model(self, data: ControlSet, key: PRNGKeyArray) -> Policy:
        """A policy with random weights, for raw tokens."""
        train, _ = self._split(data)
        observations, actions = train.observations.shape[1], train.actions.shape[1]
        seen = train.tokens[:, : 1 + observations].astype(float)
        scale = seen.std(0)
        of_step = 3 if self.tokens == "three" else 1
        inner = matched_model(
            policy_features(observations, actions, of_step == 3),
            actions,
            mixer=self.mixer,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            capacity=of_step * (self.context or max(ENVIRONMENTS[self.env].steps, data.episodes.lengths.max())),
            key=key,
        )
        scale = np.where(scale > 1e-6, scale, 1)
        return Policy(inner, mean=seen.mean(0), scale=scale, low=data.low, high=data.high, split=of_step == 3)

    def loss(self, model, arrays, key):
        """The mean squared error of the actions in random windows, in units of half the range of actions."""
        train = arrays["train"]
        starts = jax.random.choice(key, train.starts, (self.batch,))
        return self._error(functools.partial(over_batch, self.chunked(model)), train, starts, model)

    def validation(self, model, arrays):
        part = arrays["validation"]
        return self._error(lambda xs: lax.map(model, xs, batch_size=64), part, part.starts, model)

    def _error(self, outputs, part: Windows, starts, model: Policy) -> Scalar:
        steps = starts[:, None] + jnp.arange(self.window)
        real = jnp.arange(self.window) < part.left[starts][:, None]
        half = (jnp.asarray(model.high, part.actions.dtype) - jnp.asarray(model.low, part.actions.dtype)) / 2
        errors = (outputs(part.tokens[steps]) - part.actions[steps]) / half
        return jnp.sum(jnp.where(real[:, :, None], errors**2, 0)) / (jnp.sum(real) * len(model.low))

    def deployed(self, model: Policy, data: ControlSet) -> Policy:
        return model

    def words(self, data: ControlSet) -> ActionWords:
        """Observations and actions have no names in Minari. So they are observation_0, ... and previous_action_0, ..."""
        observations = [f"observation_{i}" for i in range(data.episodes.observations.shape[1])]
        actions = [f"previous_action_{i}" for i in range(len(data.low))]
        low, high = (tuple(map(float, bound)) for bound in (data.low, data.high))
        return ActionWords(("return_to_go", *observations, *actions), low, high)

    def evaluate(self, model: Policy, data: ControlSet) -> Metrics:
        """Measure the returns of the policy, with their score and the steps of the episodes. The seeds are always the same.

        The rows "test, asked for 25%", ... have the returns when the policy is asked for these shares of the return. The row
        "behaviour" has the episodes of the data. "behaviour cloning" is a multilayer perceptron that was trained to give the
        action for the present observation. "random" takes any action.
        """
        asked = float(data.episodes.returns.max()) if self.asked is None else self.asked
        robots = EPISODES * len(SHARES)
        each = asked * np.repeat(SHARES, EPISODES)
        done = rollout(*acting(model, robots), self.env, asked=each, seeds=[*range(EPISODES)] * len(SHARES))
        rows = {
            f"test, asked for {share:.0%}": {"asked": asked * share} | _row(self.env, Rollout(*of_share), data)
            for share, of_share in zip(SHARES, np.split(np.array(done), len(SHARES), axis=1), strict=True)
        }
        test = {name: value for name, value in rows["test, asked for 100%"].items() if name != "asked"}
        return {"test": test} | rows | _baselines(self.env, self.dataset or dataset_id(self.env, self.quality))

    def example(self, data: ControlSet) -> Float[Array, "time in"]:
        return jnp.asarray(data.episodes.tokens[: data.episodes.lengths[0]])


def _row(environment: str, done: Rollout, data: ControlSet) -> dict[str, float]:
    value = float(np.mean(done.returns))
    row = {"return": value, "deviation": float(np.std(done.returns)), "steps": float(np.mean(done.steps))}
    score = ENVIRONMENTS[environment].score(value)
    if score is not None:
        row["score"] = score
    if "returns" in data.made:
        row["of our best"] = 100 * value / data.made["returns"]["best"]["mean"]
    return row


@functools.cache  # all models of a data set are compared with the same
def _baselines(environment: str, dataset: str) -> Metrics:
    data = load_control(dataset, environment)
    random, shape = np.random.default_rng(0), (EPISODES, len(data.low))
    policies: dict[str, Act] = {
        "behaviour cloning": _cloned(data),
        "random": lambda state, xs: (state, random.uniform(data.low, data.high, shape)),
    }
    rows = {"behaviour": Rollout(data.episodes.returns, data.episodes.lengths)} | {
        name: rollout(act, None, environment, asked=0.0, seeds=range(EPISODES)) for name, act in policies.items()
    }
    return {name: _row(environment, done, data) for name, done in rows.items()}


def _cloned(data: ControlSet, *, batch: int = 256) -> Act:
    """A policy of the present observation alone: a perceptron of two layers of 128 neurons."""
    seen, (low, high) = data.episodes.observations, (jnp.asarray(x) for x in (data.low, data.high))
    scale = seen.std(0)
    mean, scale = seen.mean(0), np.where(scale > 1e-6, scale, 1)
    arrays = {"seen": jnp.asarray((seen - mean) / scale), "actions": jnp.asarray(data.episodes.actions)}

    def action(model, xs):
        return low + (high - low) * (1 + jnp.tanh(jax.vmap(model)(xs))) / 2

    def loss(model, arrays, key):
        chosen = jax.random.randint(key, (batch,), 0, len(arrays["seen"]))
        return jnp.mean((action(model, arrays["seen"][chosen]) - arrays["actions"][chosen]) ** 2)

    def make_one(key):
        return eqx.nn.MLP(seen.shape[1], len(data.low), 128, 2, key=key)

    models = eqx.filter_vmap(make_one)(jax.random.split(jax.random.key(0), 1))
    trained = fit(
        loss,
        models,
        arrays,
        optimiser=Control(steps=CLONING_STEPS).optimiser(),
        steps=CLONING_STEPS,
        key=jax.random.key(1),
        shared_data=True,
        records=1,
        progress=False,
    )
    model = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, trained.models)
    first = 1 + seen.shape[1]
    act = jax.jit(lambda xs: action(model, (xs[:, 1:first] - mean) / scale))
    return lambda state, xs: (state, act(xs))
