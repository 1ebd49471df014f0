"""An app with other settings: another plan, or another early end.

path → value, as `--set` and TOML have them: what begins with `stop` is about the early end, all
else about the plan. The app itself is not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ..config import set_
from ..config.run import of_stop
from ..plan import Plan
from .federation import Federation
from .stopping import EarlyStopping

if TYPE_CHECKING:
    from . import App

Declared = TypeVar("Declared", bound=Federation)


def with_plan(app: App, change: Callable[[Plan], Plan]) -> App:
    """The app with another plan; one that hangs on a survey is changed when it is known.

    What `change` raises is therefore raised now or, after the survey, then.
    """
    plan = app.plan
    if isinstance(plan, Plan):
        return replace(app, plan=change(plan))
    return replace(app, plan=lambda found: change(plan(found)))


def with_stop(app: Declared, settings: Mapping[str, Any]) -> Declared:
    """The app whose rounds end early as these settings say, of which others are left alone."""
    _, of_it = of_stop(settings)
    return set_(app, of_it, {EarlyStopping.__name__: EarlyStopping})


def with_settings(
    app: App, settings: Mapping[str, Any], names: Mapping[str, Any] | None = None
) -> App:
    """The app with other values: path → value, as `--set` has them; `names` are pieces of its own.

    AppError for a path that leads nowhere, PlanError for a plan that cannot mean anything.
    """
    return with_stop(with_plan(app, lambda plan: plan_with(plan, settings, names)), settings)


def plan_with(
    plan: Plan, settings: Mapping[str, Any], names: Mapping[str, Any] | None = None
) -> Plan:
    """The plan with those of these values that are about it."""
    of_plan, _ = of_stop(settings)
    return set_(plan, of_plan, names)
