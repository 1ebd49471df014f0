"""Gossip: rounds without a server, in which peers learn from their neighbours.

    inboxes ─▶ each mixes what it hears, trains, and says ─▶ outboxes ─▶ the inboxes of the next

A round is one request with one turn to every peer: the body is its inbox, the reply its outbox, and
its model stays in what it remembers. What stands here in the middle carries messages, and no more.
Whoever's reply is lost has not been in the round: its model stays as it was, and what it was sent
is sent again.

    gossip        the loop, or with a graph alone that loop for an app
    post_office   what is refused before any round, and then who carries the messages
    one_round     inboxes out, outboxes in, and the state that is made of them

What is on its way between two rounds lies in the state, so a run that was stopped goes on with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, overload

import numpy as np

from ..aggregators.mixing import Mine, PeerRule, Rule, inbox_of, is_vector, rule_of
from ..aggregators.neighbourhoods import SUM, Neighbourhoods
from ..algorithms import reports
from ..errors import Fault, PlanError, refuse
from ..graphs import Graph, Mixing
from ..graphs.known import Ring
from ..plan import Plan, peers
from ..plan.layout import reported
from ..rand import Key
from ..spec import Vector
from ..state import FAILED, State
from ..transforms import Context
from .channel import Runtime, ServerChannel, begin, session_of, settle
from .checks import check_mistakes
from .journal import Journal
from .neighbourhoods import opened_sums

NOT_FINITE = "its model holds NaN or infinity, or is none of this plan"
NO_SUM = "no neighbourhood's sum could be opened"
SAID = "said"  # in a state's memo: who → what it has said last
HELD = "held"  # who → from whom → what it has not heard yet, of rules that add up what is said


@overload
def gossip(*, graph: Graph) -> partial[Iterator[State]]: ...
@overload
def gossip(
    plan: Plan,
    runtime: Runtime,
    state: State | None = None,
    secret: Key | None = None,
    graph: Graph = ...,
    journal: Journal | None = None,
) -> Iterator[State]: ...
def gossip(
    plan: Plan | None = None,
    runtime: Runtime | None = None,
    state: State | None = None,
    secret: Key | None = None,
    graph: Graph = Ring(),
    journal: Journal | None = None,
) -> Any:
    """Rounds one after another among the runtime's clients, each of whom hears its neighbours.

        xᵢ ← Σⱼ W[i, j] yⱼ,      yᵢ ← xᵢ + Δᵢ(xᵢ)

    `state.x` is the mean of the yᵢ, which no peer has, and `state.metrics["apart"]` how far they
    are from it, √(Σᵢ ‖yᵢ − x‖²/n). With a graph alone it is that loop for an app:
    App(loop=gossip(graph=Torus())).   (Lian et al. 2017, Alg. 1; Koloskova et al. 2020, Alg. 1)

    PlanError where the plan needs a server, or the graph does not fit these peers.
    """
    if plan is None or runtime is None:
        return partial(gossip, graph=graph)
    office = post_office(plan, graph, runtime.roster())
    return _rounds(office, runtime, state, secret or Key.fresh(), journal)


def post_office(plan: Plan, graph: Graph, names: Sequence[str]) -> PostOffice:
    """What carries messages between these peers, by the weights of the graph.

    It is made before any round, and so a plan that needs a server, a graph that falls apart or does
    not fit so many peers, and a rule that cannot mix on it, are refused before anybody is asked.
    PlanError says which, and what to write instead.
    """
    if not isinstance(graph, Graph):
        raise PlanError(
            f"gossip(graph={graph!r}) joins nobody.",
            "A graph is a value that says who hears whom.",
            "Write for example gossip(graph=Ring()).",
        )
    peers.check_peers(plan)
    mixing = graph.among(names)
    rule = rule_of(plan.aggregator)
    wrong: list[Fault] = [
        (
            plan.sample.quorum > len(names),
            f"The plan wants {plan.sample.quorum} answers from {len(names)} peers.",
            "No round could ever be what the plan says.",
            "Write a lower quorum, or bring peers.",
        ),
        (
            rule.alone and plan.sample.quorum > 1,
            f"The plan wants {plan.sample.quorum} answers in a round of {plan.aggregator!r}.",
            "One peer trains in each, so every round would be skipped.",
            "Write Everyone(), of whom one must answer.",
        ),
        (
            not mixing.balanced and not rule.directed,
            f"gossip cannot run {plan.aggregator!r} on {graph!r}.",
            "In this graph some are heard whom they do not hear, and shares of what a peer hears "
            "do not add up to 1: it would mix no mean.",
            "Write each link in both directions.",
        ),
    ]
    refuse(wrong)
    if isinstance(rule, PeerRule):
        rule.check(mixing)
    return PostOffice(plan, mixing)


@dataclass(frozen=True)
class Heard:
    """What came of a round: who counts, and what each has said; or, of sums within neighbourhoods,
    what each has learnt.
    """

    there: tuple[str, ...]
    outboxes: Mapping[str, Any]


@dataclass(frozen=True)
class PostOffice:
    """Who carries messages between peers in a simulation, and keeps what is on its way.

    It sees what every peer says, as nobody does among real nodes. All that passes from round to
    round lies in the state: memo["said"] has what each peer has said last, and memo["held"] what
    waits for a peer that was lost, where a rule adds up what is said.
    """

    plan: Plan
    mixing: Mixing

    @cached_property
    def rule(self) -> Rule:
        """How the peers mix."""
        return rule_of(self.plan.aggregator)

    @cached_property
    def size(self) -> int:
        """How many numbers they mix."""
        return peers.size(self.plan)

    @cached_property
    def first(self) -> Vector:
        """Where all begin."""
        return peers.first(self.plan)

    def asked(self, state: State) -> tuple[str, ...]:
        """Who takes part in the round after `state`."""
        has = state.memo[SAID].keys()
        return self.rule.asked(self.mixing, has, state.round, self.plan.key)

    def inbox(self, state: State, who: str, silent: Collection[str] = ()) -> dict[str, Any]:
        """What a peer is given in the round after `state`: shares, and what others said last.

        Before its first words a neighbour is where all begin. silent: whose share is its own.
        """
        if self.rule.adds or self.rule.hides:
            share = self.mixing.of(who, state.round)[who]
            held = state.memo[HELD].get(who, {})
            return {"weights": {who: share, **dict.fromkeys(held, 1.0)}, "said": dict(held)}
        if self.rule.alone:
            said = state.memo[SAID]
            if who not in self.asked(state):
                said = {}
            return {"weights": {who: 0.0, **dict.fromkeys(said, 1.0)}, "said": dict(said)}
        if not state.round:
            return {"weights": {who: 1.0}, "said": {}}
        weights = self.mixing.of(who, state.round - 1)
        said = state.memo[SAID]
        heard = sorted(weights.keys() - {who, *silent})
        return {"weights": weights, "said": {one: said.get(one, self.first) for one in heard}}

    def model_of(
        self, state: State, who: str, mine: Mine | None, silent: Collection[str] = ()
    ) -> Vector:
        """A peer's own model [size] when it has opened its inbox; `mine`: what it keeps of mixing.

        That is what it trains from in the next round, and what it would use after the last.
        """
        if mine is None:
            mine = self.rule.start(self.first)
        given = inbox_of(who, self.inbox(state, who, silent), self.rule.length(self.size))
        assert given is not None  # hansa has made it
        point, _ = self.rule.mix(mine, given)
        return peers.unpacked(self.plan, point)["x"]

    def carried(self, state: State, heard: Heard) -> dict[str, Any]:
        """The mail after a round: what each has said last, and what waits for whom.

        A rule that adds up is given each message once, in the share that the sender's round had for
        the hearer; of one that was lost nothing is carried. The sum of a neighbourhood is its
        centre's, who is given it in its next round.
        """
        outboxes = heard.outboxes
        models = {who: outbox.get("model", outbox["says"]) for who, outbox in outboxes.items()}
        if self.rule.alone:
            return {SAID: models, HELD: {}}
        said = {**state.memo[SAID], **models}
        if not self.rule.adds and not self.rule.hides:
            return {SAID: said, HELD: {}}
        waiting = state.memo[HELD].items()
        held = {who: dict(mail) for who, mail in waiting if who not in heard.there}
        if self.rule.hides:
            return {SAID: said, HELD: held | {who: {SUM: v} for who, v in models.items()}}
        for who in self.mixing.names:
            for one, weight in self.mixing.of(who, state.round).items():
                if one == who or one not in outboxes or not weight:
                    continue
                mail = held.setdefault(who, {})
                parcel = weight * outboxes[one]["says"]
                mail[one] = mail[one] + parcel if one in mail else parcel
        return {SAID: said, HELD: held}

    def mean(self, said: Mapping[str, Vector]) -> tuple[dict[str, Vector], float]:
        """The mean of what peers mix, by name, and how far their models are from theirs (root mean
        square).
        """
        every = [said.get(who, self.first) for who in self.mixing.names]
        if self.rule.alone:
            every = list(said.values())
        mean = np.zeros_like(self.first)
        for one in every:
            mean += one
        mean /= len(every)
        d = self.plan.model.size
        squares = 0.0
        for one in every:
            far = one[:d] - mean[:d]
            squares += float(far @ far)
        return peers.unpacked(self.plan, mean), float(np.sqrt(squares / len(every)))

    def fits(self, outbox: Any) -> bool:
        """Is what a peer answers an outbox of this plan, all of it finite?"""
        if not isinstance(outbox, dict):
            return False
        same = outbox.keys() == self.lengths.keys()
        return same and all(is_vector(outbox[name], n) for name, n in self.lengths.items())

    @cached_property
    def lengths(self) -> dict[str, int]:
        """How long each part of an outbox is."""
        found = {"says": self.rule.length(self.size), "reports": len(reported(self.plan))}
        if self.rule.adds:
            found["model"] = self.size
        return found


def _rounds(
    office: PostOffice, runtime: Runtime, state: State | None, secret: Key, journal: Journal | None
) -> Iterator[State]:
    """The states, as `synchronous` yields them: each is settled when the next is asked for.

    A run begins with all peers at the model that grows from the plan's seed, and with empty mail;
    it goes on from a state with what is under way there.
    """
    plan = office.plan
    if state is None:
        state = plan.start()
        if not (journal and journal.heard(session_of(secret))):
            state = begin(plan, runtime, secret)
        state = replace(state, memo={**state.memo, SAID: {}, HELD: {}})
    elif state.round:
        settle(runtime, journal, session_of(secret, number=state.round - 1), state.counted)
    while state.round < plan.rounds:
        session = session_of(secret, number=state.round)
        channel = ServerChannel(plan, runtime, state, session, journal)
        named = runtime.named or not secret.hides
        channel.head = replace(channel.head, broadcast=None)  # no mean is told: nobody has it
        at = plan.context(state.round, session, secret=secret, task=channel.head.task)
        state = one_round(office, channel, state, named, at.enrolled(runtime.members))
        yield state
        settle(runtime, journal, session, state.counted)


def one_round(
    office: PostOffice, channel: ServerChannel, state: State, named: bool, at: Context
) -> State:
    """The state after one round: inboxes are carried to the peers, and what they say kept.

    Its `x` is the mean over all peers, also those that were lost, whose models are as they were;
    what is reported is the mean over those who answered. RoundError where all make a mistake that
    they would make again.
    """
    plan = office.plan
    names = office.asked(state)
    inboxes = {who: office.inbox(state, who) for who in names}
    if isinstance(office.rule, Neighbourhoods):
        heard = _sums(office, office.rule, channel, inboxes, at)
    else:
        heard = _outboxes(office, channel, inboxes)
    check_mistakes(len(names), channel.mistakes(names))
    there = heard.there
    if len(there) < plan.sample.quorum or not heard.outboxes:
        why = f"{len(there)} answered, {plan.sample.quorum} needed"
        if office.rule.hides and not heard.outboxes:
            why = NO_SUM
        return _skipped(plan, channel, state, named, names, why)
    excluded = channel.outcome(names, there)
    told: dict[str, Any] = {"named": named, "participants": there, "excluded": excluded}
    mail = office.carried(state, heard)
    mean, apart = office.mean(mail[SAID])
    side = np.mean([one["reports"] for _, one in sorted(heard.outboxes.items())], axis=0)
    means = {name: side[i : i + 1] for i, name in enumerate(reported(plan))}
    noisy = bool(plan.sum_spec.noise.multiplier)
    metrics = reports.means(means, reported(plan), noisy) | {"apart": apart}
    x = mean.pop("x")
    memo = {**state.memo, **mean, **mail}
    return State(state.round + 1, x, memo, state.transforms, metrics=metrics, **told)


def _outboxes(office: PostOffice, channel: ServerChannel, inboxes: Mapping[str, Any]) -> Heard:
    """What each peer says to those who hear it."""
    found = dict[str, Any]()
    for who, outbox in channel.as_completed(inboxes):
        if office.fits(outbox):
            found[who] = outbox
        else:
            channel.exclude(who, NOT_FINITE)
    return Heard(tuple(sorted(found)), found)


def _sums(
    office: PostOffice,
    rule: Neighbourhoods,
    channel: ServerChannel,
    inboxes: Mapping[str, Any],
    at: Context,
) -> Heard:
    """The mean of each neighbourhood whose sum was opened; who is in none of them was not there."""
    size = office.size
    cells = rule.cells(at.session, size + len(reported(office.plan)))
    found = dict[str, Any]()
    there = set[str]()
    for centre, (total, names) in opened_sums(channel, cells, inboxes).items():
        weights = office.mixing.of(centre, at.round)
        mean = rule.decoded(total, sum(weights[who] for who in names), cells[centre].n)
        found[centre] = {"says": mean[:size], "reports": mean[size:]}
        there |= set(names)
    return Heard(tuple(sorted(there)), found)


def _skipped(
    plan: Plan, channel: ServerChannel, state: State, named: bool, names: Sequence[str], why: str
) -> State:
    """The state after a round in which too few answered: all is as it was.

    Nobody counts, so no peer remembers the round, and the same mail is carried in the next.
    """
    excluded = dict.fromkeys(names, FAILED) | channel.excluded
    kept = (state.x, state.memo, state.transforms)
    return State(state.round + 1, *kept, skipped=why, excluded=excluded, named=named)
