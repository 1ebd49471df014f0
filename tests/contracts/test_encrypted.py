"""EncryptedSum is the plain sum, bit for bit, of those who are in it; what cannot be encrypted is refused before."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_encrypted import Circle, Line
from tests.attacks.attackers_hidden import why

import hansa as h
from hansa.aggregators import revealed
from hansa.aggregators.encrypted import packed
from hansa.aggregators.grouped import Grouped
from hansa.aggregators.hidden.terms import colluding, needed, sharing_of
from hansa.analytics import Count, ask
from hansa.crypto.packing import DEGREE
from hansa.errors import PlanError
from hansa.messages import Reply, SessionId
from hansa.spec import Spec, SumFacts
from hansa.store import Store, verify
from hansa.testing import check_aggregator

# ── the sum ──


@pytest.mark.promise("P420")
@pytest.mark.parametrize("threshold", [2 / 3, 0.7, 0.8, 0.9])
def test_of_ten_any_may_vanish_at_any_turn(threshold: float) -> None:
    """t = 7 … 10; one after another goes at one of the four turns."""
    circle = Circle(10, threshold=threshold)
    t = needed(threshold, 10)
    draw = np.random.default_rng(t)
    for turn, gone in product(range(4), {0, 1, 10 - t}):
        out = draw.permutation(circle.names)[: min(gone, 10 - t)].tolist()
        total, inside, cell = Line(circle, gone=dict.fromkeys(out, turn)).served()
        assert total is not None, why(cell)
        assert inside == [who for who in circle.names if who not in out or turn > 1]
        assert total.dtype == np.uint16 and np.array_equal(total, circle.sum(inside))


def test_of_three() -> None:
    circle = Circle(3, size=3 * DEGREE + 1)
    total, inside, _ = Line(circle).served()
    assert total is not None and inside == circle.names
    assert np.array_equal(total, circle.sum(inside))


@pytest.mark.parametrize("threshold", [2 / 3, 0.98])
def test_of_a_hundred(threshold: float) -> None:
    circle = Circle(100, threshold=threshold)
    t = needed(threshold, 100)
    out = np.random.default_rng(1).permutation(circle.names)[: 100 - t]
    gone = {str(who): i % 4 for i, who in enumerate(out)}
    total, inside, cell = Line(circle, gone=gone).served()
    assert total is not None, why(cell)
    assert inside == [who for who in circle.names if gone.get(who, 9) > 1]
    assert np.array_equal(total, circle.sum(inside))


@pytest.mark.parametrize("turn", range(4))
def test_below_t_nothing_is_opened(turn: int) -> None:
    circle = Circle(10)
    total, _, cell = Line(circle, gone=dict.fromkeys(circle.names[:4], turn)).served()
    assert total is None
    assert "6 of 10 clients" in why(cell) and "must" in why(cell)


DATA = {f"c{i}": (np.random.default_rng(i).normal(size=(9, 3)).astype(np.float32), np.arange(9) % 2) for i in range(5)}
HEAD = (h.Clip(1.0, side=10.0), h.Weigh("one"))
PIPES = {
    "plain": (*HEAD, h.Quantize(24, of="sum", clients=5)),
    "rotated": (*HEAD, h.Rotate(), h.Quantize(24, of="sum", clients=5)),
    "noisy": (*HEAD, h.Quantize(24, of="sum", clients=5), h.SkellamNoise(1e-4, by="all", least=4)),
}


def run(aggregator: Any, pipe: str, workers: bool = False) -> list[Any]:
    """The states after two rounds."""
    sample = h.Everyone(quorum=4)
    plan = h.Plan(h.Softmax(3, 2), pipe=PIPES[pipe], aggregator=aggregator, sample=sample, rounds=2)
    clients = [h.Client(who, plan, one) for who, one in DATA.items()]
    with h.Processes(clients, workers=2) if workers else h.InProcess(clients) as runtime:
        return list(h.synchronous(plan, runtime))


@pytest.mark.parametrize(("pipe", "workers"), [("plain", False), ("rotated", False), ("noisy", False), ("plain", True)])
def test_a_run_is_that_of_the_plain_sum(pipe: str, workers: bool) -> None:
    """Up to rounding, and a little noise, which are drawn anew."""
    for plain, encrypted in zip(run(h.Sum(), pipe), run(h.EncryptedSum(), pipe, workers), strict=True):
        assert plain.participants == encrypted.participants and not encrypted.skipped
        assert np.allclose(plain.x, encrypted.x, atol=2e-3 if pipe == "noisy" else 2e-5)
        assert not np.array_equal(plain.x, np.zeros_like(plain.x))


def test_it_keeps_what_every_aggregator_promises() -> None:
    pipe = (h.Clip(10.0, side=10.0), h.Weigh("one"), h.Quantize(40, of="sum", clients=12))
    check_aggregator(h.EncryptedSum(), pipe)


def test_a_survey_is_answered_under_encryption() -> None:
    free = dict.fromkeys(DATA, h.Policy())
    questions: dict[str, Any] = {"n": Count()}
    ways = {"aggregator": h.EncryptedSum(), "pipe": [h.Quantize(24, of="sum", clients=5)], "quorum": 4}
    found = ask(questions, DATA, most=20, policies=free, **ways)
    assert abs(found["n"] - 45) < 0.01  # 24 bits


def test_in_cells_with_a_median_over_them() -> None:
    """Three sums are opened, and all clients are in one."""
    robust = h.Median()
    data = {f"c{i}": (np.full((9, 3), i / 9, np.float32), np.arange(9) % 2) for i in range(9)}
    sample = h.Everyone(quorum=9)
    pipe = (*HEAD, h.Quantize(24, of="sum", clients=9))
    plan = h.Plan(h.Softmax(3, 2), pipe=pipe, aggregator=Grouped(h.EncryptedSum(), 3, robust), sample=sample, rounds=1)
    (state,) = h.synchronous(plan, h.InProcess([h.Client(who, plan, one) for who, one in data.items()]))
    assert sorted(state.participants) == sorted(data) and not state.skipped


def test_a_record_of_it_is_verified(tmp_path: Path) -> None:
    plan = h.Plan(
        h.Softmax(3, 2), pipe=PIPES["plain"], aggregator=h.EncryptedSum(), sample=h.Everyone(quorum=4), rounds=2
    )
    run = Store(tmp_path / "runs").new("plan", plan.digest, "app", {}, plan.rounds)
    for state in h.synchronous(plan, h.InProcess([h.Client(who, plan, one) for who, one in DATA.items()])):
        run.commit(state)
    assert verify(run) == 2


# ── what fits ──


def spec_of(**facts: Any) -> Spec:
    return Spec({"delta": 100}, space="integer", sum_facts=SumFacts(**{"modulus": 16, "clients": 10, **facts}))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Spec({"delta": 100}), "Quantize"),
        (spec_of(modulus=64), "Quantize(48, of='sum')"),
        (spec_of(modulus=53), "room for 52"),
        (spec_of(modulus=48, clients=300), "sample 218 clients at most"),
        (spec_of(clients=2), "3 or more"),
        (spec_of(clients=1001), "1000 are the most"),
        (spec_of(modulus=46, clients=0), "room for 45"),
    ],
    ids=["real", "64 bits", "one bit beyond", "too many clients", "two", "more than are asked", "nobody counts"],
)
def test_what_cannot_be_encrypted_is_refused(spec: Spec, words: str) -> None:
    with pytest.raises(PlanError) as refused:
        h.EncryptedSum().plan(spec)
    assert words in str(refused.value)


@pytest.mark.parametrize("facts", [{"modulus": 52}, {"modulus": 48, "clients": 218}, {"modulus": 45, "clients": 0}])
def test_one_bit_or_client_less_fits(facts: Any) -> None:
    h.EncryptedSum().plan(spec_of(**facts))


@pytest.mark.parametrize("threshold", [0.5, 1, 0.6, True, "all"])
def test_a_threshold_that_protects_nobody_is_refused(threshold: Any) -> None:
    with pytest.raises(PlanError, match="EncryptedSum"):
        h.EncryptedSum(threshold).plan(spec_of())


def test_where_noise_may_carry_a_number_beyond_its_bits_there_is_one_to_spare() -> None:
    assert packed(spec_of(clients=100), 100).width == 16
    noisy = spec_of(clients=100)
    noisy = noisy.replace(sum_facts=replace(noisy.sum_facts, noise=replace(noisy.noise, multiplier=1.0)))
    assert packed(noisy, 100).width >= 17
    assert packed(spec_of(clients=100).replace(kinds={"delta": "spread"}), 100).width >= 17


# ── what is said of it ──


@pytest.mark.promise("P420")
def test_it_says_its_parameters() -> None:
    words = h.EncryptedSum().in_numbers(spec_of(), 10)
    for part in (
        "10 clients",
        "7 open",
        "Up to 3",
        "degree 4096",
        "64 bits",
        "3 sums of 17 bits",
        "3.24",
        "1502",
        "4096",
    ):
        assert part in words, words
    assert h.EncryptedSum().in_numbers(spec_of(), 2) == ""
    assert repr(h.EncryptedSum()) == "EncryptedSum()" and repr(h.EncryptedSum(0.9)) == "EncryptedSum(threshold=0.9)"


@pytest.mark.promise("P420")
def test_the_server_sees_the_sum_alone_and_what_that_rests_on_is_said() -> None:
    assert revealed(h.EncryptedSum()).server == "sum"
    assert any("RLWE" in need for _, _, need in h.EncryptedSum().visibility())


@pytest.mark.parametrize("n", [3, 4, 9, 10, 30])
def test_no_answer_is_longer_than_what_is_said(n: int) -> None:
    """Also of a cell that is smaller than the plan's largest."""
    circle = Circle(n)
    line = Line(circle)
    line.served()
    for most in (n, 30):
        spec = spec_of(clients=most)
        for turn, answers in enumerate(line.said):
            longest = h.EncryptedSum().largest_reply(spec, turn)
            for who, body in answers.items():
                reply = Reply(SessionId("a run"), 0, (who,), body)
                assert sum(map(len, reply.encode())) <= longest


@pytest.mark.parametrize("n", [3, 4, 10, 100, 1000])
def test_as_many_secrets_ride_on_a_polynomial_as_colluders_allow(n: int) -> None:
    """So many shares as colluders may have reveal nothing."""
    t = needed(2 / 3, n)
    sharing = sharing_of(h.EncryptedSum.scheme, n, t)
    assert sharing.t - sharing.pack == 2 * t - n - 1 >= colluding(2 / 3, n)
    assert sharing.columns(DEGREE) == math.ceil(DEGREE / (n + 1 - t))
    if n >= 10:
        assert n * sharing.columns(DEGREE) * 8 < 120_000
