"""Noise correlated over rounds is C⁻¹Z: by explicit matrices, by all patterns of taking part, and by its draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, combinations, pairwise, product
from typing import Any

import numpy as np
import pytest

from hansa import (
    AdaptiveClip,
    Budget,
    Client,
    Clip,
    CorrelatedNoise,
    Everyone,
    GaussianNoise,
    InProcess,
    InTurn,
    Median,
    Plan,
    Poisson,
    Quantize,
    Softmax,
    State,
    Training,
    Uniform,
    Weigh,
    buffered,
    synchronous,
)
from hansa.errors import PlanError
from hansa.messages import SessionId
from hansa.plan.server import decoder
from hansa.privacy import planned_privacy, spent_privacy, stop_at_budget
from hansa.privacy.ledger import Ledger
from hansa.privacy.mechanisms import Release
from hansa.rand import Key
from hansa.transforms.correlated import Matrix, best, reach
from hansa.transforms.curves import Gaussian
from hansa.transforms.noise import SIDE_SHARE

KEY = Key.of(0)  # a secret that repeats

QUIET = Training(report=False)
SHAPES = [Matrix(rounds, bands) for rounds in (1, 2, 7, 12) for bands in (1, 2, 3, 12) if bands <= rounds]


def explicit(matrix: Matrix) -> tuple[Any, Any]:
    """C and C⁻¹, entry by entry."""
    c, e, T = matrix.column(), matrix.inverse(), matrix.rounds
    C, E = np.zeros((T, T)), np.zeros((T, T))
    for row in range(T):
        for col in range(row + 1):
            C[row, col] = c[row - col]
            E[row, col] = e[row - col] if row - col < matrix.bands else 0.0
    return C, E


def plan(noise: Any, *before: Any, rounds: int = 20, **more: Any) -> Plan:
    pipe = (*(before or (Clip(2.0), Weigh("one"))), noise)
    return Plan(Softmax(49, 4), pipe=pipe, **{"rounds": rounds, "training": QUIET, **more})


# ── the matrices ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("matrix", SHAPES, ids=str)
def test_the_one_is_the_inverse_of_the_other(matrix: Matrix) -> None:
    C, E = explicit(matrix)
    np.testing.assert_allclose(C @ E, np.eye(matrix.rounds), atol=1e-12)
    half = [math.prod((0.5 - i) / (i + 1) for i in range(j)) * (-1) ** j for j in range(matrix.bands)]
    np.testing.assert_allclose(matrix.inverse(), half, atol=1e-15)
    assert (matrix.column() > 0).all() or matrix.bands == 1
    assert (np.diff(matrix.column()) <= 0).all()  # what the sensitivity rests on


def test_with_all_bands_it_is_the_square_root_of_summing_up() -> None:
    C, _ = explicit(Matrix(12, 12))
    np.testing.assert_allclose(C @ C, np.tril(np.ones((12, 12))), atol=1e-12)


@pytest.mark.parametrize("separation", [1, 2, 3, 5])
@pytest.mark.parametrize("matrix", [Matrix(9, bands) for bands in (1, 2, 4, 9)], ids=str)
def test_no_pattern_of_taking_part_moves_more_than_the_sensitivity(matrix: Matrix, separation: int) -> None:
    """All sets of rounds that keep the separation, and all signs of what a client says in them."""
    C, worst = explicit(matrix)[0], 0.0
    for many in range(1, matrix.rounds + 1):
        for taken in combinations(range(matrix.rounds), many):
            if any(b - a < separation for a, b in pairwise(taken)):
                continue
            moved = max(np.linalg.norm(C[:, taken] @ signs) for signs in product((1.0, -1.0), repeat=many))
            assert moved == pytest.approx(reach(matrix, taken))
            worst = max(worst, moved)
    assert matrix.sensitivity(separation) == pytest.approx(worst)


def test_vectors_move_it_no_further_than_numbers_of_one_sign() -> None:
    matrix, rng = Matrix(9, 4), np.random.default_rng(0)
    C = explicit(matrix)[0]
    for _ in range(500):
        X = rng.normal(size=(9, 3))
        X /= np.linalg.norm(X, axis=1, keepdims=True)
        assert np.linalg.norm(C @ X) <= matrix.sensitivity(1)


@pytest.mark.parametrize("rounds, separation", [(1, 1), (10, 1), (10, 4), (60, 10), (60, 60)])
def test_the_error_is_that_of_the_matrices_and_the_best_is_the_least(rounds: int, separation: int) -> None:
    errors = []
    for bands in range(1, rounds + 1):
        matrix = Matrix(rounds, bands)
        B = np.tril(np.ones((rounds, rounds))) @ explicit(matrix)[1]
        errors.append(matrix.sensitivity(separation) * math.sqrt((B**2).sum() / rounds))
        assert matrix.error(separation) == pytest.approx(errors[-1])
    assert best(rounds, separation) == 1 + int(np.argmin(errors))


def test_at_equal_epsilon_the_model_has_less_noise_than_of_independent_draws() -> None:
    """z·S on every round's draws; independent ones have S = √k for k parts."""
    for rounds, separation, most in ((20, 4, 0.7), (200, 10, 0.45), (200, 100, 0.3)):
        independent = Matrix(rounds, 1)
        assert independent.sensitivity(separation) == pytest.approx(math.sqrt(math.ceil(rounds / separation)))
        assert Matrix(rounds, best(rounds, separation)).error(separation) < most * independent.error(separation)
    assert best(200, 1) == 1  # a client in every round cannot be hidden better by correlation


# ── the draws ────────────────────────────────────────────────────────────────────────────────────────────────────────


def noise_of_rounds(p: Plan, n: int = 4, secret: Key = KEY) -> Any:
    """[rounds, size] on the sums of all rounds."""
    zero, found, memo = np.zeros(p.encoded_spec.size), [], p.pipeline.start()
    for r in range(p.rounds):
        mean, memo = decoder(p, p.context(r, SessionId(number=r), n=n, population=n, memo=memo, secret=secret))(zero, n)
        found.append(n * mean)
    return np.array(found)


@pytest.mark.parametrize("separation, bands", [(1, 0), (4, 0), (4, 3), (20, 20)])
def test_undone_by_c_it_is_independent_of_the_right_size(separation: int, bands: int) -> None:
    """C·noise = Z: normal, of σ = z·S·C/√s, without correlation of rounds or numbers."""
    noise = CorrelatedNoise(0.8, separation, bands)
    p = plan(noise, Clip(2.0, side=5.0), Weigh("one"), training=Training())
    matrix = noise.matrix(p.rounds)
    assert matrix.bands == (bands or best(20, separation))
    Z = explicit(matrix)[0] @ noise_of_rounds(p)
    sigma = 0.8 * matrix.sensitivity(separation) * 2.0 / math.sqrt(1 - SIDE_SHARE)
    delta = Z[:, :200]
    assert delta.std() == pytest.approx(sigma, rel=5 / math.sqrt(2 * delta.size))
    assert np.mean(delta**4) / np.mean(delta**2) ** 2 == pytest.approx(3.0, abs=5 * math.sqrt(24 / delta.size))
    assert abs(delta.mean()) < 5 * sigma / math.sqrt(delta.size)
    side = Z[:, 200:] / (0.8 * matrix.sensitivity(separation) * 5.0 / math.sqrt(SIDE_SHARE))
    assert side.std() == pytest.approx(1.0, rel=5 / math.sqrt(2 * side.size))
    for rows in (delta, delta.T):
        apart = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
        assert np.abs(apart).max() < 6 / math.sqrt(rows.shape[1])


def test_the_model_has_the_error_that_is_promised() -> None:
    noise = CorrelatedNoise(1.0, separation=10)
    p = plan(noise, rounds=30)
    sums = np.cumsum(noise_of_rounds(p), axis=0)
    promised = 2.0 * noise.matrix(30).error(10)
    assert math.sqrt(np.mean(sums**2)) == pytest.approx(promised, rel=0.05)
    independent = 2.0 * Matrix(30, 1).error(10)
    assert promised < 0.6 * independent


def run(p: Plan, state: State | None = None, secret: Key = KEY) -> list[State]:
    rng = np.random.default_rng(0)
    data = {f"c{i}": (rng.normal(size=(6, 49)), rng.integers(0, 4, 6)) for i in range(12)}
    return list(synchronous(p, InProcess([Client(who, p, own) for who, own in data.items()]), state, secret))


def test_a_resumed_run_draws_the_same_and_another_secret_another() -> None:
    p = plan(CorrelatedNoise(1.0, separation=3), rounds=8, sample=InTurn(4))
    states = run(p)
    assert [state.x.tobytes() for state in run(p, states[3])] == [state.x.tobytes() for state in states[4:]]
    with pytest.raises(PlanError, match="from another secret"):
        run(p, states[3], Key.fresh())
    other = noise_of_rounds(p, secret=Key.fresh())
    assert abs(np.corrcoef(other.ravel(), noise_of_rounds(p).ravel())[0, 1]) < 0.15


# ── what it is worth ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P40")
def test_a_whole_run_is_one_gaussian_release() -> None:
    once = Ledger().plus(Release(Gaussian(1.5))).epsilon(1e-6)
    everyone = plan(CorrelatedNoise(1.5))
    turns = plan(CorrelatedNoise(1.5, separation=5), sample=InTurn(20))
    for p, population in ((everyone, None), (turns, 100), (turns, 119)):
        assert planned_privacy(p, population).epsilon(1e-6) == pytest.approx(once or 0, abs=1e-9)
    twenty = plan(GaussianNoise(1.5 * math.sqrt(20)))
    assert planned_privacy(everyone).epsilon(1e-6) == pytest.approx(
        planned_privacy(twenty).epsilon(1e-6) or 0, abs=1e-9
    )


@pytest.mark.promise("P40")
def test_who_comes_more_often_than_it_is_made_for_gives_more_away() -> None:
    """Also as planned: with 40 clients each has its turn every second round, and where nobody knows, each round."""
    p = plan(CorrelatedNoise(1.5, separation=5), sample=InTurn(20))
    once, matrix = planned_privacy(p, 100).epsilon(1e-6), p.pipe[2].matrix(20)
    for population, taken in ((40, range(0, 20, 2)), (None, range(20)), (10, range(20))):
        z = 1.5 * matrix.sensitivity(5) / reach(matrix, tuple(taken))
        found = planned_privacy(p, population).epsilon(1e-6)
        assert found == pytest.approx(Ledger().plus(Release(Gaussian(z))).epsilon(1e-6) or 0) and found > (once or 0)
    poisson = plan(CorrelatedNoise(1.5, separation=5), sample=Poisson(0.1))
    assert planned_privacy(poisson, 1000).epsilon(1e-6) == planned_privacy(p).epsilon(1e-6)


def test_what_is_spent_counts_the_rounds_of_each_client() -> None:
    p = plan(CorrelatedNoise(3.0, separation=4), rounds=12, sample=Uniform(3))
    start, matrix = p.start(), p.pipe[2].matrix(12)
    parts = {"a": (0, 4, 8), "b": (1, 2), "c": (5,)}
    rounds = [
        replace(start, round=r + 1, participants=tuple(who for who in parts if r in parts[who] and who != "c"),
                excluded={"c": "late"} if r == 5 else {})
        for r in range(12)
    ]  # fmt: skip
    ledger = spent_privacy(p, rounds)
    assert {who: {release.mechanism.taken for release in own} for who, own in ledger.clients.items() if own} == {
        who: {taken} for who, taken in parts.items()
    }
    longest = max(reach(matrix, taken) for taken in parts.values())
    z = 3.0 * matrix.sensitivity(4) / longest
    assert ledger.epsilon(1e-6) == pytest.approx(Ledger().plus(Release(Gaussian(z))).epsilon(1e-6) or 0, abs=1e-9)
    assert longest == pytest.approx(matrix.sensitivity(4))
    assert Ledger(ledger.secret, ledger.clients, accountant="pld").epsilon(1e-6) < (ledger.epsilon(1e-6) or 0)


def test_a_run_in_turn_spends_what_was_planned() -> None:
    p = plan(CorrelatedNoise(2.0, separation=3), rounds=9, sample=InTurn(4))
    states = run(p)
    assert [len(state.participants) for state in states] == [4] * 9 and not any(state.skipped for state in states)
    assert states[0].participants != states[1].participants and states[0].participants == states[3].participants
    assert spent_privacy(p, states, 12).epsilon(1e-6) == pytest.approx(planned_privacy(p, 12).epsilon(1e-6) or 0)
    assert (spent_privacy(p, states[:4], 12).epsilon(1e-6) or 0) < (planned_privacy(p, 12).epsilon(1e-6) or 0)


def test_a_budget_ends_such_a_run_in_time() -> None:
    p = plan(CorrelatedNoise(2.0, separation=3), rounds=9, sample=InTurn(4))
    whole, states = planned_privacy(p, 12).epsilon(1e-5) or 0, run(p)
    assert len(list(stop_at_budget(iter(states), p, Budget(whole * 1.001, 1e-5), 12))) == 9
    tight = Budget(whole * 0.9, 1e-5)
    kept = list(stop_at_budget(iter(states), p, tight, 12))
    assert 0 < len(kept) < 9 and (spent_privacy(p, kept, 12).epsilon(1e-5) or 9) <= tight.epsilon
    again = list(stop_at_budget(iter(states[2:]), p, tight, 12, past=states[:2]))
    assert [state.round for state in again] == [state.round for state in kept[2:]]
    with pytest.raises(PlanError, match="Not one round"):
        next(stop_at_budget(iter(states), p, Budget(0.01, 1e-5), 12))


CLIP, ONE = Clip(1.0), Weigh("one")

WRONG: dict[str, Callable[[], Any]] = {
    "without a bound": lambda: plan(CorrelatedNoise(1.0), ONE),
    "with a weight that nothing caps": lambda: plan(CorrelatedNoise(1.0), CLIP, Weigh("examples")),
    "before Weigh": lambda: Plan(Softmax(4, 2), pipe=(CLIP, CorrelatedNoise(1.0), ONE), training=QUIET),
    "after Quantize": lambda: plan(CorrelatedNoise(1.0), CLIP, ONE, Quantize(16)),
    "after other noise": lambda: plan(CorrelatedNoise(1.0), CLIP, ONE, GaussianNoise(1.0)),
    "with a clip that is learnt": lambda: plan(CorrelatedNoise(1.0), AdaptiveClip(), ONE),
    "of nothing": lambda: plan(CorrelatedNoise(0.0)),
    "in words": lambda: plan(CorrelatedNoise("1")),  # type: ignore[arg-type]
    "of rounds that nothing separates": lambda: plan(CorrelatedNoise(1.0, separation=0)),
    "of half a round": lambda: plan(CorrelatedNoise(1.0, separation=1.5)),  # type: ignore[arg-type]
    "of fewer than no bands": lambda: plan(CorrelatedNoise(1.0, bands=-1)),
    "with a robust rule": lambda: plan(CorrelatedNoise(1.0), aggregator=Median(), sample=Uniform(10)),
    "in a buffer": lambda: next(buffered(plan(CorrelatedNoise(1.0)), None)),  # type: ignore[arg-type]
    "a turn of nobody": lambda: plan(CorrelatedNoise(1.0), sample=InTurn(0)),
    "a turn of fewer than the quorum": lambda: plan(CorrelatedNoise(1.0), sample=InTurn(3, quorum=4)),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_plans_fail_when_they_are_built(wrong: Callable[[], Any]) -> None:
    with pytest.raises(PlanError) as caught:
        wrong()
    assert caught.value.found and caught.value.why and caught.value.instead


def test_turns_go_round_in_the_order_of_the_roster() -> None:
    roster = [f"c{i}" for i in range(10)]
    draws = [InTurn(4).draw(roster, plan(CorrelatedNoise(1.0)).key, r) for r in range(5)]
    assert draws[0] == roster[:4] and draws[1] == roster[4:8] and draws[2] == ["c0", "c1", "c8", "c9"]
    assert sorted(chain(*draws)) == sorted(roster * 2)
    assert InTurn(4).draw(roster[:3], plan(CorrelatedNoise(1.0)).key, 7) == roster[:3]
    assert Everyone().draw(roster, plan(CorrelatedNoise(1.0)).key) == roster
