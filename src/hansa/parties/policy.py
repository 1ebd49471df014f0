"""Policy: what an owner of data allows.

A client compares its plan with it before its data is read, and again when its examples are counted:
whatever the server says, a plan that asks for more ends at the client in a PolicyError. Compared is
what is known: ε and sight that only a stranger states do not count, unless the owner believes him.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import privacy
from ..aggregators import revealed
from ..aggregators.reveals import MORE, Sight
from ..errors import PolicyError, number, refuse
from ..plan import Plan
from ..plan.layout import reported
from ..plan.noise import draws_in_public
from ..privacy.ledger import Guarantee, Ledger, taken_on_trust
from ..rounds import Unit


@dataclass(frozen=True)
class Policy:
    """What a data owner allows; a plan that asks for more is refused by the client itself, whatever
    the server says.

        Policy(min_cohort=10, sees="sum", epsilon=4.0, delta=1e-6)

    It reads the plan. That a server keeps to it (sums over the quorum, draws its noise) no client
    can see: where that matters, allow only aggregators that enforce it.
    """

    min_cohort: int = 1  # no plan whose rounds may end with fewer clients
    max_rounds: float = math.inf
    # what a party other than the owner may see of its vector, at most: the "sum" it is in, or
    # "each", that is, the vector; None allows all, and what nobody knows
    sees: Sight | None = None
    colluding: int = 1  # so many of server and helpers may collude, and still see no more
    # is a stranger's word believed for what its aggregator reveals, and its noise gives away?
    stated: bool = False
    # no plan whose server chooses who is added with whom: a cohort is drawn by the plan, in public
    drawn: bool = False
    min_noise: float = 0.0  # noise multiplier z
    reports: bool = True  # may losses and scores be told?
    # no plan whose rounds together could give away more, or nobody knows how much
    epsilon: float = math.inf
    delta: float = 1e-6
    unit: Unit = "client"  # what ε is about: the whole client, or one "example" of it

    def __post_init__(self) -> None:
        fits = {
            "min_cohort": _limits(self.min_cohort),
            "max_rounds": _limits(self.max_rounds),
            "min_noise": _limits(self.min_noise),
            "epsilon": _limits(self.epsilon),
            "delta": number(self.delta) and 0 < self.delta < 1,
            "unit": self.unit in ("client", "example"),
            "sees": self.sees in (None, "sum", "each"),
            "colluding": number(self.colluding, whole=True) and self.colluding >= 1,
            "stated": isinstance(self.stated, bool),
            "drawn": isinstance(self.drawn, bool),
        }
        refuse(
            (
                not right,
                f"Policy({name}={getattr(self, name)!r}) allows and forbids nothing.",
                "Limits are numbers ≥ 0, δ a probability, the unit client or example; what parties "
                "see is the sum or each, how many collude at least 1, and stated and drawn are a "
                "yes or no.",
                "Write for example Policy(min_cohort=4, sees='sum').",
            )
            for name, right in fits.items()
        )

    def check(
        self, plan: Plan, who: str, examples: int | None = None, before: Plan | None = None
    ) -> None:
        """Raise PolicyError where the plan asks for more than this of who has so many examples, if
        that is known.

        before: the survey that was asked first; what it gives away counts with the plan's rounds.
        """
        if self == ALL:
            return
        promise = self._promise(plan, examples, before)
        beyond = self._beyond(plan, promise, before)
        self._check_sight(plan, who)
        refuse(
            (
                (
                    bad,
                    f"{who} does not take part: the plan has {found}.",
                    f"Its owner allows {allowed}.",
                    "Change the plan, or ask the owner to change the policy.",
                )
                for bad, found, allowed in beyond
            ),
            PolicyError,
        )

    def _beyond(
        self, plan: Plan, promise: Guarantee | None, before: Plan | None
    ) -> tuple[tuple[bool, str, str], ...]:
        """Does the plan ask for more? What it has, and what is allowed, of all but sight."""
        noise = f"a noise multiplier of {plan.sum_spec.noise.multiplier:g}"
        why = self._unbelieved(plan)
        if why:
            noise += f", but {why}"
        after = f"{promise}, after {plan.rounds} rounds"
        if before:
            after = f"{promise}, after a survey and {plan.rounds} rounds"
        among = plan.sample.quorum
        added = plan.aggregator.added(plan.sample.most)
        if 0 < added < among:  # in sums of some of them
            among = plan.aggregator.min_clients(added)
        return (
            (among < self.min_cohort, f"a quorum of {among}", f"at least {self.min_cohort}"),
            (
                self.drawn and not draws_in_public(plan),
                f"{plan.aggregator!r}, with which the server chooses who is added with whom",
                "only sums over a cohort that the plan draws in public",
            ),
            (
                plan.rounds > self.max_rounds,
                f"{plan.rounds} rounds",
                f"at most {self.max_rounds:g}",
            ),
            (
                plan.sum_spec.noise.multiplier < self.min_noise or bool(why),
                noise,
                f"at least {self.min_noise:g}",
            ),
            (
                bool(reported(plan)) and not self.reports,
                f"reports of {', '.join(reported(plan))}",
                "no reports",
            ),
            (
                promise is not None and (promise.epsilon is None or promise.epsilon > self.epsilon),
                after,
                f"at most ε = {self.epsilon:g} at δ = {self.delta:g} for each {self.unit}",
            ),
            (
                promise is not None and bool(promise.stated) and not self.stated,
                f"{promise}",
                "no ε that rests on a stranger's word: its policy has no stated=True",
            ),
        )

    def _unbelieved(self, plan: Plan) -> str:
        """Why a multiplier that is asked for says nothing, if so: nobody, or only a stranger,
        states what such noise gives away.
        """
        if not self.min_noise:
            return ""
        if why := privacy.unstated(plan):
            return why
        if (author := privacy.stated_by(plan)) and not self.stated:
            return taken_on_trust(author)
        return ""

    def _check_sight(self, plan: Plan, who: str) -> None:
        """Raise PolicyError where a party may see more of who's vector than its owner allows."""
        if self.sees is None:
            return
        found = revealed(plan.aggregator)
        name = type(plan.aggregator).__name__
        if found.by == "nobody" or (found.by == "stranger" and not self.stated):
            says = f"only its author states that the server {MORE[found.server]}"
            if found.by == "nobody":
                says = "nobody has stated what it reveals: the server may see each client's vector"
            raise PolicyError(
                f"{who} does not take part: {plan.aggregator!r} is not hansa's own, and {says}.",
                f"Its owner allows {self._allowed()}.",
                f"Take VerifiedSum(helpers={self.colluding}); or let {name}.reveals() state it, "
                "and ask the owner for Policy(…, stated=True).",
            )
        if beyond := found.beyond(self.sees, self.colluding):
            raise PolicyError(
                f"{who} does not take part: with {plan.aggregator!r} {' and '.join(beyond)}.",
                f"Its owner allows {self._allowed()}.",
                f"Take VerifiedSum(helpers={self.colluding}), or ask the owner to change the "
                "policy.",
            )

    def _allowed(self) -> str:
        """What others may see, in words."""
        what = "each vector, as far as it is stated"
        if self.sees == "sum":
            what = "the sum"
        if self.colluding == 1:
            return f"that others see {what} at most"
        many = f"also where {self.colluding} of server and helpers collude"
        return f"that others see {what} at most, {many}"

    def _promise(self, plan: Plan, examples: int | None, before: Plan | None) -> Guarantee | None:
        """What the plan promises; None where no promise is asked for, or examples must be counted
        first.
        """
        if math.isinf(self.epsilon):
            return None
        if self.unit == "example" and examples is None and plan.training.private:
            return None
        first = Ledger(unit=self.unit)
        if before:
            first = self._ledger(before, examples)
        return first.merge(self._ledger(plan, examples)).guarantee(self.delta)

    def _ledger(self, plan: Plan, examples: int | None) -> Ledger:
        """What all rounds of a plan give away, of the unit that this policy protects."""
        if self.unit == "client":
            return privacy.planned_privacy(plan)
        return privacy.examples(plan, examples or 0)


def _limits(value: object) -> bool:
    """Is this a number ≥ 0?"""
    return number(value) and value >= 0


ALL = Policy()  # allows everything, as in most simulations
