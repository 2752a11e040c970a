"""Marked point processes with exact samplers and exact likelihoods, to compare models of events with."""

import abc
import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Forecasts(NamedTuple):
    """The best forecasts of the events 2..n, each before it happens."""

    means: Float[np.ndarray, "sequences events_minus_1"]
    """E[tau], where tau is the time since the event before."""
    marks: Float[np.ndarray, "sequences events_minus_1 marks"]
    """The probability of each mark."""


class PointProcess(abc.ABC):
    """A process that begins with an event at time 0. Its intensities after each event define it.

    lambda_m(tau) is the rate of events with mark m at the time tau after the last event, given all events so far. Let
    lambda = sum_m lambda_m and Lambda(tau) = int_0^tau lambda. Then the time to the next event has the density
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
        """The times and the marks of `sequences` sequences with `events` events each. The first event is at time 0."""

    @abc.abstractmethod
    def histories(
        self, times: Float[np.ndarray, "sequences events"], marks: Int[np.ndarray, "sequences events"]
    ) -> Float[np.ndarray, "sequences events state"]:
        """The numbers that the future depends on, right after each event."""

    @abc.abstractmethod
    def intensities(
        self, history: Float[np.ndarray, "*events state"], elapsed: Float[np.ndarray, "*events"]
    ) -> Float[np.ndarray, "*events marks"]:
        """lambda_m(tau), where `elapsed` is tau and no event happens before it."""

    @abc.abstractmethod
    def compensator(
        self, history: Float[np.ndarray, "*events state"], elapsed: Float[np.ndarray, "*events"]
    ) -> Float[np.ndarray, "*events"]:
        """Lambda(tau), where `elapsed` is tau. At the time of the next event, it has the distribution Exp(1)."""

    def log_likelihoods(
        self, times: Float[np.ndarray, "sequences events"], marks: Int[np.ndarray, "sequences events"]
    ) -> tuple[Float[np.ndarray, "sequences events_minus_1"], Float[np.ndarray, "sequences events_minus_1"]]:
        """log p(time) and log p(mark | time) of the events 2..n, each given all events before it."""
        history, elapsed = self.histories(times, marks)[:, :-1], np.diff(times)
        rates = self.intensities(history, elapsed)
        total = rates.sum(-1)
        of_mark = np.take_along_axis(rates, marks[:, 1:, None], -1)[..., 0]
        return np.log(total) - self.compensator(history, elapsed), np.log(of_mark / total)

    def forecasts(
        self, times: Float[np.ndarray, "sequences events"], marks: Int[np.ndarray, "sequences events"]
    ) -> Forecasts:
        """The means of the times of the events 2..n, and the probabilities of their marks before the time is known.

        The integrals over tau = exp(x) are sums over equal steps of x. The integrands fall to zero on both sides, so these
        sums converge exponentially (Trefethen and Weideman 2014, *The exponentially convergent trapezoidal rule*).
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
    """lambda_m(t) = base_m + sum_{t_j < t} jumps[m, k_j] exp(-decay_m (t - t_j)): events cause events (Hawkes 1971)."""

    base: Float[np.ndarray, " marks"]
    jumps: Float[np.ndarray, "marks marks"]
    """An event of mark k raises the intensity of mark m by jumps[m, k]."""
    decay: Float[np.ndarray, " marks"]

    @property
    def marks(self):
        return len(self.base)

    def sample(self, rng, sequences, events):
        """Exact samples, by composition (Dassios and Zhao 2013, algorithm 3.1).

        Every mark has two candidates for its next event, and the earliest candidate of all marks is the next event. The
        first candidate comes from the base rate, and its time is exponential. The second comes from the excitation y. It has
        not come by tau with probability exp(-y (1 - exp(-decay tau)) / decay), so it may never come.
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
    """lambda_m(t) = rates_m (1 + amplitude sin(2 pi (t / period + phases_m))): a Poisson process whose rate rises and falls."""

    rates: Float[np.ndarray, " marks"]
    amplitude: float
    period: float
    phases: Float[np.ndarray, " marks"]
    """The phase of each mark, in periods."""

    @property
    def marks(self):
        return len(self.rates)

    def sample(self, rng, sequences, events):
        """Exact samples, by thinning (Lewis and Shedler 1979)."""
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
        """The time of each event: nothing else matters."""
        return times[..., None]

    def intensities(self, history, elapsed):
        return self._rates_at(history[..., 0] + elapsed)

    def compensator(self, history, elapsed):
        begin = 2 * np.pi * (history / self.period + self.phases)
        turn = 2 * np.pi * elapsed[..., None] / self.period
        # This is cos(begin) - cos(begin + turn) as a product. The difference itself would lose the digits of short times.
        wave = 2 * np.sin(begin + turn / 2) * np.sin(turn / 2) * self.period / (2 * np.pi)
        return np.sum(self.rates * (elapsed[..., None] + self.amplitude * wave), -1)
