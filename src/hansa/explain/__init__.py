"""A plan in words, for whoever must decide whether to take part: what leaves a client, and who gets
to see what.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..plan import Plan
from ..privacy import stated_by
from ..privacy.ledger import default_delta
from .privacy import of_clients, of_examples
from .rounds import rounds
from .sight import sight, visible
from .source import difference, expression
from .vector import BEFORE, asked, learnt, sent, steps
from .warnings import warnings
from .words import Section

__all__ = [
    "BEFORE",
    "Explanation",
    "Section",
    "asked",
    "difference",
    "explain",
    "expression",
    "visible",
]


@dataclass(frozen=True)
class Explanation:
    """What a plan means, as text and tables that a terminal and a page show alike."""

    sections: tuple[Section, ...]
    warnings: tuple[str, ...]
    stated: tuple[str, ...] = ()  # classes outside hansa whose word on their noise ε rests on

    def __str__(self) -> str:
        """All of it as plain text."""
        lines = []
        for section in self.sections:
            lines += [section.title, "=" * len(section.title), section.text]
            lines += [
                "  " + " | ".join(row)
                for row in ((section.head,) if section.head else ()) + section.rows
            ]
            lines.append("")
        return "\n".join(
            [*lines, "Warnings", "========", *(f"- {warning}" for warning in self.warnings)]
        )


def explain(
    plan: Plan,
    population: int | None = None,
    delta: float | None = None,
    first: Plan | None = None,
    named: bool = False,
) -> Explanation:
    """What `plan` asks of a client, in words; ε is told for that many clients, at δ.

    first: a survey that is asked before, whose ε counts. named: does noise grow from a secret that
    a simulation names?
    """
    delta = delta or default_delta(population or 1)
    told = (
        learnt(plan),
        sent(plan, first),
        steps(plan),
        sight(plan),
        of_clients(plan, population, delta, first),
    )
    return Explanation(
        (*told, *of_examples(plan, first), rounds(plan)),
        tuple(warnings(plan, named)),
        stated_by(plan),
    )
