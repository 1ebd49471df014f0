"""The canary audit: clients that are easily recognised take part or not, by a coin; guess which.

A canary is a client like all others, but that it moves the model along a direction of its own. Of
one run each of m canaries is one trial, since their directions do not meet: so one run is enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..aggregators import revealed
from ..app import App
from ..app.clients import clients_of
from ..app.federation import delta_of
from ..data import Examples
from ..errors import AppError, RoundError
from ..messages import SessionId
from ..models import NO_LOCAL, Drift, Gradient, Local, Model, ModelView, TrainResult
from ..parties.client import Client
from ..plan import Plan
from ..plan.server import decoder
from ..privacy import planned_privacy, spent_privacy, stop_at_budget
from ..privacy.ledger import Guarantee
from ..rand import Key
from ..rounds import Round
from ..spec import Vector
from ..state import State
from ..sums import Total
from ..training import Training
from ..transforms import Context, Transform
from .bounds import CONFIDENCE, SHARES, guessed, lower_bound
from .recording import RecordingRuntime, RecordMean, noise_at

MARK = "canary"  # the name of a canary's data
LONG = 1e9  # a canary's update is cut by every clip
LOOKED_AT = 10  # clients whose updates tell how long one is that nothing clips


@dataclass(frozen=True)
class Directions:
    """m orthogonal unit vectors in d dimensions, each on coordinates of its own.

        uᵢ = ±1/√w on w = ⌊d/m⌋ coordinates, and 0 elsewhere

    Coordinates are drawn without replacement, and signs by fair coins.
    """

    where: Vector  # [m, d // m] coordinates
    signs: Vector  # [m, d // m]

    @classmethod
    def of(cls, m: int, d: int, key: Key) -> Directions:
        """Draw them."""
        rng = key.rng()
        width = d // m
        where = rng.permutation(d)[: m * width].reshape(m, width)
        return cls(where, rng.choice([-1.0, 1.0], where.shape) / math.sqrt(width))

    def along(self, i: int, size: int) -> Vector:
        """uᵢ [size], of a model with so many numbers, of which the first d are trained."""
        u = np.zeros(size)
        u[self.where[i]] = self.signs[i]
        return u

    def scores(self, v: Vector) -> Vector:
        """⟨v, uᵢ⟩ for all i."""
        return np.asarray((v[self.where] * self.signs).sum(1))


@dataclass(frozen=True)
class CanaryModel(ModelView):
    """Another model; but whose data is a canary's moves along its direction, and trains nothing.

    So a canary is a client like all others: its algorithm, clip, weight, noise and aggregator are
    those of the plan.
    """

    model: Model
    steps: Vector = field(repr=False)  # [m] how far each goes: length, 0, or −length
    directions: Directions = field(repr=False)

    def train(
        self,
        x: Vector,
        data: Examples,
        training: Training,
        drift: Drift,
        key: Key,
        local: Local = NO_LOCAL,
        **more: Any,
    ) -> TrainResult:
        """x + sᵢ·uᵢ for canary i, and what the model learns for everybody else, of what it is
        told as well.
        """
        if (i := _canary(data)) is None:
            return self.model.train(x, data, training, drift, key, local, **more)
        return TrainResult(x + self.steps[i] * self.directions.along(i, self.size), 1, 0.0)

    def gradients(self, asks: Sequence[Gradient]) -> list[Vector]:
        """As the model; −sᵢ·uᵢ for canary i, so that a step along it moves as a training does."""
        return [self._gradient(ask) for ask in asks]

    def _gradient(self, ask: Gradient) -> Vector:
        """Of one client."""
        if (i := _canary(Examples.of(ask.data))) is None:
            return self.model.gradients([ask])[0]
        return np.asarray(-self.steps[i] * self.directions.along(i, self.size))

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """As the model; zeros for a canary."""
        if _canary(data) is not None:
            return dict.fromkeys(self.metrics, 0.0)
        return self.model.score(x, data, local)

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """As the model; a canary's data is always right."""
        if _canary(data) is None:
            self.model.check(data, who, training)


@dataclass(frozen=True)
class SumOfOthers(Transform):
    """Add up what those say who are no canaries, before any noise.

    Whoever knows their data can compute it, and the attacker does.
    """

    totals: dict[int, Total] = field(default_factory=dict, repr=False, compare=False)  # by round

    def encode(self, v: Vector, at: Context) -> Vector:
        """v, as it is; it is added to the total of its round, unless it is a canary's."""
        if not at.who.startswith(MARK):
            self.totals.setdefault(at.round, Total()).add(v)
        return v


@dataclass(frozen=True)
class Canaries:
    """What the canary audit found: scores, coins, and the ε that they prove at least.

    The ledger promises an ε that holds at most; so it is wrong where what is proven is more.
    """

    scores: Vector  # [m]
    truth: Vector  # [m] bool: did its coin let it take part?
    delta: float
    promise: Guarantee  # of the audited rounds, by the ledger
    rounds: int
    seen: str  # what the attacker saw
    confidence: float = CONFIDENCE

    @cached_property
    def best(self) -> tuple[float, int, int]:
        """(ε, guesses, right ones) of the share guessed at that proves most.

        Since all of SHARES are tried, each has a part of the doubt: the bound holds for all at once
        at this confidence.
        """
        m = len(self.truth)
        doubt = (1 - self.confidence) / len(SHARES)
        tried = [guessed(self.scores, self.truth, share) for share in SHARES]
        return max((lower_bound(m, r, v, self.delta, 1 - doubt), r, v) for r, v in tried)

    @property
    def epsilon(self) -> float:
        """The lower bound on ε."""
        return self.best[0]

    @property
    def most(self) -> float:
        """The bound with all guesses right: a larger ε so many canaries cannot show."""
        m = len(self.truth)
        doubt = (1 - self.confidence) / len(SHARES)
        every = [2 * max(1, int(m * share / 2)) for share in SHARES]
        return max(lower_bound(m, r, r, self.delta, 1 - doubt) for r in every)

    @property
    def broken(self) -> bool:
        """Does the lower bound contradict what the ledger promises?"""
        return self.promise.epsilon is not None and self.epsilon > self.promise.epsilon


def canaries(app: App, m: int | None = None, rounds: int | None = None) -> Canaries:
    """Run the app's plan with m more clients that are canaries, and guess which of them took part.

    Client i of them has a direction uᵢ. A fair coin decides whether it says uᵢ, as long as every
    clip lets it, or nothing (with a uniform sample, whose ε is about another in its place: −uᵢ).
    The attacker knows all directions and sees what the plan's ε is stated against: each mean that
    is published, or each vector where each client adds its own noise. Its score is Σ ⟨mean, uᵢ⟩
    over the rounds. What the other clients say, but for noise, it knows as well, and takes out.
    m: as many as the model has trained numbers, at most 1,000, unless it is given. AppError where
    the model grows, or has no room for 10.

    (Steinke, Nasr and Jagielski 2023, Alg. 1, white box, with clients as examples)
    """
    app = app.asked()
    _check_readers(app.known_plan)
    m = _number(app.known_plan.model, m)
    trial = _trial(app, m, rounds)
    plan = trial.plan
    secret = app.secret or Key.fresh()
    tap = RecordingRuntime(_clients(app, plan, m, secret), plan.seed)
    scores = np.zeros(m)
    past = list[Round]()
    before = plan.start()
    for state in _rounds(app, plan, tap, trial.population, secret):
        if not state.skipped:
            received = trial.received(before, state, tap.said)
            # rounds count alike, whatever scale a learnt clip gives them
            scores += received / (received.std() or 1.0)
        past = [*past, state.happened]
        before = state
    promise = spent_privacy(plan, past, trial.population).guarantee(delta_of(app))
    return Canaries(scores, trial.truth, delta_of(app), promise, len(past), trial.sees)


@dataclass(frozen=True)
class Trial:
    """A plan with canaries among its clients, and what the attacker knows of them beforehand."""

    plan: Plan
    directions: Directions
    truth: Vector  # [m] bool: did its coin let it take part? This alone it does not know
    swapped: bool  # does a canary that stays out say −uᵢ, and not nothing?
    others: SumOfOthers
    noisy: int  # where in the audited plan's pipe the noise comes
    population: int

    @property
    def sees(self) -> str:
        """What the attacker sees, in words."""
        if _each_is_seen(self.plan):
            return "each client's vector, as it is sent"
        return "the mean that each round publishes"

    def received(self, before: State, state: State, said: Mapping[str, Vector]) -> Vector:
        """⟨·, uᵢ⟩ for all i of what the attacker sees of a round, without what it knows anyway."""
        view = RoundView(self.plan, before, self.directions, self.population)
        if _each_is_seen(self.plan) and said:
            found = view.each(said)
        elif state.transforms[0] is None:
            raise AppError(
                f"What clients say to {self.plan.aggregator!r} cannot be read, and it takes no "
                "sum.",
                "The attack scores vectors in the form that the plan's pipe ends with, or their "
                "mean.",
                "Leave out the attack `canaries`.",
            )
        else:
            mean = state.transforms[0][self.plan.spec.slice("delta")]
            found = self.directions.scores(mean)
            # in a sample of fixed size, who else is in it says something of the canaries
            if not self.swapped:
                found = _apart(found, view.others(self.others, self.noisy))
        self.others.totals.clear()
        return found


def _check_readers(plan: Plan) -> None:
    """AppError where a transform reads the examples of a client, of which a canary has none."""
    if curious := [type(step).__name__ for step in plan.pipe if step.reads]:
        raise AppError(
            f"A canary has no examples that {curious[0]} could read.",
            "What it says is made up, and nothing is trained on what it has.",
            "Leave out the attack `canaries`.",
        )


def _number(model: Model, m: int | None) -> int:
    """How many canaries there are: m, or as many as there is room for; else AppError."""
    trainable = model.trainable
    if m is None:
        m = min(1000, trainable)
    found = f"of {trainable} trained numbers"
    if model.traits.grows:
        found = "that grows"
    if model.traits.grows or not 10 <= m <= trainable:
        raise AppError(
            f"{m} canaries cannot be told apart in a model {found}.",
            "Each has coordinates of its own for all rounds, and fewer than 10 prove nothing.",
            f"Write a number from 10 to {trainable}, or audit another model.",
        )
    return m


def _trial(app: App, m: int, rounds: int | None) -> Trial:
    """The app's plan with m canaries, whose coins and directions grow from its seed."""
    base = app.known_plan
    key = base.key.child("audit")
    population = len(app.data) + m
    truth = key.child("coins").rng().random(m) < 0.5
    secret = planned_privacy(base, population).secret
    swapped = any(release.relation == "uniform" for release in secret)
    length = _length(app)
    steps = np.where(truth, length, 0.0)
    if swapped:
        steps = np.where(truth, length, -length)
    directions = Directions.of(m, base.model.trainable, key.child("directions"))
    others = SumOfOthers()
    noisy = noise_at(base)
    plan = replace(
        base,
        model=CanaryModel(base.model, steps, directions),
        pipe=(RecordMean(), *base.pipe[:noisy], others, *base.pipe[noisy:]),
        rounds=min(rounds or base.rounds, base.rounds),
    )
    return Trial(plan, directions, truth, swapped, others, noisy, population)


def _each_is_seen(plan: Plan) -> bool:
    """Is each client's vector seen by itself, and not a sum or a mean of many?

    So it is where no sum hides it, and ε is stated of a client's own noise, or there is none.
    """
    noise = plan.encoded_spec.noise
    seen = bool(revealed(plan.aggregator).beyond("sum"))
    return seen and (noise.alone or not noise.multiplier)


def _rounds(
    app: App, plan: Plan, tap: RecordingRuntime, population: int, secret: Key
) -> Iterator[State]:
    """The rounds of the plan, by the app's own loop, as far as its budget goes."""
    states = app.loop(plan, tap, None, secret)
    if not app.budget:
        return states
    return stop_at_budget(states, plan, app.budget, population)


def _apart(received: Vector, known: Vector) -> Vector:
    """What of r, received, has nothing to do with k, which is known:  r − k·⟨r, k⟩/⟨k, k⟩."""
    square = float(known @ known)
    if not square:
        return received
    return received - known * (float(received @ known) / square)


@dataclass(frozen=True)
class RoundView:
    """What can be made of the vectors of one round, with the transforms as they stood before it."""

    plan: Plan
    before: State  # the round
    directions: Directions
    population: int

    def each(self, reply: Mapping[str, Vector]) -> Vector:
        """⟨vᵢ, uᵢ⟩ of what canary i has said, vᵢ, by name; 0 where it was not asked."""
        found = np.zeros(len(self.directions.where))
        for i in range(len(found)):
            if (one := reply.get(_name(i))) is not None:
                v = self._delta(self.plan, one, 1)
                found[i] = (v[self.directions.where[i]] * self.directions.signs[i]).sum()
        return found

    def others(self, known: SumOfOthers, noisy: int) -> Vector:
        """⟨v, uᵢ⟩ for all i, of the mean v of those who are no canaries, without noise."""
        total = known.totals.get(self.before.round)
        if total is None or not total.count:
            return np.zeros(len(self.directions.where))
        # RecordMean, and what comes before the noise
        quiet = replace(self.plan, pipe=self.plan.pipe[: noisy + 1])
        return self.directions.scores(self._delta(quiet, total.value(), total.count))

    def _delta(self, plan: Plan, total: Vector, n: int) -> Vector:
        """The mean update that is decoded of a sum of n vectors."""
        round = self.before.round
        memo = self.before.transforms[: len(plan.pipe)]
        told: dict[str, Any] = {"population": self.population, "memo": memo}
        at = plan.context(round, SessionId(number=round), secret=Key.fresh(), **told)
        try:
            return np.asarray(decoder(plan, at)(total, n)[0][plan.spec.slice("delta")])
        except RoundError:  # noise outweighs the weights: nothing is learnt of it
            return np.zeros(plan.spec.blocks["delta"])


def _length(app: App) -> float:
    """How far a canary goes: beyond every clip; where there is none, as far as the clients do.

    ‖canary‖₂ = median of ‖yᵢ − x‖₂ over LOOKED_AT clients at most
    """
    plan = app.known_plan
    if math.isfinite(plan.encoded_spec.bounds.get("delta", math.inf)):
        return LONG
    x = plan.start().x
    norms = list[float]()
    for client in clients_of(app)[:LOOKED_AT]:
        key = plan.key.child("length", client.who)
        training = plan.training.at(0, plan.rounds).of(client.who, client.parts[2])
        trained = plan.model.train(x, client.parts[0], training, Drift(), key)
        norms.append(float(np.linalg.norm(trained.x - x)))
    return float(np.median(norms)) or 1.0


def _clients(app: App, plan: Plan, m: int, secret: Key) -> list[Client]:
    """The app's clients and the canaries, which weigh as much as any client can.

    A canary has so many examples that are left for training once some are held out.
    """
    real = [replace(client, plan=plan) for client in clients_of(app, secret)]
    cap = plan.encoded_spec.bounds.get("weight", math.inf)
    if not math.isfinite(cap):
        cap = max(client.parts[2] for client in real)
    n = math.ceil(cap)
    if plan.training.validation:
        n = math.ceil((n + 1) / (1 - plan.training.validation))
    nothing = np.broadcast_to(0, n)
    data = ({MARK: np.broadcast_to(i, n), "y": nothing} for i in range(m))
    return real + [Client(_name(i), plan, one, secret=secret) for i, one in enumerate(data)]


def _name(i: int) -> str:
    """What canary i is called."""
    return f"{MARK}-{i:06d}"


def _canary(data: Examples) -> int | None:
    """Which canary's data this is; None for a client's."""
    if not isinstance(data.arrays, dict) or MARK not in data.arrays:
        return None
    return int(data.arrays[MARK][0])
