"""A plan among peers, in words: the graph, who sees what, and what that leaves open.

There is no server: each neighbour hears a peer's model by itself, or a sum that hides it for one
round, and those further away hear mixtures. What stays hidden over many rounds noise alone hides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from ..aggregators.mixing import PeerRule, rule_of
from ..graphs import CLOSE, Mixing, drawn
from ..plan import Plan
from ..plan.peers import size
from .warnings import common
from .words import Section, count, many

GRAPH = "The graph of peers"
TENTH = 0.1  # of their distance, until which rounds are told


def graph(mixing: Mixing) -> Section:
    """Who hears whom, with which weights, and how fast that mixes.

    The weights are those of the first round; of more peers than fit on a screen the first are told.
    """
    n = len(mixing.names)
    least = min(mixing.degrees)
    most = max(mixing.degrees)
    heard = f"{most}" if least == most else f"{least} to {most}"
    text = (
        # P607
        f"There is no server: {n} peers, each of which hears {heard} of the others in a round, by "
        f"{mixing.graph}. {_mixed(mixing)}"
    )
    return Section(GRAPH, text, ("peer", "takes, in the first round"), tuple(drawn(mixing)))


def _mixed(mixing: Mixing) -> str:
    """How fast the weights bring peers to their mean, in a sentence."""
    if mixing.exact:
        rounds = count(mixing.period, "round", "rounds")
        return f"{rounds} of mixing alone reach the exact mean of any models (spectral gap 1)."
    factor = mixing.contraction
    if mixing.gap < CLOSE:
        return "Mixing alone brings peers no nearer to each other (spectral gap 0)."
    until = count(math.ceil(math.log(TENTH) / math.log(factor)), "round", "rounds")
    return (
        f"Spectral gap {mixing.gap:.4g}: a round of mixing alone brings peers to {factor:.6f} of "
        f"their distance from the mean, and {until} to a tenth of it."
    )


def sent(plan: Plan, told: Section) -> Section:
    """What training makes of a peer's model in a round; it says the model itself."""
    mixed = size(plan)
    more = ""
    if mixed > plan.model.size:
        more = " and what else the algorithm tells"
    if rule_of(plan.aggregator).hides:
        more = ", into a hidden sum with each who hears it"
    text = (
        # P607
        f"In a round a peer adds this to its model, with its own noise where the plan has some, "
        f"and says {many(mixed)} numbers that its neighbours mix: its model{more}. The last column "
        "bounds what its data can change in them in a round."
    )
    return replace(told, text=text)


def neighbours(me: str, mixing: Mixing) -> tuple[Section, ...]:
    """What each neighbour of one real node sees of it, and in which rounds.

    The names are a roster's, which is no part of a plan.
    """
    rows = list[tuple[str, str, str]]()
    for who in mixing.names:
        heard = [me in mixing.of(who, round) for round in range(mixing.period)]
        if who == me or not any(heard):
            continue
        when = "in each round"
        if not all(heard):
            of = ", ".join(str(round + 1) for round, one in enumerate(heard) if one)
            when = f"in round {of} of each {mixing.period}"
        # P627
        rows.append((who, f"the model that {me} says, by name, {when}", "the noise in it alone"))
    text = (
        f"{me} sends its model to these, over TLS, and to no other party; they are the peers of "
        "the roster that is here. What a neighbour passes on is a mixture with its own."
    )
    return (Section("Your neighbours", text, ("who", "sees", "what this rests on"), tuple(rows)),)


def steps(told: Section) -> Section:
    """The pipe, which ends with the peer itself.

    Where a peer is the server of one client, its own, the sum that transforms are decoded on is of
    that one, and so is the noise.
    """
    text = "On the peer, in this order and back, before anybody hears of it: its sum is of one."
    return replace(told, text=text)


def sight(plan: Plan, mixing: Mixing) -> Section:
    """Each party, what it sees, and what this rests on.

    What is said of a peer's neighbours holds for all that it ever hears, in any round of a graph
    that changes. A sum that hides them rests on few colluding, and for one round alone: of more
    rounds only noise is named.
    """
    noisy = "nothing"
    if plan.sum_spec.noise.multiplier:
        noisy = "the noise in each update"
    # P607
    heard = (
        "the model that the peer says, by name, in each round; with the one before, how its "
        "data has changed it",
        noisy,
    )
    if rule_of(plan.aggregator).hides:
        # P616
        heard = (
            "random numbers, and the mean of its own neighbourhood in each round; means of some "
            "rounds may be solved for single models",
            f"for one round, that few collude, as above; for more: {noisy}",
        )
    rows = (
        ("each neighbour of a peer", *heard),
        # P607
        (
            "every other peer",
            "mixtures of models, from which it may solve for single ones after some rounds",
            noisy,
        ),
        (
            "who runs a simulation",
            "all that any peer says, and the mean of all, which no peer has",
            "none: it has all data anyway",
        ),
    )
    text = f"No party is in the middle, and the aggregator is {plan.aggregator!r}."
    if isinstance(plan.aggregator, PeerRule):
        text = f"{text} {plan.aggregator.told(mixing)}".rstrip()
    return Section("Who sees what", text, ("who", "sees", "what this rests on"), rows)


def warnings(plan: Plan, named: bool) -> Iterator[str]:
    """What the plan leaves open among peers, a sentence each."""
    yield from common(plan, named, clear=True)
    seen = "Neighbours hear each peer's model by name, every round"
    if rule_of(plan.aggregator).hides:
        # P616
        seen = "Neighbours can solve for single models by what they hear in some rounds"
    if not plan.training.private and not plan.sum_spec.noise.multiplier:
        seen += ", and what training changes in it can reveal training examples"
    # P607
    yield f"{seen}; that nobody is in the middle hides nothing by itself."
