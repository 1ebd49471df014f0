"""Policy: what an owner of data allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import privacy
from ..aggregators import revealed
from ..aggregators.reveals import MORE, Sight
from ..errors import PlanError, PolicyError, number
from ..plan import Plan
from ..privacy.ledger import Guarantee, Ledger, taken_on_trust
from ..rounds import Unit


@dataclass(frozen=True)
class Policy:
    """What a data owner allows; a plan that asks for more is refused by the client itself, whatever
    the server says.

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
    min_noise: float = 0.0  # noise multiplier z
    reports: bool = True  # may losses and scores be told?
    # no plan whose rounds together could give away more, or nobody knows how much
    epsilon: float = math.inf
    delta: float = 1e-6
    unit: Unit = "client"  # what ε is about: the whole client, or one "example" of it

    def __post_init__(self) -> None:
        limits = {
            "min_cohort": self.min_cohort,
            "max_rounds": self.max_rounds,
            "min_noise": self.min_noise,
        }
        limits["epsilon"] = self.epsilon
        wrong = [name for name, value in limits.items() if not number(value) or not value >= 0]
        wrong += ["delta"] if not number(self.delta) or not 0 < self.delta < 1 else []
        wrong += ["unit"] if self.unit not in ("client", "example") else []
        wrong += ["sees"] if self.sees not in (None, "sum", "each") else []
        whole = number(self.colluding, whole=True) and self.colluding >= 1
        wrong += [] if whole else ["colluding"]
        wrong += [] if isinstance(self.stated, bool) else ["stated"]
        if wrong:
            raise PlanError(
                f"Policy({wrong[0]}={getattr(self, wrong[0])!r}) allows and forbids nothing.",
                "Limits are numbers ≥ 0, δ a probability, the unit client or example; what parties "
                "see is the sum or each, how many collude at least 1, and stated a yes or no.",
                "Write for example Policy(min_cohort=4, sees='sum').",
            )

    def check(
        self, plan: Plan, who: str, examples: int | None = None, before: Plan | None = None
    ) -> None:
        """Raise PolicyError where the plan asks for more than this of who has so many examples, if
        that is known.

        before: the survey that was asked first; what it gives away counts with the plan's rounds.
        """
        promise = self._promise(plan, examples, before)
        believed = self.stated or not privacy.stated_by(plan)
        trust = "" if believed else taken_on_trust(privacy.stated_by(plan))
        why = (privacy.unstated(plan) or trust) if self.min_noise else ""
        wrong = [
            (
                plan.sample.quorum < self.min_cohort,
                f"a quorum of {plan.sample.quorum}",
                f"at least {self.min_cohort}",
            ),
            (
                plan.rounds > self.max_rounds,
                f"{plan.rounds} rounds",
                f"at most {self.max_rounds:g}",
            ),
            (
                plan.sum_spec.noise.multiplier < self.min_noise or bool(why),
                f"a noise multiplier of {plan.sum_spec.noise.multiplier:g}"
                + (f", but {why}" if why else ""),
                f"at least {self.min_noise:g}",
            ),
            (
                bool(plan.reported) and not self.reports,
                f"reports of {', '.join(plan.reported)}",
                "no reports",
            ),
            (
                promise is not None and (promise.epsilon is None or promise.epsilon > self.epsilon),
                f"{promise}, after {'a survey and ' if before else ''}{plan.rounds} rounds",
                f"at most ε = {self.epsilon:g} at δ = {self.delta:g} for each {self.unit}",
            ),
            (
                promise is not None and bool(promise.stated) and not self.stated,
                f"{promise}",
                "no ε that rests on a stranger's word: its policy has no stated=True",
            ),
        ]
        self._check_sight(plan, who)
        for bad, found, allowed in wrong:
            if bad:
                raise PolicyError(
                    f"{who} does not take part: the plan has {found}.",
                    f"Its owner allows {allowed}.",
                    "Change the plan, or ask the owner to change the policy.",
                )

    def _check_sight(self, plan: Plan, who: str) -> None:
        """Raise PolicyError where a party may see more of who's vector than its owner allows."""
        if self.sees is None:
            return
        found = revealed(plan.aggregator)
        name = type(plan.aggregator).__name__
        if found.by == "nobody" or (found.by == "stranger" and not self.stated):
            says = (
                "nobody has stated what it reveals: the server may see each client's vector"
                if found.by == "nobody"
                else f"only its author states that the server {MORE[found.server]}"
            )
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
        what = "the sum" if self.sees == "sum" else "each vector, as far as it is stated"
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
        if self.unit == "client":
            ledger = privacy.planned_privacy(plan)
            first = privacy.planned_privacy(before) if before else Ledger()
        elif examples is None and plan.training.private:
            return None
        else:
            ledger = privacy.examples(plan, examples or 0)
            first = privacy.examples(before, examples or 0) if before else Ledger(unit="example")
        return first.merge(ledger).guarantee(self.delta)
