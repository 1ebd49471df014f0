"""What a plan rests on secrets for: noise, and who is in a sample."""

from __future__ import annotations

from typing import Any

from ..known import own
from ..sample import Amplification


def amplification(plan: Any) -> Amplification | None:
    """What its sample does for privacy; None where that is nothing, or is not known."""
    if not plan.encoded_spec.hidden:
        return None
    found: Amplification | None = plan.sample.amplification
    return found


def clients_draw(plan: Any) -> bool:
    """Does a client draw noise itself, so that it may answer once in a round?"""
    return bool(plan.training.private) or plan.encoded_spec.noise.clients


def binds(plan: Any) -> bool:
    """Does anything rest on what a party says once, so that it must never say another thing in its
    place?

    Of a stranger's piece nobody knows what it draws for.
    """
    if plan.hides or plan.aggregator.parties:
        return True
    return not all(map(own, (*plan.pipe, plan.aggregator)))


def ours(plan: Any) -> bool:
    """Is all that a client runs beside its model hansa's own?"""
    return all(map(own, (plan.algorithm, *plan.pipe, plan.aggregator)))
