"""What clients remember for transforms lengthens no vector behind its clip, tells of no sample, and is no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.papers.quadratic import Quadratic, bowl

from hansa import (
    AdaptiveClip,
    App,
    Client,
    Clip,
    Ditto,
    Everyone,
    FedAvg,
    FedDyn,
    GaussianNoise,
    InProcess,
    Key,
    PerExample,
    Personal,
    Plan,
    Poisson,
    Quantize,
    Rotate,
    Sample,
    Scaffold,
    Softmax,
    Store,
    TopK,
    Training,
    Uniform,
    Weigh,
    synchronous,
)
from hansa.app.personal import stored_model
from hansa.errors import AppError, DataError, Diverged, PlanError
from hansa.explain import explain
from hansa.plan.noise import amplification
from hansa.privacy import examples, planned_privacy
from hansa.spec import Spec
from hansa.transforms import Context, Pipe, Session, Transform

OWED, TIGHT = TopK(0.3, feedback=True), (Clip(1.0), Weigh("one"))
QUIET = Training(report=False)
RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(8, 3)), RNG.integers(0, 2, 8)


def plan(*pipe: Transform, **more: Any) -> Plan:
    return Plan(**{"model": Softmax(3, 2), "pipe": pipe, "training": QUIET, "rounds": 4, **more})


MISPLACED: dict[str, tuple[Callable[[], Plan], str]] = {
    "a clip": (lambda: plan(Clip(1.0), OWED, Weigh("one"), GaussianNoise(1.0)), "after a bound on: delta"),
    "a learnt clip": (lambda: plan(AdaptiveClip(), OWED, Weigh("one")), "after a bound on: delta"),
    "a weight": (lambda: plan(Weigh("examples"), OWED), "after Weigh"),
    "noise of each": (lambda: plan(*TIGHT, GaussianNoise(1.0, by="each"), TopK(0.3)), "after noise"),
    "a rotation": (lambda: plan(Rotate(), OWED, Weigh("one")), "after Rotate"),
    "integers": (lambda: plan(*TIGHT, Quantize(12), TopK(0.3)), "after Quantize"),
    "nothing said": (lambda: plan(TopK(0.0), *TIGHT), "nothing to leave out"),
    "all said": (lambda: plan(TopK(1.0), *TIGHT), "nothing to leave out"),
    "a word": (lambda: plan(TopK("0.1"), *TIGHT), "nothing to leave out"),  # type: ignore[arg-type]
    "half a yes": (lambda: plan(TopK(0.1, 1), *TIGHT), "neither on nor off"),  # type: ignore[arg-type]
}


@pytest.mark.guards(
    "what is owed stands before its bound",
    "what is owed is not weighed",
    "no noise is left out",
    "what is owed is owed in the same numbers",
)
@pytest.mark.parametrize("case", MISPLACED, ids=lambda case: case.replace(" ", "-"))
def test_what_would_lengthen_a_vector_or_drop_noise_is_refused(case: str) -> None:
    build, words = MISPLACED[case]
    with pytest.raises(PlanError, match=words) as caught:
        build()
    assert caught.value.why and caught.value.instead.startswith(("Put TopK(", "Write"))


@pytest.mark.control("the same pieces in another order")
@pytest.mark.promise("P290")
def test_before_the_clip_it_has_the_epsilon_of_the_plan_without() -> None:
    for sample in (Everyone(), Poisson(0.2), Uniform(2, quorum=2)):
        found = [planned_privacy(plan(*first, *TIGHT, GaussianNoise(2.0), sample=sample), 9) for first in ([OWED], [])]
        assert found[0].guarantee(1e-5) == found[1].guarantee(1e-5) and found[0].epsilon(1e-5) is not None
    assert plan(Clip(1.0), TopK(0.3), Weigh("one")).encoded_spec.bounds["delta"] == 1.0


@dataclass(frozen=True)
class Heavy(Transform):
    """A stranger's: half of the last vector goes on in the next (momentum)."""

    def encode(self, v: Any, at: Context) -> Any:
        return v if at.remembered is None else v + at.remembered / 2

    def remember(self, v: Any, encoded: Any, at: Context) -> Any:
        return encoded


@dataclass(frozen=True)
class Curious(Heavy):
    """One that reads the examples."""

    reads = True


@pytest.mark.guards("who remembers a sample of fixed size amplifies nothing")
@pytest.mark.promise("P292")
@pytest.mark.parametrize(
    "piece", [OWED, Heavy(), Scaffold(), FedDyn(), Ditto(), Personal(Softmax(3, 2), ("bias",))], ids=repr
)
def test_who_remembers_whether_it_was_asked_tells_of_a_sample_of_fixed_size(piece: Any) -> None:
    """Of two clients one is asked: what the other owes in the next round says who it was."""

    def noisy(sample: Sample, noise: tuple[Transform, ...] = (GaussianNoise(2.0),)) -> Plan:
        steps, more = (*TIGHT, *noise), {"model" if isinstance(piece, Personal) else "algorithm": piece}
        return (
            plan(piece, *steps, sample=sample) if isinstance(piece, Transform) else plan(*steps, sample=sample, **more)
        )

    with pytest.raises(PlanError, match="no ε is known"):
        noisy(Uniform(2))
    assert amplification(noisy(Poisson(0.2))) and noisy(Uniform(2), ())
    known = noisy(Uniform(2, quorum=2))
    assert planned_privacy(known, 9).epsilon(1e-5) == planned_privacy(noisy(Everyone()), 9).epsilon(1e-5)
    assert "keeps it secret" not in str(explain(known, 9))
    assert "keeps it secret" in str(explain(plan(*TIGHT, GaussianNoise(2.0), sample=Uniform(2, quorum=2)), 9))


@pytest.mark.control("what hides an example hides it in what is made of it later")
def test_noise_for_examples_is_in_what_is_remembered() -> None:
    private = Training(report=False, private=PerExample(1.0, 1.0))
    for step, known in ((OWED, True), (Heavy(), True), (Curious(), False)):
        found = examples(plan(step, Weigh("one"), training=private), 100).epsilon(1e-5)
        assert (found is not None) == known


SPEC = Spec({"delta": 4}).with_side("loss")
PIPE = Pipe.of((OWED,), SPEC)
AT = Context(Session(0), Key.of(0), SPEC, "anna", memo=(None,))


@pytest.mark.guards("what is no number is not owed")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_none_keeps_its_client_out_and_is_not_owed_for_ever(bad: float) -> None:
    with pytest.raises(DataError, match="anna's delta"):
        PIPE.encode(np.array([bad, 1.0, 2.0, 3.0, 0.0]), AT)
    v, (kept,) = PIPE.encode(np.array([4.0, 1.0, 2.0, 3.0, bad]), AT)  # a loss is said as it is, and not owed
    assert not np.isfinite(v[-1]) and np.isfinite(kept["delta"]).all()


@pytest.mark.guards("many vectors have no memory of one")
def test_the_vectors_of_many_are_not_encoded_with_the_memory_of_one() -> None:
    _, kept = PIPE.encode(np.arange(5.0), AT)
    V = np.eye(3, 5)
    assert PIPE.encode(V, AT)[1] == (None,)
    with pytest.raises(TypeError, match="3 vectors"):
        PIPE.encode(V, Context(Session(0), Key.of(0), SPEC, "anna", memo=(None,), remembered=kept))


@dataclass(frozen=True)
class Nosy(FedAvg):
    """Keeps what is the plan's, by its name."""

    writes: bool = True

    def client(self, model: Any, broadcast: Any, client_state: Any, *more: Any) -> Any:
        assert "pipe" not in client_state
        parts, state = yield from super().client(model, broadcast, client_state, *more)
        return parts, {**state, "pipe": ()} if self.writes else {**state, "rounds": state.get("rounds", 0) + 1}


@pytest.mark.guards("an algorithm sees nothing of a transform's memory", "an algorithm replaces no transform's memory")
def test_no_algorithm_reads_or_replaces_what_transforms_remember() -> None:

    def ran(writes: bool) -> Any:
        p = plan(OWED, Weigh("one"), algorithm=Nosy(writes=writes))
        with InProcess([Client("c0", p, DATA)]) as runtime:
            states = list(synchronous(p, runtime))
            return runtime.memory.after(states[-1].counted)["c0"]

    kept = ran(False)
    assert kept["rounds"] == 4 and kept["pipe"][0]["delta"].any()
    with pytest.raises(TypeError, match="another name"):
        ran(True)


@pytest.mark.guards("who remembers unasked amplifies nothing")
@pytest.mark.promise("P292")
def test_a_strangers_algorithm_that_remembers_says_nothing_beside_a_sample_of_fixed_size() -> None:
    """Nobody knows before; so it ends before a vector leaves its client."""
    p = plan(*TIGHT, GaussianNoise(2.0), algorithm=Nosy(writes=False), sample=Uniform(1))
    with pytest.raises(TypeError, match="no ε is known"):
        list(synchronous(p, InProcess([Client("c0", p, DATA), Client("c1", p, DATA)])))


@pytest.mark.guards("what a transform remembers is no model")
def test_who_remembers_for_a_transform_alone_has_no_model_of_its_own(tmp_path: Path) -> None:
    """Its own model has left the range of numbers; to export the global one as its own would be wrong."""
    wild = Training(epochs=2, batch=2, learning_rate=0.3)
    p = Plan(Quadratic((0.0,) * 3), Ditto(lam=1e9), (OWED, Weigh("one")), training=wild, rounds=2)
    app = App(p, {"anna": bowl([1.0] * 3, [1.0, 2.0, 3.0], 6)})
    run = Store(tmp_path).new(repr(p), p.digest, "app", {}, 2)
    with pytest.warns(Diverged):
        *_, state = app.run(run)
    assert run.memory()["anna"].keys() == {"pipe"}
    with pytest.raises(AppError, match="no model of its own"):
        stored_model(app, run, state, "anna")
    run.finish("done")
