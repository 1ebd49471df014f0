"""Policy: what an owner of data allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import privacy
from ..errors import PlanError, PolicyError, number
from ..known import own
from ..plan import Plan
from ..privacy.ledger import Guarantee, Ledger, Unit, taken_on_trust


@dataclass(frozen=True)
class Policy:
    """What a data owner allows; a plan that asks for more is refused by the client itself, whatever
    the server says.

    It reads the plan. That a server keeps to it (sums over the quorum, draws its noise) no client
    can see: where that matters, allow only aggregators that enforce it.
    """

    min_cohort: int = 1  # no plan whose rounds may end with fewer clients
    max_rounds: float = math.inf
    # names of hansa's own, such as {"VerifiedSum"}; None allows all
    aggregators: frozenset[str] | None = None
    min_noise: float = 0.0  # noise multiplier z
    reports: bool = True  # may losses and scores be told?
    # no plan whose rounds together could give away more, or nobody knows how much
    epsilon: float = math.inf
    delta: float = 1e-6
    unit: Unit = "client"  # what ε is about: the whole client, or one "example" of it
    stated: bool = False  # is noise of strangers what its class states? hansa cannot check that

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
        wrong += ["aggregators"] if not isinstance(self.aggregators, set | frozenset | None) else []
        if wrong:
            raise PlanError(
                f"Policy({wrong[0]}={getattr(self, wrong[0])!r}) allows and forbids nothing.",
                "Limits are numbers ≥ 0, δ a probability, the unit client or example, and "
                "aggregators a set of names.",
                "Write for example Policy(min_cohort=4, aggregators=frozenset({'VerifiedSum'})).",
            )

    def check(
        self, plan: Plan, who: str, examples: int | None = None, before: Plan | None = None
    ) -> None:
        """Raise PolicyError where the plan asks for more than this of who has so many examples, if
        that is known.

        before: the survey that was asked first; what it gives away counts with the plan's rounds.
        """
        name = type(plan.aggregator).__name__
        promise = self._promise(plan, examples, before)
        strange = "" if own(plan.aggregator) else ", which is not hansa's own"
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
                self.aggregators is not None and (name not in self.aggregators or bool(strange)),
                f"aggregator {name}{strange}",
                "one of " + ", ".join(sorted(self.aggregators or ())),
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
        for bad, found, allowed in wrong:
            if bad:
                raise PolicyError(
                    f"{who} does not take part: the plan has {found}.",
                    f"Its owner allows {allowed}.",
                    "Change the plan, or ask the owner to change the policy.",
                )

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
