"""The checks of models, aggregators and runtimes pass what keeps its promises, and notice what does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from tests.papers.quadratic import Quadratic, bowl

from hansa import Clip, InProcess, Key, Network, Quantize, Softmax, Sum, Training, Weigh
from hansa.aggregators import Aggregator
from hansa.crypto.identity import Identity
from hansa.errors import DataError
from hansa.messages import Reply, Settle
from hansa.models import Drift, TrainResult
from hansa.testing import check_aggregator, check_model, check_runtime
from hansa.testing.algorithm import federation

DATA = federation()["client-3"]

# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_softmax() -> None:
    X, y = DATA
    check_model(Softmax(4, 3), DATA)
    check_model(Softmax(4, 3), {"x": X, "y": y})
    check_model(Softmax(4, 3), lambda: iter([(X[:9], y[:9]), (X[9:], y[9:])]))
    check_model(Softmax(4, 3), (X.reshape(-1, 2, 2).astype(np.float32), y.astype(np.uint8)))


def test_quadratic() -> None:
    check_model(Quadratic((0.0, 1.0)), bowl([1.0, 2.0], [3.0, -3.0], examples=5), bad=())


class Shares(Softmax):
    """Give a vector that the next training writes into."""

    store = np.zeros(15)

    def train(self, *given: Any) -> TrainResult:
        fit = super().train(*given)
        self.store[:] = fit.x
        return replace(fit, x=self.store)


class Haunted(Softmax):
    """Go on from what the last client left."""

    left = 0

    def train(self, *given: Any) -> TrainResult:
        fit = super().train(*given)
        type(self).left += 1
        return replace(fit, local={"left": np.array(self.left)})


class Overwrites(Softmax):
    """Renew a client's own numbers in place."""

    def train(self, x: Any, data: Any, training: Training, drift: Drift, key: Key, local: Any = None) -> TrainResult:
        fit, own = super().train(x, data, training, drift, key), local or {"seen": np.zeros(1)}
        own["seen"] += 1
        return replace(fit, local=own)


class Clings(Softmax):
    """Score with what the last client has scored with."""

    own: Any = {}  # noqa: RUF012

    def train(self, *given: Any) -> TrainResult:
        return replace(super().train(*given), local={"scale": np.array(2.0)})

    def score(self, x: Any, data: Any, local: Any = None) -> dict[str, float]:
        type(self).own = local or self.own
        return {k: v * float(self.own.get("scale", 1.0)) for k, v in super().score(x, data).items()}


class Scribbles(Softmax):
    """Train in the vector that is given."""

    def train(self, x: Any, *given: Any) -> TrainResult:
        fit = super().train(x, *given)
        x[:] = fit.x
        return fit


class Shuffles(Softmax):
    """Sort the owner's data."""

    def train(self, x: Any, data: Any, *given: Any) -> TrainResult:
        data.arrays[0].sort(axis=0)
        return super().train(x, data, *given)


class OwnDice(Softmax):
    """Draw from nowhere."""

    def train(self, *given: Any) -> TrainResult:
        fit = super().train(*given)
        return replace(fit, x=fit.x + np.random.default_rng().normal(size=15))


class Deaf(Softmax):
    """Train without any drift."""

    def train(self, x: Any, data: Any, training: Training, drift: Drift, key: Key, *local: Any) -> TrainResult:
        return super().train(x, data, training, Drift(), key)


class Centreless(Softmax):
    """Pull to the start, whatever the centre."""

    def train(self, x: Any, data: Any, training: Training, drift: Drift, key: Key, *local: Any) -> TrainResult:
        return super().train(x, data, training, replace(drift, centre=None), key)


class Upside(Softmax):
    """Add the shift to the step, not to the gradient."""

    def train(self, x: Any, data: Any, training: Training, drift: Drift, key: Key, *local: Any) -> TrainResult:
        turned = None if drift.shift is None else -drift.shift
        return super().train(x, data, training, replace(drift, shift=turned), key)


class Capped(Softmax):
    """Keep weights small, so that no long step tells a gradient."""

    def train(self, *given: Any) -> TrainResult:
        fit = super().train(*given)
        return replace(fit, x=np.clip(fit.x, -50, 50))


class MovesStatistics(Softmax):
    """Claim that the last numbers are not trained, and let a drift move them."""

    @property
    def trainable(self) -> int:
        return self.size - 3


class Sums(Softmax):
    """Give sums for scores."""

    def score(self, x: Any, data: Any, *local: Any) -> dict[str, float]:
        n = len(data)
        return {name: value * n for name, value in super().score(x, data).items()}


class Extra(Softmax):
    """Give a score that is not declared."""

    def score(self, x: Any, data: Any, *local: Any) -> dict[str, float]:
        return {**super().score(x, data), "f1": 0.5}


class Gullible(Softmax):
    """Accept any data."""

    def check(self, data: Any, who: str, training: Any = None) -> None:
        pass


class Anonymous(Softmax):
    """Refuse without a name."""

    def check(self, data: Any, who: str, training: Any = None) -> None:
        try:
            super().check(data, who, training)
        except DataError:
            raise DataError("Something is wrong.") from None


class Tireless(Softmax):
    """Take twice the steps."""

    def train(self, x: Any, data: Any, training: Training, drift: Drift, key: Key, *local: Any) -> TrainResult:
        more = replace(training, steps=2 * training.steps) if training.steps else training
        return super().train(x, data, more, drift, key)


class Restless(Softmax):
    """Start somewhere else each time."""

    def start(self, key: Key) -> Any:
        return np.random.default_rng().normal(size=15)


class Unlearns(Softmax):
    """Climb."""

    def train(self, x: Any, *given: Any) -> TrainResult:
        fit = super().train(x, *given)
        return replace(fit, x=2 * x - fit.x)


class Gaps(Softmax):
    """Leave out the biases among the parts."""

    def slices(self) -> Any:
        return {"weight": slice(0, 12)}


class Straddles(Softmax):
    """A part of which some numbers are trained and some not."""

    trainable = 13

    def slices(self) -> Any:
        return {"weight": slice(0, 12), "bias": slice(12, 15)}


class Swaps(Softmax):
    """Tensors whose names are swapped."""

    def start(self, key: Key) -> Any:
        return np.arange(15.0)

    def tensors(self, x: Any) -> Any:
        return {"weight": x[3:], "bias": x[:3]}


class Nameless(Softmax):
    """Print where it lies in memory."""

    __repr__ = object.__repr__


@pytest.mark.parametrize(
    "model, sentence",
    [
        (Shares, "changes in the next training"),
        (Scribbles, "modifies the vector"),
        (Shuffles, "modifies its data"),
        (OwnDice, "not a function of its arguments"),
        (Haunted, "nothing of a client may stay"),
        (Overwrites, "modifies the client's own statistics"),
        (Clings, "something else when it is called again"),
        (Deaf, "a drift's pull"),
        (Centreless, "a drift's pull"),
        (Upside, "a drift's shift"),
        (Capped, "no gradient that a short step"),
        (MovesStatistics, "a drift's pull"),
        (Sums, "accuracy is|mean of two parts"),
        (Extra, "f1"),
        (Gullible, "accepts bad data"),
        (Anonymous, "name the client"),
        (Tireless, "took 6 steps"),
        (Restless, "function of its key"),
        (Unlearns, "a drift's|takes the loss"),
        (Nameless, "repr"),
        (Gaps, "one behind the other"),
        (Straddles, "as a whole or not at all"),
        (Swaps, "other numbers than its slice"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_model_that_breaks_a_promise(model: type[Softmax], sentence: str) -> None:
    X, y = DATA
    with pytest.raises(AssertionError, match=sentence):
        check_model(model(4, 3), (X.copy(), y.copy()))


# ── aggregators ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sum() -> None:
    check_aggregator(Sum())
    check_aggregator(Sum(), (Weigh("examples"),), clients=3)
    check_aggregator(Sum(), (Clip(5.0, side=5.0), Weigh("examples", cap=30), Quantize(40)))


@dataclass(frozen=True)
class Fives(Aggregator):
    """Add up five, and forget the others."""

    def server(self, channel: Any, cohort: Sequence[str], decode: Any) -> Any:
        received = channel.gather(dict.fromkeys(cohort[:5]))
        return decode(sum(received.values()), len(received)), list(received)


@dataclass(frozen=True)
class Doubles(Aggregator):
    """Divide by too few."""

    def server(self, channel: Any, cohort: Sequence[str], decode: Any) -> Any:
        total, participants = channel.sum(cohort)
        return decode(2 * total.value(), len(participants)), participants


@dataclass(frozen=True)
class AllThere(Aggregator):
    """Divide by those who were asked, and call them all present."""

    def server(self, channel: Any, cohort: Sequence[str], decode: Any) -> Any:
        total, _ = channel.sum(cohort)
        return decode(total.value(), len(cohort)), list(cohort)


@dataclass(frozen=True)
class AsItComes(Aggregator):
    """Weigh by the order of arrival."""

    def server(self, channel: Any, cohort: Sequence[str], decode: Any) -> Any:
        turn = channel._send(dict.fromkeys(cohort))
        replies = list(channel._replies(set(cohort), turn))
        total = sum(i * reply.body for i, reply in enumerate(replies, start=1))
        n = len(replies)
        return decode(total * n / sum(range(n + 1)), n), sorted(reply.who[0] for reply in replies)


@dataclass(frozen=True)
class Hushes(Aggregator):
    """Leave one out without a word."""

    def server(self, channel: Any, cohort: Sequence[str], decode: Any) -> Any:
        received = channel.gather(dict.fromkeys(cohort))
        channel.exclude(cohort[0], "")
        received.pop(cohort[0])
        return decode(sum(received.values()), len(received)), list(received)


@dataclass(frozen=True)
class Secretive(Sum):
    """Say nothing of who sees what."""

    def visibility(self) -> Any:
        return ()


@pytest.mark.promise("P49")
@pytest.mark.parametrize(
    "aggregator, sentence",
    [
        (Fives(), "neither in the sum nor excluded"),
        (Doubles(), "off from the mean"),
        (AllThere(), "off from the mean|excluded as well"),
        (AsItComes(), "order of clients or arrival"),
        (Hushes(), "without a reason"),
        (Secretive(), "visibility"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_aggregator_that_breaks_a_promise(aggregator: Aggregator, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_aggregator(aggregator)


# ── runtimes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_in_process() -> None:
    check_runtime(InProcess)
    check_runtime(lambda clients: InProcess(clients, Network(latency=1.0, stragglers=0.3)))


class Reversed(InProcess):
    """List clients from the end."""

    def roster(self) -> Sequence[str]:
        return self.clients.names[::-1]


class Forgetful(InProcess):
    """Remember nothing."""

    def __init__(self, clients: Any):
        super().__init__(clients)
        self.memory.load = lambda memos: None  # type: ignore[method-assign]


class Stubborn(InProcess):
    """Never take back what did not count."""

    def send(self, message: Any) -> None:
        super().send(replace(message, counted=self.roster()) if isinstance(message, Settle) else message)


class Crowded(InProcess):
    """Know parties of a plan that has no helpers."""

    @property
    def members(self) -> Any:
        return {"anna": Identity.fresh("anna", "client").member}


class Twice(InProcess):
    """Deliver every reply twice."""

    def receive(self) -> Reply:
        reply = super().receive()
        self._again = getattr(self, "_again", None) or reply
        if self._again is not reply:
            self._again, reply = None, self._again
        return reply


class Rounds(InProcess):
    """Send vectors in few bits."""

    def receive(self) -> Reply:
        reply = super().receive()
        return replace(reply, body=reply.body.round(6)) if isinstance(reply.body, np.ndarray) else reply


class Vague(InProcess):
    """Give one kind of reason for all."""

    def receive(self) -> Reply:
        reply = super().receive()
        return replace(reply, why="bug") if reply.why else reply


class Wordless(InProcess):
    """Give no reason at all."""

    def receive(self) -> Reply:
        return replace(super().receive(), why="")


class Mixed(InProcess):
    """Put every reply to the first session."""

    def receive(self) -> Reply:
        return replace(super().receive(), session=7)


@pytest.mark.promise("P49")
@pytest.mark.parametrize(
    "runtime, sentence",
    [
        (Crowded, "members must be empty"),
        (Reversed, "sorted"),
        (Forgetful, "load"),
        (Stubborn, "remembers what counted"),
        (Twice, "again, or unasked"),
        (Rounds, "other bytes"),
        (Vague, "it said"),
        (Wordless, "lost without"),
        (Mixed, "again, or unasked"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_runtime_that_breaks_a_promise(runtime: type[InProcess], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_runtime(runtime)
