"""Marked point processes with exact samplers and exact likelihoods: what models of events can be held against."""

import abc
import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Forecasts(NamedTuple):
    """What can be known of events 2..n before they happen."""

    means: Float[np.ndarray, "sequences events_minus_1"]
    """E[tau] of the time since the event before."""
    marks: Float[np.ndarray, "sequences events_minus_1 marks"]
    """P(mark)."""


class PointProcess(abc.ABC):
    """A process that begins with an event at time 0, and is given by its intensities after each event.

    lambda_m(tau) is the rate of events of mark m at the time tau after the last event, given all that came before
    it. Then, with lambda = sum_m lambda_m and Lambda(tau) = int_0^tau lambda, the density of the time to the next event is
    lambda(tau) exp(-Lambda(tau)), and its mark is m with probability lambda_m(tau) / lambda(tau).
    """

    @property
    @abc.abstractmethod
    def marks(self) -> int:
        """How many marks there are."""

    @abc.abstractmethod
    def sample(
        self, rng: np.random.Generator, sequences: int, events: int
    ) -> tuple[Float[np.ndarray, "sequences events"], Int[np.ndarray, "sequences events"]]:
        """Times and marks of sequences of so many events each, the first at time 0."""

    @abc.abstractmethod
    def histories(
        self, times: Float[np.ndarray, "sequences events"], marks: Int[np.ndarray, "sequences events"]
    ) -> Float[np.ndarray, "sequences events state"]:
        """What the future depends on, right after each event."""

    @abc.abstractmethod
    def intensities(
        self, history: Float[np.ndarray, "*events state"], elapsed: Float[np.ndarray, "*events"]
    ) -> Float[np.ndarray, "*events marks"]:
        """lambda_m(tau), if nothing happens until then."""

    @abc.abstractmethod
    def compensator(
        self, history: Float[np.ndarray, "*events state"], elapsed: Float[np.ndarray, "*events"]
    ) -> Float[np.ndarray, "*events"]:
        """Lambda(tau). Of an event that happens, Exp(1)-distributed."""

    def log_likelihoods(
        self, times: Float[np.ndarray, "sequences events"], marks: Int[np.ndarray, "sequences events"]
    ) -> tuple[Float[np.ndarray, "sequences events_minus_1"], Float[np.ndarray, "sequences events_minus_1"]]:
        """Of events 2..n given all before them: log p(time), and log p(mark | time)."""
        history, elapsed = self.histories(times, marks)[:, :-1], np.diff(times)
        rates = self.intensities(history, elapsed)
        total = rates.sum(-1)
        of_mark = np.take_along_axis(rates, marks[:, 1:, None], -1)[..., 0]
        return np.log(total) - self.compensator(history, elapsed), np.log(of_mark / total)

    def forecasts(
        self, times: Float[np.ndarray, "sequences events"], marks: Int[np.ndarray, "sequences events"]
    ) -> Forecasts:
        """Means of times, and probabilities of marks without knowing the time.

        Integrals over tau = exp(x), in equal steps of x: the integrands fall to zero on both sides, so that the sum converges
        as fast as any rule (the trapezoidal rule's exponential convergence, Trefethen and Weideman 2014).
        """
        x = np.linspace(-20, 8, 281)
        tau = np.exp(x)[:, None]

        def of_sequence(history):
            density_of_marks = self.intensities(history, tau) * np.exp(-self.compensator(history, tau))[..., None]
            weights = density_of_marks * (tau * (x[1] - x[0]))[..., None]
            return np.sum(weights.sum(-1) * tau, 0), weights.sum(0)

        results = [of_sequence(history[None]) for history in self.histories(times, marks)[:, :-1]]
        return Forecasts(*map(np.stack, zip(*results, strict=True)))


@dataclasses.dataclass(frozen=True)
class Hawkes(PointProcess):
    """lambda_m(t) = base_m + sum_{t_j < t} jumps[m, k_j] exp(-decay_m (t - t_j)): events bring about events (Hawkes 1971)."""

    base: Float[np.ndarray, " marks"]
    jumps: Float[np.ndarray, "marks marks"]
    """jumps[m, k]: by how much an event of mark k raises the intensity of mark m."""
    decay: Float[np.ndarray, " marks"]

    @property
    def marks(self):
        return len(self.base)

    def sample(self, rng, sequences, events):
        """Exact, by composition (Dassios and Zhao 2013, algorithm 3.1).

        The next event is the first of two for every mark: one of the base rate, exponential; and one of the excitation y,
        which has exp(-y (1 - exp(-decay tau)) / decay) left at tau, and so may never come.
        """
        times, marks = np.zeros((sequences, events)), np.zeros((sequences, events), int)
        excitation = np.zeros((sequences, self.marks))
        marks[:, 0] = rng.choice(self.marks, sequences, p=self.base / self.base.sum())
        for i in range(1, events):
            excitation = excitation + self.jumps.T[marks[:, i - 1]]
            of_base = rng.exponential(1 / self.base, excitation.shape)
            with np.errstate(divide="ignore"):
                left = 1 - self.decay * rng.exponential(size=excitation.shape) / excitation
                of_excitation = np.where(left > 0, -np.log(np.maximum(left, 0)) / self.decay, np.inf)
            first = np.minimum(of_base, of_excitation)
            marks[:, i] = first.argmin(1)
            elapsed = first.min(1)
            times[:, i] = times[:, i - 1] + elapsed
            excitation = excitation * np.exp(-self.decay * elapsed[:, None])
        return times, marks

    def histories(self, times, marks):
        """The excitation of every mark, sum_j jumps[m, k_j] exp(-decay_m (t - t_j))."""
        excitation = np.zeros((*times.shape, self.marks))
        left = np.exp(-self.decay * np.diff(times)[..., None])
        for i in range(times.shape[1]):
            excitation[:, i] = self.jumps.T[marks[:, i]]
            if i > 0:
                excitation[:, i] += excitation[:, i - 1] * left[:, i - 1]
        return excitation

    def intensities(self, history, elapsed):
        return self.base + history * np.exp(-self.decay * elapsed[..., None])

    def compensator(self, history, elapsed):
        tau = elapsed[..., None]
        return np.sum(self.base * tau - history / self.decay * np.expm1(-self.decay * tau), -1)


@dataclasses.dataclass(frozen=True)
class Sinusoidal(PointProcess):
    """lambda_m(t) = rates_m (1 + amplitude sin(2 pi (t / period + phases_m))): a Poisson process with the hour of the day."""

    rates: Float[np.ndarray, " marks"]
    amplitude: float
    period: float
    phases: Float[np.ndarray, " marks"]
    """In periods."""

    @property
    def marks(self):
        return len(self.rates)

    def sample(self, rng, sequences, events):
        """Exact, by thinning (Lewis and Shedler 1979)."""
        bound = self.rates.sum() * (1 + self.amplitude)
        times = np.zeros((sequences, events))
        for i in range(1, events):
            t, waiting = times[:, i - 1].copy(), np.arange(sequences)
            while len(waiting):
                t[waiting] += rng.exponential(1 / bound, len(waiting))
                accepted = rng.uniform(0, bound, len(waiting)) < self._rates_at(t[waiting]).sum(-1)
                waiting = waiting[~accepted]
            times[:, i] = t
        shares = self._rates_at(times).cumsum(-1)
        marks = np.sum(rng.uniform(size=times.shape)[..., None] * shares[..., -1:] >= shares, -1)
        return times, marks

    def _rates_at(self, t):
        return self.rates * (1 + self.amplitude * np.sin(2 * np.pi * (t[..., None] / self.period + self.phases)))

    def histories(self, times, marks):
        """The time."""
        return times[..., None]

    def intensities(self, history, elapsed):
        return self._rates_at(history[..., 0] + elapsed)

    def compensator(self, history, elapsed):
        begin = 2 * np.pi * (history / self.period + self.phases)
        turn = 2 * np.pi * elapsed[..., None] / self.period
        # cos(begin) - cos(begin + turn) as a product: a difference would lose the digits of short times
        wave = 2 * np.sin(begin + turn / 2) * np.sin(turn / 2) * self.period / (2 * np.pi)
        return np.sum(self.rates * (elapsed[..., None] + self.amplitude * wave), -1)
