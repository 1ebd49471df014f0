"""What a runtime promises.

    answered for   every client of a request, exactly once: by its reply, in a sum, or as excluded
    the bytes      those of InProcess, in every state of every run
    memory         comes out, goes into another runtime, and the run goes on as before
    settled        what a client learns counts when its session is settled, if it is counted
    asked again    a client says the same to the same question, to another in its place nothing
    once           where it draws its own noise, a client answers in one session of a round

Each runtime stands for parties that do not trust each other, so the last three are promises to the
clients: what they are asked twice could tell more of their data than ε says.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from ..algorithms import Scaffold
from ..loops.synchronous import synchronous
from ..messages import Reply, Request, SessionId, Settle
from ..parties.client import Client
from ..parties.policy import Policy
from ..plan import Plan, server
from ..runtimes.inprocess import InProcess
from ..sample import Uniform
from ..state import State
from ..sums import Total
from ..training import Training
from ..transforms.noise import GaussianNoise
from ..transforms.scale import Clip
from ..transforms.weigh import Weigh
from .algorithm import MODEL, federation
from .asserts import KEY, equal, require

Make = Callable[[list[Client]], Any]


def check_runtime(make_runtime: Make) -> None:
    """Hold a runtime to its promises; `make_runtime` makes one from a list of clients.

    It is called many times, and each that it makes is closed. AssertionError names the first
    promise that is broken.

    Every client of a request is answered for exactly once: by its reply, in a sum, or as lost with
    the kind of reason. The bytes are those of InProcess. Its memory can be loaded into another
    runtime; what a client learns in a session counts when that is settled, and only if the client
    is counted. To the same question a client says the same, and to another in its place nothing;
    where it draws noise, it answers once in a round.
    """
    for look in (_answers, _two_at_once, _same_bytes, _memory, _settle, _asked_again, _once):
        look(make_runtime)


def _clients(plan: Plan) -> list[Client]:
    """Six that can take part; one whose data is bad, one whose owner refuses.

    In no order, so that a roster that is sorted has been sorted.
    """
    parties = federation()
    X, y = parties["client-0"]
    bad = Client("client-bad", plan, (np.where(X > 1, np.nan, X), y), secret=KEY)
    shy = Client("client-shy", plan, (X, y), allow=Policy(max_rounds=1), secret=KEY)
    return [shy, bad, *(Client(who, plan, data, secret=KEY) for who, data in parties.items())]


def _plan(**more: Any) -> Plan:
    """A plan of four rounds, of the smallest model."""
    return Plan(MODEL, **{"training": Training(batch=8), "rounds": 4, **more})


def _request(plan: Plan, session: int, who: list[str]) -> Request:
    """The first message of a session of the first round, to these."""
    named = SessionId(number=session)
    broadcast = server.broadcast(plan, plan.start())
    return Request(plan.digest, 0, named, broadcast, dict.fromkeys(who))


def _ask(runtime: Any, *requests: Request) -> list[Reply]:
    """Send these together, and take replies until everyone whom they name is answered for.

    On the way: nobody is answered for twice, or unasked, or lost without a reason.
    """
    for request in requests:
        runtime.send(request)
    replies = []
    left = {(request.session, who) for request in requests for who in request.bodies}
    while left:
        reply = runtime.receive()
        answered = {(reply.session, who) for who in reply.who}
        require(
            len(answered) == len(reply.who),
            f"{runtime!r}: one reply names a client twice: {reply.who}.",
        )
        require(
            answered <= left,
            f"{runtime!r}: it answers for {sorted(answered - left)} again, or unasked.",
        )
        require(
            reply.body is not None or reply.why or not reply.who,
            f"{runtime!r}: {reply.who} are lost without a reason.",
        )
        left -= answered
        replies.append(reply)
    return replies


def _answers(make_runtime: Make) -> None:
    """One by one, and in sums; the roster is sorted, and stays as it is."""
    plan = _plan()
    names = sorted(client.who for client in _clients(plan))
    with closing(make_runtime(_clients(plan))) as runtime:
        roster = list(runtime.roster())
        require(
            roster == names,
            f"{runtime!r}: roster() must give the clients' names, sorted, not {roster}.",
        )
        require(not runtime.members, f"{runtime!r}: members must be empty where nobody helps.")
        for session in (0, 1):
            request = _request(plan, session, names)
            wanted = _ask(InProcess(_clients(plan)), request)
            fold = session == 1
            _compare(_ask(runtime, replace(request, fold=fold)), wanted, runtime, fold)
        require(
            list(runtime.roster()) == roster, f"{runtime!r}: roster() changes from call to call."
        )


def _compare(replies: list[Reply], wanted: list[Reply], runtime: Any, fold: bool) -> None:
    """Are these the replies of InProcess, or do they add up to the same?

    One by one they are equal to the last bit, and so are the kinds of reason; sums are compared as
    one, however many the runtime has made of them.
    """
    answer = {reply.who[0]: reply for reply in wanted}
    total = Total()
    want = Total()
    for reply in replies:
        if reply.body is None:
            for who in reply.who:
                why = answer[who].why
                found = f"{who} is lost for {reply.why!r}; it said {why!r}."
                require(reply.why == why, f"{runtime!r}: {found}")
        elif isinstance(reply.body, Total):
            require(fold, f"{runtime!r}: only a request with fold=True may be answered by a Total.")
            total.merge(reply.body)
        else:
            alike = len(reply.who) == 1 and equal(reply.body, answer[reply.who[0]].body)
            require(
                alike, f"{runtime!r}: {', '.join(reply.who)} says other bytes than in InProcess."
            )
            total.add(reply.body)
    for reply in wanted:
        if reply.body is not None:
            want.add(reply.body)
    require(
        total.count == want.count and (not want.count or equal(total.value(), want.value())),
        f"{runtime!r}: the replies add up to something else than in InProcess.",
    )


def _two_at_once(make_runtime: Make) -> None:
    """Requests of two sessions under way together, as `buffered` makes them.

    Their replies may come in any order, and each names its session and its round.
    """
    plan = _plan()
    one = _request(plan, 7, ["client-0", "client-2"])
    other = _request(plan, 8, ["client-1", "client-bad"])
    with closing(make_runtime(_clients(plan))) as runtime:
        replies = _ask(runtime, one, other)
    require(
        all(reply.round == 0 for reply in replies),
        f"{make_runtime!r}: a reply must name the round of its request.",
    )


def _states(plan: Plan, runtime: Any, state: State | None = None) -> list[State]:
    """All states of a run, whose server draws from the key of all checks."""
    return list(synchronous(plan, runtime, state, KEY))


def _equal(a: State, b: State) -> bool:
    """Equal in all fields, to the last bit; what was computed of them once is left out."""
    return equal(vars(replace(a)), vars(replace(b)))


def _same_bytes(make_runtime: Make) -> None:
    """Whole runs are those of InProcess, to the last byte of every state.

    With a sample, with what clients remember (SCAFFOLD), and with noise that they draw themselves.
    """
    noisy = (Clip(1.0, side=10.0), Weigh("one"), GaussianNoise(0.1, by="each"))
    plans = (
        _plan(sample=Uniform(5)),
        _plan(algorithm=Scaffold()),
        _plan(pipe=noisy, sample=Uniform(5)),
    )
    for plan in plans:
        with closing(make_runtime(_clients(plan))) as runtime:
            states = _states(plan, runtime)
        for state, want in zip(states, _states(plan, InProcess(_clients(plan))), strict=True):
            require(
                _equal(state, want),
                f"{make_runtime!r}: round {state.round} of {plan!r} differs from InProcess.",
            )


def _memory(make_runtime: Make) -> None:
    """What clients remember comes out, goes into a fresh runtime, and the run goes on.

    It ends as one that was never interrupted; and where a run begins, nobody remembers another.
    """
    plan = _plan(algorithm=Scaffold())
    first = plan.start()
    with closing(make_runtime(_clients(plan))) as runtime:
        names = runtime.roster()
        require(
            runtime.memory.of(names) == {},
            f"{make_runtime!r}: before the first round nobody remembers anything.",
        )
        for first in synchronous(plan, runtime):
            if first.round == 2:
                break
        memos = runtime.memory.after(first.counted)
        some = runtime.memory.of(["client-0"])
    require(
        set(memos) == set(first.participants),
        f"{make_runtime!r}: memory.after() gives {sorted(memos)}; {first.participants} took part.",
    )
    require(
        set(some) == {"client-0"}, f"{make_runtime!r}: memory.of() one client gives {sorted(some)}."
    )
    with closing(make_runtime(_clients(plan))) as runtime:
        runtime.memory.load(memos)
        require(
            equal(runtime.memory.of(memos), memos),
            f"{make_runtime!r}: memory.of() gives something else than was loaded.",
        )
        states = _states(plan, runtime, first)
        again = _states(plan, runtime)
    want = _states(plan, InProcess(_clients(plan)))
    require(
        _equal(states[-1], want[-1]),
        f"{make_runtime!r}: a run that goes on in a fresh runtime ends otherwise.",
    )
    require(
        _equal(again[-1], want[-1]),
        f"{make_runtime!r}: where a run begins, clients remember an earlier one.",
    )


def _settle(make_runtime: Make) -> None:
    """What a client learns in a session counts when that is settled, if the client is counted.

    Until then it is pending; and in a session that is settled nobody answers any more.
    """
    plan = _plan(algorithm=Scaffold())
    who = "client-0"
    with closing(make_runtime(_clients(plan))) as runtime:
        for counted in ((), (who,)):
            number = len(counted)
            _ask(runtime, _request(plan, number, [who]))
            learnt = runtime.memory.learnt([who])
            require(
                set(learnt) == {who},
                f"{make_runtime!r}: what a client has learnt is pending until it is settled.",
            )
            runtime.send(Settle(SessionId(number=number), counted))
            require(
                runtime.memory.learnt([who]) == {},
                f"{make_runtime!r}: nothing is pending of a settled session.",
            )
            want = {name: learnt[name] for name in counted}
            require(
                equal(runtime.memory.of([who]), want),
                f"{make_runtime!r}: a client remembers what counted, and nothing else; {counted} "
                "counted.",
            )
        (reply,) = _ask(runtime, _request(plan, 1, [who]))
        require(
            reply.why == "refused",
            f"{make_runtime!r}: a client answers in a session that is settled.",
        )


def _asked_again(make_runtime: Make) -> None:
    """To the same question a client says the same, and learns nothing more; to another nothing.

    The question is the whole of it: plan, round, session, model, message.
    """
    plan = _plan(algorithm=Scaffold())
    who = "client-0"
    first = _request(plan, 0, [who])
    vectors, memo = first.broadcast
    other = replace(first, broadcast=({**vectors, "x": vectors["x"] + 1.0}, memo))
    with closing(make_runtime(_clients(plan))) as runtime:
        said = []
        learnt = []
        for request in (first, first, replace(first, fold=True), other):
            said += _ask(runtime, request)
            learnt.append(runtime.memory.learnt([who]))
    plain, again, folded = (reply.body for reply in said[:3])
    if isinstance(folded, Total):
        folded = folded.value()
    require(
        plain is not None and equal(again, plain) and equal(folded, plain),
        f"{make_runtime!r}: a client that is asked the same again says something else.",
    )
    require(
        all(equal(one, learnt[0]) for one in learnt),
        f"{make_runtime!r}: a client learns from being asked again.",
    )
    require(
        said[3].body is None and said[3].why == "refused",
        f"{make_runtime!r}: a client that has answered is asked another question in its place, and "
        "answers.",
    )


def _once(make_runtime: Make) -> None:
    """A client that draws its noise itself answers in one session of a round, whoever trains it.

    The mean of many answers would be an answer with less noise.
    """
    noisy = (Clip(1.0, side=10.0), Weigh("one"), GaussianNoise(0.1, by="each"))
    plan = _plan(pipe=noisy)
    who = "client-0"
    with closing(make_runtime(_clients(plan))) as runtime:
        replies = _ask(runtime, *(_request(plan, session, [who]) for session in range(6)))
    answered = [reply.session.number for reply in replies if reply.body is not None]
    require(
        len(answered) == 1,
        f"{make_runtime!r}: asked six times in one round, a client answers in sessions {answered}.",
    )
