"""An aggregator and a weighting of a stranger's stand wherever hansa's own do: right, or refused with words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

import hansa as h
from hansa.aggregators import Aggregator, Reveals, revealed
from hansa.audit import canaries, inversion
from hansa.errors import AppError, DataError, PlanError, PolicyError
from hansa.explain import explain
from hansa.messages import SessionId
from hansa.privacy import examples
from hansa.rand import Key
from hansa.spec import Interval
from hansa.testing import check_aggregator, check_transform
from hansa.transforms.weigh import Weighting

RNG = np.random.default_rng(3)
DATA = {
    f"c{i}": (RNG.normal(size=(8 + i, 8)).astype(np.float32), (RNG.random(8 + i) < 0.2 + 0.1 * i).astype(int))
    for i in range(6)
}
KEY = Key.of(7)
CLIP = h.Clip(1.0, side=2.0)
QUIET = h.Training(report=False, learning_rate=0.1)


@dataclass(frozen=True)
class InTwoTurns(Aggregator):
    """A plain sum of a stranger's: who is there is asked for its vector."""

    def client(self, contribute: Any, at: Any) -> Any:
        assert (yield "here") == "your vector"
        yield (yield from contribute())

    def server(self, channel: Any, cohort: Any, decode: Any) -> Any:
        there = channel.gather(dict.fromkeys(cohort))
        said = channel.gather(dict.fromkeys(there, "your vector"))
        return (decode(sum(said.values()), len(said)) if said else None), sorted(said)


@dataclass(frozen=True)
class Stated(InTwoTurns):
    """The same, whose author says what it reveals."""

    def reveals(self) -> Reveals:
        return Reveals(server="each")


@dataclass(frozen=True)
class Masked(Aggregator):
    """Two clients or more add masks that cancel, from a key that all clients are taken to share; the server hears no
    vector.
    """

    secret: int = 11

    def min_clients(self, asked: int = 0) -> int:
        return 2

    def reveals(self) -> Reveals:
        return Reveals(server="sum", colluding=1)

    def client(self, contribute: Any, at: Any) -> Any:
        cohort = yield "here"
        v = yield from contribute()
        places = [i for i, who in enumerate(cohort) if who == at.who]
        mine, after = (Key.of(self.secret).child(at.round, (places[0] + k) % len(cohort)) for k in (0, 1))
        masks = [key.rng().integers(0, 2**63, v.size, np.uint64) for key in (mine, after)]
        yield {"masked": v + masks[0] - masks[1]}

    def server(self, channel: Any, cohort: Any, decode: Any) -> Any:
        there = sorted(channel.gather(dict.fromkeys(cohort)))
        said = channel.gather(dict.fromkeys(there, there))
        if sorted(said) != there or len(said) < 2:
            return None, []
        return decode(sum(one["masked"] for one in said.values()), len(said)), there


@dataclass(frozen=True)
class ByBalance(Weighting):
    """A client weighs twice the share of its rarer class, and least where it has but one."""

    least: float = 0.125
    reads: ClassVar[bool] = True

    @property
    def bounds(self) -> Interval:
        return Interval(self.least, 1.0)

    def weight(self, at: Any) -> float:
        y = np.concatenate([labels for _, labels in at.data.whole()])
        share = float(np.mean(y))
        return 2 * min(share, 1 - share)

    def explain(self, spec: Any) -> str:
        return "a client counts by how balanced its classes are"


MASKING = (CLIP, h.Weigh("one"), h.Quantize(24))
AGGREGATORS: dict[str, tuple[Aggregator, tuple[Any, ...]]] = {
    "unstated": (InTwoTurns(), (h.Weigh("examples"),)),
    "stated": (Stated(), (CLIP, h.Weigh("one"))),
    "masked": (Masked(), MASKING),
}


def plan(aggregator: Aggregator | None = None, *pipe: Any, **more: Any) -> h.Plan:
    pieces = {"training": QUIET, "rounds": 3, "sample": h.Everyone(quorum=2), **more}
    return h.Plan(h.Softmax(8, 2), pipe=pipe or (h.Weigh("one"),), aggregator=aggregator or h.Sum(), **pieces)


def clients(p: h.Plan, **more: Any) -> list[h.Client]:
    return [h.Client(who, p, data, secret=KEY, **more) for who, data in DATA.items()]


def last(p: h.Plan, runtime: Any = None, state: Any = None) -> h.State:
    *_, state = h.synchronous(p, runtime or h.InProcess(clients(p), secret=KEY), state, secret=KEY)
    return state


# ── an aggregator ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", AGGREGATORS)
def test_it_trains_as_the_sum_does_in_one_process_in_two_workers_and_after_a_stop(name: str) -> None:
    aggregator, pipe = AGGREGATORS[name]
    p = plan(aggregator, *pipe)
    x = last(p).x
    assert np.allclose(x, last(plan(h.Sum(), *pipe)).x, rtol=0, atol=1e-6)
    with h.Processes(clients(p), 2, secret=KEY) as workers:
        assert last(p, workers).x.tobytes() == x.tobytes()
    first = next(h.synchronous(p, h.InProcess(clients(p), secret=KEY), secret=KEY))
    assert last(p, None, first).x.tobytes() == x.tobytes()


@pytest.mark.promise("P161")
@pytest.mark.guards("what nobody has stated is all seen")
def test_where_nobody_has_stated_it_everything_is_seen() -> None:
    p = plan(InTwoTurns())
    assert revealed(p.aggregator) == Reveals("each", "each", "unknown", by="nobody")
    told = str(explain(p))
    assert "Nobody has stated what it reveals, so the table has all that it could." in told
    assert "server | each client's encoded vector, by name | nobody has stated what it shows" in told
    assert "Nobody has stated what InTwoTurns reveals" in told
    assert "on the wire they are what InTwoTurns makes of them, which nobody has stated" in told


@pytest.mark.promise("P94")
def test_what_its_author_states_is_told_as_that() -> None:
    told = str(explain(plan(Masked(), *MASKING)))
    assert "It is not hansa's own: the table is what it says of itself." in told
    assert "server | the sum, and who is in it | that its author states what is so" in told
    assert "What Masked reveals is what its author says" in told
    assert "The server can see every client's update" not in told


@pytest.mark.promise("P94")
def test_a_policy_believes_its_author_where_the_owner_says_so() -> None:
    p = plan(Masked(), *MASKING)
    with pytest.raises(PolicyError, match=r"(?s)only its author states that the server may see the sum.*stated=True"):
        h.Policy(sees="sum").check(p, "c0")
    h.Policy(sees="sum", stated=True).check(p, "c0")
    with pytest.raises(PolicyError, match="the server may see each client's vector"):
        h.Policy(sees="sum", stated=True).check(plan(Stated()), "c0")
    with pytest.raises(PolicyError, match="nobody has stated"):
        h.Policy(sees="each", stated=True).check(plan(InTwoTurns()), "c0")
    h.Policy(sees="each").check(plan(h.Median()), "c0")


@pytest.mark.promise("P94")
@pytest.mark.guards("a policy compares what is seen", "who may collude is counted")
def test_a_policy_compares_what_is_revealed() -> None:
    secret = plan(h.VerifiedSum(helpers=2), CLIP, h.Weigh("one"))
    h.Policy(sees="sum", colluding=2).check(secret, "c0")
    with pytest.raises(PolicyError, match=r"3 of the server and its helpers together may see each client's vector"):
        h.Policy(sees="sum", colluding=3).check(secret, "c0")
    for aggregator in (h.Sum(), h.Median(), h.Krum(1)):
        with pytest.raises(PolicyError, match="the server may see each client's vector"):
            h.Policy(sees="sum").check(plan(aggregator), "c0")


@pytest.mark.promise("P84")
@pytest.mark.parametrize("name", AGGREGATORS)
def test_there_is_no_epsilon_behind_it(name: str) -> None:
    aggregator, _ = AGGREGATORS[name]
    p = plan(aggregator, CLIP, h.Weigh("one"), h.GaussianNoise(1.0))
    why = h.planned_privacy(p, 6).why
    assert why == f"nobody has stated what {type(aggregator).__name__} gives away"


@pytest.mark.parametrize("name", ["unstated", "stated"])
def test_it_is_audited_by_what_the_server_hears(name: str) -> None:
    aggregator, pipe = AGGREGATORS[name]
    app = h.App(plan(aggregator, *pipe), DATA, secret=KEY)
    assert canaries(app, 12, 1).seen == "each client's vector, as it is sent"
    assert "this plan: the client's vector, to its server" in {view.name for view in inversion(app).views}


def test_an_audit_reads_no_form_that_it_does_not_know() -> None:
    app = h.App(plan(Masked(), *MASKING), DATA, secret=KEY)
    assert canaries(app, 12, 1).seen == "the mean that each round publishes"
    assert "this plan: the client's vector, to its server" not in {view.name for view in inversion(app).views}
    unstated = type("Veiled", (Masked,), {"reveals": Aggregator.reveals, "__module__": __name__})
    with pytest.raises(AppError, match="cannot be read"):
        inversion(replace(app, plan=plan(unstated(), *MASKING)))


@dataclass(frozen=True)
class Worded(h.Sum):
    """The plain sum, with other words."""

    def visibility(self) -> tuple[tuple[str, str, str], ...]:
        return (("server", "all", "nothing"),)


@dataclass(frozen=True)
class Twice(h.Sum):
    """Not the plain sum any more."""

    def server(self, *more: Any) -> Any:
        received, participants = super().server(*more)
        return ((2 * received[0], received[1]) if received else None), participants


@pytest.mark.guards("a changed sum is added by itself")
def test_buffered_adds_by_itself_where_that_is_what_the_aggregator_does() -> None:
    loop = {"size": 2, "busy": 3}
    p = plan(Worded(), rounds=2)
    *_, state = h.buffered(p, h.InProcess(clients(p), secret=KEY), secret=KEY, **loop)  # type: ignore[arg-type]
    assert state.round == 2
    p = plan(Twice(), rounds=2)
    with pytest.raises(PlanError, match="buffered cannot run Twice"):
        next(h.buffered(p, h.InProcess(clients(p), secret=KEY), secret=KEY, **loop))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Believed(InTwoTurns):
    """Says that nobody sees a vector, and has each said to the server."""

    def reveals(self) -> Reveals:
        return Reveals(server="sum")


def test_the_contract_tries_what_it_states() -> None:
    check_aggregator(Stated())
    with pytest.raises(AssertionError, match="nobody sees a client's vector"):
        check_aggregator(Believed())


@pytest.mark.parametrize("wrong", [{"server": "all"}, {"server": "sum", "colluding": 0}], ids=["sight", "colluding"])
def test_a_statement_has_its_words(wrong: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        Reveals(**wrong)


# ── a weighting ──────────────────────────────────────────────────────────────────────────────────────────────────────


def balance(y: Any) -> float:
    """The weight that its docstring tells."""
    return max(0.125, 2 * min(float(np.mean(y)), 1 - float(np.mean(y))))


def test_a_weighting_keeps_the_law() -> None:
    check_transform(ByBalance())


WEIGHED: dict[str, Callable[[], h.Plan]] = {
    "sum": lambda: plan(None, CLIP, ByBalance()),
    "integers": lambda: plan(None, CLIP, ByBalance(), h.Quantize(24)),
    "verified": lambda: plan(h.VerifiedSum(), CLIP, ByBalance(), rounds=2),
}


def test_the_mean_is_weighed_by_it() -> None:
    p = plan(None, CLIP, ByBalance(), rounds=1)
    alone = plan(None, CLIP, h.Weigh("one"), rounds=1, sample=h.Everyone())
    moved = {who: last(alone, h.InProcess([h.Client(who, alone, DATA[who], secret=KEY)])).x for who in DATA}
    w = {who: balance(y) for who, (_, y) in DATA.items()}
    assert len(set(w.values())) > 3
    mean = sum(w[who] * moved[who] for who in DATA) / sum(w.values())
    assert np.allclose(last(p).x, mean, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", WEIGHED)
def test_it_stands_in_one_process_in_two_workers_and_after_a_stop(name: str) -> None:
    p = WEIGHED[name]()
    x = last(p).x
    exact = last(replace(WEIGHED["sum"](), rounds=p.rounds)).x
    assert np.allclose(x, exact, rtol=0, atol=1e-5)
    first = next(h.synchronous(p, h.InProcess(clients(p), secret=KEY), secret=KEY))
    if name == "verified":  # whose shares are drawn anew
        assert np.allclose(last(p, None, first).x, x, rtol=0, atol=1e-5)
        return
    with h.Processes(clients(p), 2, secret=KEY) as workers:
        assert last(p, workers).x.tobytes() == x.tobytes()
    assert last(p, None, first).x.tobytes() == x.tobytes()


def test_what_is_known_of_it_is_told() -> None:
    p = plan(None, CLIP, ByBalance())
    assert p.encoded_spec.bounds["weight"] == 1.0 and p.encoded_spec.lows["weight"] == 0.125
    assert p.encoded_spec.bounds["delta"] == 1.0
    told = str(explain(p))
    assert "a client counts by how balanced its classes are" in told and "0.125\u00a0…\u00a01" in told


@pytest.mark.promise("P84")
@pytest.mark.guards("a stranger that reads examples leaves them no ε")
def test_there_is_no_epsilon_behind_a_weighting() -> None:
    noisy = plan(None, CLIP, ByBalance(), h.GaussianNoise(1.0))
    assert h.planned_privacy(noisy, 6).why == "nobody has stated what ByBalance gives away"
    with pytest.raises(PolicyError, match="nobody has stated what ByBalance"):
        h.Policy(min_noise=0.5).check(noisy, "c0")
    private = h.Training(epochs=1, batch=4, private=h.PerExample(1.0, 1.0), report=False)
    exact = plan(None, ByBalance(), training=private)
    assert examples(exact, 8).why == "nobody has stated what ByBalance gives away"
    assert not examples(plan(None, h.Weigh("one"), training=private), 8).why


def test_it_is_audited() -> None:
    app = h.App(plan(None, CLIP, ByBalance()), DATA, secret=KEY)
    assert {view.name for view in inversion(app).views} > {"this plan: the client's vector, to its server"}
    with pytest.raises(AppError, match="A canary has no examples that ByBalance could read"):
        canaries(app, 12, 1)


@dataclass(frozen=True)
class Nosy(h.transforms.Transform):
    """Look for examples without saying so."""

    def encode(self, v: Any, at: Any) -> Any:
        assert at.data is None
        return v


@pytest.mark.guards("who reads no examples gets none")
def test_who_does_not_say_that_it_reads_gets_no_examples() -> None:
    assert len(last(plan(None, Nosy(), h.Weigh("one"), rounds=1)).participants) == len(DATA)


@dataclass(frozen=True)
class Odd(ByBalance):
    """Bounds, and a weight, that are none."""

    span: Any = Interval(0.5, 2.0)
    w: Any = 1.0

    @property
    def bounds(self) -> Any:
        return self.span

    def weight(self, at: Any) -> Any:
        return self.w


def test_what_is_no_weight_is_refused() -> None:
    with pytest.raises(PlanError, match="weights that are positive"):
        plan(None, Odd(span=Interval(0.0, 1.0)))
    with pytest.raises(PlanError, match="two weightings"):
        plan(None, h.Weigh("one"), ByBalance())
    p = plan(None, Odd(w=float("nan")))
    at = p.context(0, SessionId(), "c0", secret=KEY, memo=p.pipeline.start())
    with pytest.raises(DataError, match="c0 weighs nan"):
        p.pipeline.encode(np.zeros(p.spec.size), at)
