"""TopK with error feedback, beside the papers' algorithm in plain NumPy, and wherever clients live."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.papers.quadratic import Quadratic, bowl

import hansa as h
from hansa.aggregators import Aggregator
from hansa.algorithms import PIPE
from hansa.errors import Diverged
from hansa.explain import explain
from hansa.testing.asserts import equal


@dataclass(frozen=True)
class Fussy(Aggregator):
    """The sum of all whose vector is heard, but for the last of them."""

    def server(self, channel: Any, cohort: Any, decode: Any) -> Any:
        said = channel.gather(dict.fromkeys(cohort))
        *kept, out = sorted(said) or [""]
        if out:
            channel.exclude(out, "bad luck")
        return (decode(sum(said[who] for who in kept), len(kept)) if kept else None), kept


D, K, ETA = 7, 2, 0.3
RNG = np.random.default_rng(3)
BOWLS = {f"c{i}": (RNG.uniform(0.2, 1.0, D), RNG.normal(size=D)) for i in range(5)}
ONE_STEP = h.Training(steps=1, batch=0, learning_rate=ETA)
KEY = h.Key.of(4)
# 3 of 5 are asked, and some of those are not heard
PLAN = h.Plan(
    Quadratic((0.0,) * D), pipe=(h.TopK(K / D, True), h.Weigh("one")), training=ONE_STEP, sample=h.Uniform(3), rounds=12
)  # fmt: skip
NOISY = replace(PLAN, pipe=(h.TopK(0.2, True), h.Clip(0.5, side=9.0), h.Weigh("one"), h.GaussianNoise(0.1, by="each")))


def clients(plan: h.Plan) -> list[h.Client]:
    return [h.Client(who, plan, bowl(*one), secret=KEY.child(who)) for who, one in BOWLS.items()]


def rounds(plan: h.Plan, runtime: Any = None, state: Any = None) -> Iterator[tuple[h.State, dict[str, Any]]]:
    """Each state, and what clients remember after it."""
    runtime = runtime or h.InProcess(clients(plan), h.Network(drop=0.3), secret=KEY)
    with runtime:
        for after in h.synchronous(plan, runtime, state, KEY):
            yield after, runtime.memory.after(after.counted)


def owed(memory: dict[str, Any], who: str) -> Any:
    """e of a client."""
    return memory[who][PIPE][0]["delta"] if who in memory else np.zeros(D)


@pytest.mark.guards("what has not counted is forgotten")
@pytest.mark.promise("P290")
def test_it_is_the_algorithm_of_the_papers_and_who_does_not_count_owes_what_it_owed() -> None:
    """PARALLEL-MEM-SGD: g = topₖ(m + η∇f(x)), m ← m + η∇f(x) − g, x ← x − mean g   (Stich et al. 2018, Alg. 2)."""
    x, m = np.zeros(D), dict.fromkeys(BOWLS, np.zeros(D))
    lost, fussy = 0, replace(PLAN, sample=h.Uniform(4), aggregator=Fussy())
    for state, memory in rounds(fussy):
        total = np.zeros(D)
        for who in state.participants:
            a, b = BOWLS[who]
            u = m[who] + ETA * a * (x - b)
            g = np.zeros(D)
            for j in sorted(range(D), key=lambda j: -abs(u[j]))[:K]:
                g[j] = u[j]
            m[who] = u - g
            total += g
        x = x - total / max(1, len(state.participants))
        lost += len(state.excluded)
        assert np.abs(state.x - x).max() <= 1e-12
        assert all(np.abs(owed(memory, who) + m[who]).max() <= 1e-12 for who in BOWLS)  # −Δ is a gradient
    assert lost > 12 and np.linalg.norm(m["c0"]) > 0.01  # one of them in each round, and some that the network lost


@pytest.mark.promise("P290")
def test_over_rounds_all_is_said() -> None:
    """Σ said = Σ v − e: with the same gradients in all rounds, what is still owed stays as small as it was."""
    flat = replace(PLAN, sample=h.Everyone(), rounds=60)
    target = np.mean([ETA * a * b for a, b in BOWLS.values()], axis=0)

    def still(state: h.State) -> h.State:
        return replace(state, x=np.zeros(D))

    runtime, said = h.InProcess(clients(flat), secret=KEY), np.zeros(D)
    state, sizes = flat.start(), []
    with runtime:
        for _ in range(flat.rounds):
            state = next(h.synchronous(flat, runtime, still(state), KEY))
            said += state.x
            sizes.append(max(np.linalg.norm(owed(runtime.memory.after(state.counted), who)) for who in BOWLS))
            runtime.memory.load(runtime.memory.after(state.counted))
    left = np.mean([owed(runtime.memory.of(BOWLS), who) for who in BOWLS], axis=0)
    assert np.allclose(said + left, flat.rounds * target, atol=1e-12)
    assert max(sizes[30:]) <= 1.5 * max(sizes[:30])


@pytest.mark.promise("P291")
def test_what_is_not_remembered_is_lost() -> None:
    """Without feedback nobody remembers anything; numbers that are never the largest never move."""
    plain = replace(PLAN, pipe=(h.TopK(K / D), h.Weigh("one")), sample=h.Everyone(), rounds=3)
    (state, memory), *_ = rounds(plain, h.InProcess(clients(plain), secret=KEY))
    assert not memory
    v = {who: ETA * a * b for who, (a, b) in BOWLS.items()}
    chosen = np.array([np.where(np.argsort(np.argsort(-np.abs(u))) < K, u, 0) for u in v.values()])
    assert np.allclose(state.x, chosen.mean(0), atol=1e-15)
    assert "what it leaves out is lost" in str(explain(plain))


# ── wherever clients live ──


@pytest.mark.promise("P290")
@pytest.mark.parametrize("plan", [PLAN, NOISY], ids=["plain", "noise"])
def test_a_resumed_run_and_workers_end_with_the_same_bytes(plan: h.Plan) -> None:
    whole = list(rounds(plan, h.InProcess(clients(plan), secret=KEY)))
    with_workers = list(rounds(plan, h.Processes(clients(plan), workers=2, secret=KEY)))
    half = plan.rounds // 2
    again = h.InProcess(clients(plan), secret=KEY)
    again.memory.load(whole[half - 1][1])
    rest = list(rounds(plan, again, whole[half - 1][0]))
    for one, other in [*zip(whole, with_workers, strict=True), *zip(whole[half:], rest, strict=True)]:
        assert one[0].x.tobytes() == other[0].x.tobytes() and equal(one[1], other[1])


@pytest.mark.promise("P290")
def test_a_run_that_is_stopped_goes_on_with_what_is_owed(tmp_path: Path) -> None:
    app = h.App(PLAN, {who: bowl(*one) for who, one in BOWLS.items()})
    *_, whole = app.run()
    run = h.Store(tmp_path).new(repr(PLAN), PLAN.digest, "app", {}, PLAN.rounds)
    list(islice(app.run(run), 5))
    run.finish("stopped")
    run = h.Store(tmp_path).resume(run.id)
    assert run.memory()["c0"][PIPE][0]["delta"].any()
    *_, state = app.run(run)
    assert state.x.tobytes() == whole.x.tobytes()
    run.finish("done")


def test_a_population_is_let_go_and_owes_what_it_owed() -> None:
    def data(i: int) -> Any:
        return bowl(*BOWLS[f"c{i}"])

    many = h.Population(PLAN, len(BOWLS), data, secret=KEY)
    listed = [h.Client(many.names[i], PLAN, data(i), secret=KEY) for i in range(len(BOWLS))]
    found = [list(rounds(PLAN, h.InProcess(one, secret=KEY)))[-1] for one in (many, listed)]
    assert found[0][0].x.tobytes() == found[1][0].x.tobytes() and equal(found[0][1], found[1][1])


# ── beside other pieces ──


@pytest.mark.promise("P290")
def test_a_verified_sum_proves_what_is_said() -> None:
    pipe = (h.TopK(K / D, True), h.Clip(2.0, side=50.0), h.Weigh("one"), h.Quantize(20))
    plain = replace(PLAN, pipe=pipe, sample=h.Everyone(quorum=2), rounds=3)
    proven = replace(plain, aggregator=h.VerifiedSum())
    (one, mine), (other, theirs) = (list(rounds(plan))[-1] for plan in (plain, proven))
    assert other.participants == one.participants and np.allclose(one.x, other.x, atol=1e-3)
    assert all(np.allclose(owed(mine, who), owed(theirs, who), atol=1e-3) for who in BOWLS)


def test_each_block_is_chosen_from_and_side_values_and_statistics_pass_whole() -> None:
    spec = h.spec.Spec({"delta": 3, "statistics": 3, "control": 2}, kinds={"statistics": "statistics"}).with_side(
        "loss"
    )
    pipe = h.transforms.Pipe.of((h.TopK(0.34, True),), spec)
    at = h.transforms.Context(h.transforms.Session(0), KEY, spec, memo=(None,))
    v = np.array([1.0, -3.0, 3.0, 0.1, 0.2, 0.3, 5.0, -6.0, 9.0])
    said, kept = pipe.encode(v, at)  # ⌈0.34·3⌉ = 2 and ⌈0.34·2⌉ = 1; of 3 and −3 the first
    assert said.tolist() == [0.0, -3.0, 3.0, 0.1, 0.2, 0.3, 0.0, -6.0, 9.0]
    assert equal(kept, ({"delta": np.array([1.0, 0.0, 0.0]), "control": np.array([5.0, 0.0])},))
    level, _ = h.transforms.Pipe.of((h.TopK(0.34),), spec).encode(np.ones(9), at)
    assert level[:3].tolist() == [1.0, 1.0, 0.0]
    assert h.TopK(0.07)._many(100) == 7 and h.TopK(1e-9)._many(5) == 1


@pytest.mark.promise("P291")
def test_messages_are_as_long_as_before() -> None:
    """No bytes are saved, and it is said."""
    lengths = set()
    for pipe in (PLAN.pipe, PLAN.pipe[1:]):
        plan = replace(PLAN, pipe=pipe)
        at = plan.context(0, h.messages.SessionId(), "c0", secret=KEY, memo=plan.pipeline.start())
        v, _ = plan.pipeline.encode(np.arange(D + 1.0), at)
        session = h.messages.SessionId("run", 0, 0)
        lengths.add(sum(map(len, h.messages.Reply(session, 0, ("c0",), v).encode())))
    assert len(lengths) == 1
    words = str(explain(PLAN))
    assert "says the largest 2 of 7 numbers of delta, and zeros, which travel too" in words
    assert "each client remembers | for TopK(" in words and "stays with the client" in words


def test_a_model_of_ones_own_that_diverges_leaves_what_is_owed() -> None:
    """The global model waits for it, whatever becomes of the client's own."""
    how = h.Training(epochs=2, batch=2, learning_rate=0.3)
    wild = replace(PLAN, algorithm=h.Ditto(lam=1e9), training=how, sample=h.Everyone(), rounds=4)
    tame = replace(wild, algorithm=h.FedAvg())
    with pytest.warns(Diverged):
        found = list(rounds(wild))
    for (one, mine), (other, theirs) in zip(found, rounds(tame), strict=True):
        assert one.x.tobytes() == other.x.tobytes()
        assert all(np.array_equal(owed(mine, who), owed(theirs, who)) for who in BOWLS)
    assert any("personal" not in state for state in found[-1][1].values())
