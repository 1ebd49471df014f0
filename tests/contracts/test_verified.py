"""VerifiedSum in a plan, a config and every runtime: the same bytes everywhere, and plans that could prove nothing."""

from __future__ import annotations

import os
import re
import signal
import tomllib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_verified import HONEST, PLAN, Crafted, honest, states
from tests.contracts.running import pids

import hansa as h
from hansa.aggregators.verified.claims import Norm
from hansa.config import build, overlay, set_, table, toml
from hansa.crypto.pine import DRAFT02, PRODUCT
from hansa.errors import AppError, LeftOut
from hansa.parties import client as parties_client
from hansa.plan import Plan
from hansa.plan.client import contribute
from hansa.testing import check_aggregator
from hansa.testing.algorithm import MODEL, federation
from hansa.transforms import Context

PIPE = (h.Clip(1.0, side=10.0), h.Weigh("one"))
DATA = federation(5)


KEY = h.Key.of(0)  # a secret that repeats


def plan_of(aggregator: h.aggregators.Aggregator | None = None, **more: Any) -> h.Plan:
    pieces = {
        "pipe": PIPE,
        "training": h.Training(batch=0, learning_rate=0.05),
        "sample": h.Everyone(quorum=2),
        "rounds": 3,
    }
    return h.Plan(MODEL, aggregator=aggregator or h.VerifiedSum(), **{**pieces, **more})


def clients(plan: h.Plan) -> list[h.Client]:
    return [h.Client(who, plan, data, secret=KEY) for who, data in DATA.items()]


def run(plan: h.Plan, runtime: Any, state: h.State | None = None) -> list[h.State]:
    return list(h.synchronous(plan, runtime, state, KEY))


def alike(some: list[h.State], others: list[h.State]) -> bool:
    return [facts(state) for state in some] == [facts(state) for state in others]


def facts(state: h.State) -> Any:
    return (
        state.round,
        state.x.tobytes(),
        state.metrics,
        state.participants,
        list(state.excluded.items()),
        state.skipped,
    )


# ── promises ──


@pytest.mark.parametrize(
    ("aggregator", "pipe", "close"),
    [
        (h.VerifiedSum(), None, 1e-5),
        (h.VerifiedSum(("client-00", "b")), (h.Clip(10.0, side=10.0), h.Weigh("one"), h.Quantize(26)), 1e-5),
    ],
)
def test_it_is_an_aggregator(aggregator: h.aggregators.Aggregator, pipe: Any, close: float) -> None:
    check_aggregator(aggregator, pipe, clients=5, close=close)


@pytest.mark.promise("P47")
@pytest.mark.parametrize(
    "aggregator", [h.VerifiedSum(1), h.VerifiedSum(("a", "client-1"), noise=0.1)], ids=["one helper", "two, noise"]
)
def test_same_bytes_in_one_process_and_in_many(aggregator: h.aggregators.Aggregator) -> None:
    """Helpers in processes of their own; after a resumption; with the roster turned around."""
    plan = plan_of(aggregator)
    want = run(plan, h.InProcess(clients(plan), secret=KEY))
    assert [state.skipped for state in want] == [""] * 3 and want[-1].participants == tuple(DATA)
    assert alike(run(plan, h.InProcess(clients(plan)[::-1], secret=KEY)), want)
    assert alike(run(plan, h.InProcess(clients(plan), secret=KEY), want[0]), want[1:])
    for workers in (1, 2) if aggregator == h.VerifiedSum(1) else (2,):
        runtime = h.Processes(clients(plan), workers, KEY)
        try:
            assert alike(run(plan, runtime), want)
            assert workers == 1 or alike(run(plan, runtime), want)  # from the beginning, with the same helpers
        finally:
            runtime.close()


@pytest.mark.promise("P55")
def test_same_bytes_with_dropouts_and_after_a_resumption() -> None:
    plan = plan_of(h.VerifiedSum(("a", "b"), noise=0.1), rounds=4)
    network = h.Network(latency=1.0, drop=0.3)
    want = run(plan, h.InProcess(clients(plan), network, secret=KEY))
    assert any("absent" in state.excluded.values() for state in want)
    for i in range(3):
        assert alike(run(plan, h.InProcess(clients(plan), network, secret=KEY), want[i]), want[i + 1 :])


def test_a_run_can_be_broken_off_and_go_on_in_the_same_runtime() -> None:
    plan = plan_of()
    want = run(plan, h.InProcess(clients(plan), secret=KEY))
    runtime = h.InProcess(clients(plan), secret=KEY)
    first = next(iter(h.synchronous(plan, runtime, secret=KEY)))
    assert alike([first, *run(plan, runtime, first)], want)
    assert alike(run(plan, runtime), want)  # and from the beginning


@pytest.mark.promise("P20")
def test_a_helper_does_not_go_back() -> None:
    """An earlier state in a runtime that has gone on: the helper has said that round's sum, and says no second."""
    plan = plan_of()
    runtime = h.InProcess(clients(plan), secret=KEY)
    first, *_ = run(plan, runtime)
    again = run(plan, runtime, first)
    assert all("helper 1 said no more" in state.skipped for state in again)


def test_the_order_of_arrival_changes_nothing() -> None:
    plan = plan_of()
    slow = h.InProcess(clients(plan), h.Network(latency=1.0, stragglers=0.5))
    assert alike(run(plan, slow), run(plan, h.InProcess(clients(plan), secret=KEY)))


@pytest.mark.promise("P22")
def test_it_is_the_plain_sum_up_to_its_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, plain = plan_of(), plan_of(h.Sum())
    (*_, a), (*_, b) = run(plan, h.InProcess(clients(plan), secret=KEY)), run(plain, h.InProcess(clients(plain)))
    assert a.participants == b.participants
    assert np.abs(a.x - b.x).max() < 3 * 2**-23
    monkeypatch.setattr(h.Key, "rng", lambda key: np.random.Generator(np.random.Philox(7)))  # two plans round alike
    pipe = (*PIPE, h.Quantize(24))
    same, exact = plan_of(pipe=pipe), plan_of(h.Sum(), pipe=pipe)
    (*_, a), (*_, b) = run(same, h.InProcess(clients(same))), run(exact, h.InProcess(clients(exact)))
    assert a.x.tobytes() == b.x.tobytes()  # integers are proven as they are


# ── helpers that are away ──


def helper_of(runtime: h.Processes) -> int:
    (found,) = (worker.number for worker in runtime._all if worker.names == ("helper 1",))
    return pids(runtime)[found]


@pytest.mark.promise("P21")
def test_a_helper_that_is_silent_voids_the_round() -> None:
    plan = plan_of(rounds=1, sample=h.Everyone(quorum=2, deadline=1.0))
    runtime = h.Processes(clients(plan), 1)
    try:
        os.kill(helper_of(runtime), signal.SIGSTOP)
        (state,) = run(plan, runtime)
        assert "helper 1 said no more" in state.skipped and not state.participants
        assert np.array_equal(state.x, plan.start().x)
    finally:
        os.kill(helper_of(runtime), signal.SIGCONT)
        runtime.close()


def test_a_helper_that_dies_ends_the_run_by_name() -> None:
    plan = plan_of()
    runtime = h.Processes(clients(plan), 1)
    try:
        os.kill(helper_of(runtime), signal.SIGKILL)
        with pytest.raises(RuntimeError, match=r"died \(signal 9\)(.|\n)*helper 1"):
            run(plan, runtime)
    finally:
        runtime.close()


# ── plans and configs ──

PLANS = [
    plan_of(),
    plan_of(h.VerifiedSum(("a", "b"), noise=0.5)),
    plan_of(h.VerifiedSum(2, bound=3.0), pipe=(h.Clip(1.0, side=4.0), h.Weigh("examples", cap=3))),
    plan_of(h.VerifiedSum(3), pipe=(*PIPE, h.Quantize(20)), sample=h.Uniform(3, quorum=2)),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: repr(plan.aggregator))
def test_a_plan_survives_the_trip_through_toml(plan: h.Plan) -> None:
    document = toml({"plan": {name: value for name, value in table(plan).items() if name != "use"}})
    back = build({"use": "Plan"} | tomllib.loads(document)["plan"])
    assert back == plan and back.digest == plan.digest and repr(back) == repr(plan)


def test_digests_tell_plans_apart() -> None:
    assert len({plan.digest for plan in PLANS}) == len(PLANS)
    assert plan_of(h.VerifiedSum(2)).digest != plan_of(h.VerifiedSum(("1", "2"))).digest


def test_settings_change_it() -> None:
    plan = plan_of()
    assert set_(plan, {"aggregator.noise": 0.5}) == plan_of(h.VerifiedSum(noise=0.5))
    assert set_(plan, {"aggregator.helpers": 2}) == plan_of(h.VerifiedSum(2))
    named = overlay(plan_of(h.Sum()), {"aggregator": {"use": "VerifiedSum", "helpers": ["a", "b"]}})
    assert named == plan_of(h.VerifiedSum(("a", "b")))
    with pytest.raises(h.errors.PlanError, match="1 to 8"):
        set_(plan, {"aggregator.helpers": 0})


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "no clip": (lambda: plan_of(pipe=(h.Weigh("one"),)), "needs a bound on: delta, loss"),
    "no side": (lambda: plan_of(pipe=(h.Clip(1.0), h.Weigh("one"))), "needs a bound on: loss"),
    "no cap": (lambda: plan_of(pipe=(h.Clip(1.0, side=1.0), h.Weigh("examples"))), "needs a bound on"),
    "no helper": (lambda: plan_of(h.VerifiedSum(0)), "1 to 8"),
    "no helper's name": (lambda: plan_of(h.VerifiedSum(())), "1 to 8"),
    "an empty name": (lambda: plan_of(h.VerifiedSum(("a", ""))), "counts helpers, or is a tuple"),
    "a name twice": (lambda: plan_of(h.VerifiedSum(("a", "a"))), "counts helpers, or is a tuple"),
    "a name alone": (lambda: plan_of(h.VerifiedSum("clinic")), "counts helpers, or is a tuple"),  # type: ignore[arg-type]
    "nine helpers": (lambda: plan_of(h.VerifiedSum(9)), "1 to 8"),
    "one and a half": (lambda: plan_of(h.VerifiedSum(1.5)), "counts helpers"),  # type: ignore[arg-type]
    "true": (lambda: plan_of(h.VerifiedSum(True)), "counts helpers"),
    "negative noise": (lambda: plan_of(h.VerifiedSum(noise=-1.0)), "z ≥ 0"),
    "endless noise": (lambda: plan_of(h.VerifiedSum(noise=float("inf"))), "z ≥ 0"),
    "no number for noise": (lambda: plan_of(h.VerifiedSum(noise=float("nan"))), "z ≥ 0"),
    "too much noise": (lambda: plan_of(h.VerifiedSum(noise=1e4)), "no longer exact"),
    "a bound of nothing": (lambda: plan_of(h.VerifiedSum(bound=0.0)), "is a norm"),
    "a bound below the clip": (lambda: plan_of(h.VerifiedSum(bound=0.5)), "refuse honest clients"),
    "more bits than can be proven": (lambda: plan_of(pipe=(*PIPE, h.Quantize(27))), "Write Quantize(26)"),
    "many more bits": (lambda: plan_of(pipe=(*PIPE, h.Quantize(40))), "Write Quantize(26)"),
    "more bits under noise": (
        lambda: plan_of(h.VerifiedSum(noise=0.1), pipe=(*PIPE, h.Quantize(27))), "Write Quantize(26)",
    ),
    "a bound of too many steps": (
        lambda: plan_of(h.VerifiedSum(bound=3.0), pipe=(*PIPE, h.Quantize(26))), "Write Quantize(25)",
    ),
    "a bound of too many steps, whatever a step is": (
        lambda: plan_of(h.VerifiedSum(bound=1e9), pipe=(*PIPE, h.Quantize(20))), "without bound=",
    ),
    "bits that noise has no room for": (
        lambda: plan_of(h.VerifiedSum(noise=8.0), pipe=(*PIPE, h.Quantize(26))), "quantise to fewer bits",
    ),
    "a quorum of one": (lambda: plan_of(sample=h.Everyone()), "quorum=2"),
    "one in turn": (lambda: plan_of(sample=h.InTurn()), "2 or more"),
    "noise of the server before it": (
        lambda: plan_of(pipe=(*PIPE, h.GaussianNoise(1.0))),
        "VerifiedSum(noise=1)",
    ),
    "noise of clients before it": (
        lambda: plan_of(pipe=(*PIPE, h.Quantize(20), h.SkellamNoise(1.0, by="all", least=2))),
        "comes after noise",
    ),
}  # fmt: skip


@pytest.mark.promise("P23")
@pytest.mark.parametrize("aggregator", [h.VerifiedSum(), h.VerifiedSum(3, noise=0.5), h.VerifiedSum(bound=7.0)])
def test_norms_are_proven_by_the_profile_that_binds_its_parameters(aggregator: h.VerifiedSum) -> None:
    plan = plan_of(aggregator)
    norms = [part.sum for part in aggregator._claims(plan.encoded_spec, b"") if isinstance(part, Norm)]
    assert norms and all(one.profile == PRODUCT for one in norms)
    assert PRODUCT.bound and PRODUCT.wraparound.proven
    assert not any(one.bound or one.wraparound.proven for one in DRAFT02.values())


@pytest.mark.promise("P81")
@pytest.mark.parametrize("wrong", WRONG)
def test_a_plan_that_could_prove_nothing_is_refused(wrong: str) -> None:
    make, words = WRONG[wrong]
    with pytest.raises(h.errors.PlanError) as caught:
        make()
    error = caught.value
    assert words in str(error)
    for part in (error.found, error.why, error.instead):
        assert part.strip() and part.endswith((".", "…")), part


@pytest.mark.promise("P81")
@pytest.mark.parametrize("bound", [None, 1.5, 7.0, 100.0])
@pytest.mark.parametrize("model", [MODEL, h.Softmax(30_000, 10)], ids=["few numbers", "many numbers"])
def test_the_bits_that_are_named_are_the_most_that_fit(bound: float | None, model: h.models.Model) -> None:
    def plan(bits: int) -> h.Plan:
        pipe = (*PIPE, h.Quantize(bits))
        return replace(plan_of(), model=model, pipe=pipe, aggregator=h.VerifiedSum(bound=bound))

    with pytest.raises(h.errors.PlanError) as caught:
        plan(40)
    (reply,) = re.findall(r"Write Quantize\((\d+)\)", str(caught.value))
    assert plan(int(reply)).encoded_spec
    with pytest.raises(h.errors.PlanError):
        plan(int(reply) + 1)


def test_there_is_one_profile() -> None:
    """A field of 32 bits is too small for it to be found out who wraps around."""
    with pytest.raises(TypeError):
        h.VerifiedSum(profile="compact")  # type: ignore[call-arg]
    with pytest.raises(AppError, match="profile"):
        set_(plan_of(), {"aggregator.profile": "compact"})


def test_buffers_cannot_hold_shares() -> None:
    plan = plan_of()
    with pytest.raises(h.errors.PlanError, match="buffered cannot run VerifiedSum"):
        next(h.buffered(plan, h.InProcess(clients(plan), secret=KEY)))


def test_a_helper_and_a_client_have_names_of_their_own() -> None:
    plan = plan_of()
    twin = h.Client("helper 1", plan, DATA["client-0"])
    with pytest.raises(h.errors.PlanError, match="A client and a helper are called 'helper 1'"):
        h.InProcess([*clients(plan), twin])


@pytest.mark.promise("P4")
def test_an_owner_can_insist_on_it() -> None:
    plan = plan_of(h.VerifiedSum(noise=0.7), rounds=1)
    allow = h.Policy(sees="sum", min_noise=0.7, min_cohort=2)
    (state,) = run(plan, h.InProcess([h.Client(who, plan, data, allow=allow) for who, data in DATA.items()]))
    assert state.participants == tuple(DATA)
    strict = [h.Client(who, plan, data, allow=replace(allow, min_noise=0.8)) for who, data in DATA.items()]
    with pytest.raises(h.errors.RoundError, match="None of the 5"):
        run(plan, h.InProcess(strict))


@pytest.mark.promise("P15")
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("place, words", [(3, "The delta has norm"), (-1, "The loss is")])
def test_an_honest_client_with_a_broken_vector_says_so_and_nothing_else(
    value: float, place: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(of: Plan, broadcast: Any, client_state: Any, data: Any, held: Any, at: Context) -> Any:
        if of is not plan:
            return (yield from contribute(of, broadcast, client_state, data, held, at))
        v = np.zeros(PLAN.encoded_spec.size)
        v[place] = value
        return v, client_state

    (one, *others), participants = honest(PLAN), list[Any]()
    plan = replace(PLAN)
    monkeypatch.setattr(parties_client, "contribute", train)
    broken = Crafted(one.who, plan, one.data, craft=lambda report: participants.append(report))
    with np.errstate(all="ignore"), pytest.warns(LeftOut, match=words):
        (state,) = states(PLAN, [broken, *others])
    assert state.participants == HONEST[1:] and not participants
    assert state.excluded == {"client-0": "data"}


@pytest.mark.promise("P17")
def test_a_client_without_the_helpers_key_says_nothing() -> None:
    clients = honest(PLAN)
    runtime = h.InProcess(clients)
    clients[0].roster = {}
    with pytest.warns(LeftOut, match="client-0 knows no public key of helper 1"):
        (state,) = h.synchronous(PLAN, runtime)
    assert state.excluded == {"client-0": "refused"}


@pytest.mark.promise("P120")
def test_who_has_no_identity_says_nothing() -> None:
    clients = honest(PLAN)
    runtime = h.InProcess(clients)
    clients[0].identity = None
    with pytest.warns(LeftOut, match="client-0 has no identity"):
        (state,) = h.synchronous(PLAN, runtime)
    assert state.excluded == {"client-0": "refused"}
    runtime.helpers["helper 1"].identity = None
    with pytest.warns(LeftOut, match="helper 1 has no identity"):
        (state,) = h.synchronous(PLAN, runtime)
    assert "helper 1 said no more" in state.skipped
