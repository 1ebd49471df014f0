"""A plan in words, for whoever must decide whether to take part: what leaves a client, and who gets
to see what.

The words are made from facts that the plan has already worked out (`plan.spec`, `encoded_spec` and
`sum_spec`: blocks, bounds, noise), from what an aggregator reveals, and from the ledger of ε. So
they follow every change of the plan. What a stranger's piece says of itself is told as its word.

vector      what is learnt, what a client sends, and each step that is done to it
sight       who sees what, and what that rests on
privacy     ε for a client, and for one example of it
rounds      who is asked, for how long, what is reported
warnings    what the plan does not protect
peers       the same without a server, where peers hear their neighbours
source      the expression that builds a plan, and how two differ

No data is read, and no client is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import notebook
from ..graphs import Mixing
from ..plan import Plan
from ..privacy import stated_by
from ..privacy.ledger import default_delta
from . import peers
from .peers import neighbours
from .privacy import of_clients, of_examples
from .rounds import rounds
from .sight import AT_GATEWAY, before_server, sight, visible
from .source import difference, expression
from .vector import BEFORE, asked, learnt, sent, steps
from .warnings import warnings
from .words import Section

__all__ = [
    "AT_GATEWAY",
    "BEFORE",
    "Explanation",
    "Section",
    "asked",
    "before_server",
    "difference",
    "explain",
    "expression",
    "neighbours",
    "visible",
]


@dataclass(frozen=True)
class Explanation:
    """What a plan means, as text and tables that a terminal and a page show alike.

    It holds words alone, and no plan: an audit tells what it found in the same form.
    """

    sections: tuple[Section, ...]
    warnings: tuple[str, ...]
    stated: tuple[str, ...] = ()  # classes outside hansa whose word on their noise ε rests on

    def __str__(self) -> str:
        """All of it as plain text: sections with their tables, then the warnings."""
        lines = []
        for section in self.sections:
            lines += [section.title, "=" * len(section.title), section.text]
            table = (section.head, *section.rows)
            lines += ["  " + " | ".join(row) for row in table if row]
            lines.append("")
        lines += ["Warnings", "========"]
        lines += [f"- {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """What a notebook shows: sections with their tables, then the warnings."""
        parts = list[str]()
        for section in self.sections:
            parts += [notebook.paragraph(section.title, "h4"), notebook.paragraph(section.text)]
            if section.rows:
                parts.append(notebook.table(section.rows, section.head))
        parts.append(notebook.paragraph("Warnings", "h4"))
        parts += [notebook.paragraph(f"• {one}") for one in self.warnings]
        return "".join(parts)


def explain(
    plan: Plan,
    population: int | None = None,
    delta: float | None = None,
    first: Plan | None = None,
    named: bool = False,
    mixing: Mixing | None = None,
) -> Explanation:
    """What `plan` asks of a client, in words; ε is told for that many clients, at δ.

    population: N, without which an ε that rests on a sample of fixed size is not known. delta: by
    default 1/N^1.1 (see `default_delta`). first: a survey that is asked before, whose ε counts.
    named: does noise grow from a secret that a simulation names? mixing: the graph of the peers,
    where there is no server.
    """
    delta = delta or default_delta(population or 1)
    says = [sent(plan, first), steps(plan)]
    seen = [sight(plan, population)]
    open = warnings(plan, named)
    if mixing is not None:
        says = [peers.sent(plan, says[0]), peers.steps(says[1])]
        seen = [peers.graph(mixing), peers.sight(plan, mixing)]
        open = peers.warnings(plan, named)
    told = (
        learnt(plan),
        *says,
        *seen,
        of_clients(plan, population, delta, first),
        *of_examples(plan, first),
        rounds(plan),
    )
    return Explanation(told, tuple(open), stated_by(plan))
