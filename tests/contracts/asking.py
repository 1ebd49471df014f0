"""What algorithms and aggregators ask of a client, answered at once."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from hansa.asks import AskedModel, alone, locally
from hansa.models import NO_LOCAL
from hansa.plan import Plan
from hansa.plan.client import contribute


def asked(said: Callable[[], Any]) -> Callable[[], Any]:
    """A contribution that asks for nothing."""

    def contribute() -> Generator[Any, Any, Any]:
        yield from ()
        return said()

    return contribute


def client_of(plan: Plan, broadcast: Any, client_state: Any, data: Any, at: Any) -> Any:
    """What a client says by the plan's algorithm, and what it remembers."""
    work = plan.algorithm.client(AskedModel(plan.model), broadcast, client_state, data, plan.training, at)
    made, _ = alone(locally(work, NO_LOCAL, plan.training), plan.perform)
    return made


def contribution(plan: Plan, *given: Any) -> Any:
    """A client's vector, and what it remembers."""
    return alone(contribute(plan, *given), plan.perform)
