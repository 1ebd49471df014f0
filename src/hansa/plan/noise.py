"""What a plan rests on secrets for: noise, and who is in a sample."""

from __future__ import annotations

from typing import Any

from ..aggregators.arrivals import arriving
from ..known import own
from ..sample import Amplification


def amplification(plan: Any) -> Amplification | None:
    """What its sample does for privacy; None where that is nothing, or is not known."""
    if not plan.encoded_spec.hidden:
        return None
    found: Amplification | None = plan.sample.amplification
    return found


def once(plan: Any) -> bool:
    """May a client answer in one session of a round alone? It draws noise itself, or a sum hides it
    among others, whose difference from another sum would show it.
    """
    noisy = bool(plan.training.private) or plan.encoded_spec.noise.clients
    return noisy or plan.aggregator.identified


def draws_in_public(plan: Any) -> bool:
    """Is who is asked drawn from the plan's seed, so that each client may see it? So it is where
    clients hide each other, and no helper looks to it that none is made up.
    """
    aggregator = plan.aggregator
    return aggregator.identified and not aggregator.parties and not arriving(aggregator)


def binds(plan: Any) -> bool:
    """Does anything rest on what a party says once, so that it must never say another thing in its
    place?

    Of a stranger's piece nobody knows what it draws for.
    """
    if plan.hides or plan.aggregator.identified:
        return True
    return not all(map(own, (*plan.pipe, plan.aggregator)))


def ours(plan: Any) -> bool:
    """Is all that a client runs beside its model hansa's own?"""
    return all(map(own, (plan.algorithm, *plan.pipe, plan.aggregator)))
