"""Gradient inversion: what a record looks like when it is computed back from what a client says.

The same record is attacked through ever less: a gradient of it alone, clipped, with noise, in sums
with others, and as the plan itself lets it be seen, by its server and by all who get the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..aggregators import Sum, revealed
from ..algorithms import FedAvg
from ..app import App
from ..app.clients import clients_of
from ..app.compare import pooled
from ..data import Examples, pair
from ..data.batches import weighed
from ..errors import AppError
from ..known import own
from ..loops.synchronous import synchronous
from ..messages import SessionId
from ..models import Drift, Model
from ..models.checks import sees
from ..models.parts import paces
from ..models.softmax import Softmax
from ..parties.client import Client
from ..plan import Plan
from ..plan.server import decoder
from ..rand import Key
from ..sample import Everyone, check_drawn
from ..spec import Vector
from ..training import Training
from ..transforms.noise import GaussianNoise
from ..transforms.scale import Clip
from ..transforms.weigh import Weigh
from .recording import RecordingRuntime, RecordMean, without_server_noise

COHORT = 10  # clients in the sums beside which a single vector is put
NOISE = 1.0  # multiplier where the plan has none
TINY = 1e-30
LARGEST = 1e4  # length of a record that is believed


@dataclass(frozen=True)
class View:
    """What an attacker saw, and the record that came of it.

    likeness: ⟨a − ā, b − b̄⟩ / ‖a − ā‖‖b − b̄‖ of it, a, and the true record, b
    mse: the mean of (a − b)²
    """

    name: str
    record: Vector = field(repr=False)
    likeness: float  # correlation with the true record, at most 1
    mse: float

    @classmethod
    def of(cls, name: str, guess: Vector, true: Vector) -> View:
        """A guess, cut to the range of the true record, which the attacker knows."""
        guess = np.clip(guess, true.min(), true.max())
        mse = float(np.mean((guess - true) ** 2))
        return cls(name, guess, _likeness(guess, true), mse)

    def psnr(self, span: float) -> float:
        """10·log₁₀(span² / MSE) in dB, for a record whose numbers span so much."""
        return 10 * math.log10(span**2 / max(self.mse, TINY))


@dataclass(frozen=True)
class Inversion:
    """What gradient inversion found of one record of one client."""

    who: str
    record: Vector = field(repr=False)
    views: tuple[View, ...]
    how: str

    @property
    def span(self) -> float:
        """How far apart the largest and the smallest number of the record are."""
        return float(np.ptp(self.record)) or 1.0


def inversion(app: App) -> Inversion:
    """Recover the first record of the app's first client, from what the server or others see of it.

    Of a layer W·a + b that sees the record a itself, row k gives it in closed form:

        a = ∂loss/∂Wₖ / ∂loss/∂bₖ

    (Phong et al. 2017, §3; of all rows the one whose record is nearest counts, as if the attacker
    could tell.) For other PyTorch models a is sought by descent, see `hansa.audit.torch`. The
    attacker knows the model, its first weights, the record's label, its least and its largest
    number; the model is that of the first round, which tells most.
    """
    app = app.asked()
    client, *others = clients_of(app)
    inputs, y = _record(client)
    if not isinstance(inputs, np.ndarray) or inputs.dtype.kind not in "fu":
        kind = getattr(inputs, "dtype", "several arrays")
        raise AppError(
            f"A record of {client.who} is {kind}.",
            "What is computed back is one array of real numbers.",
            "Leave out the attack `inversion`.",
        )
    true = np.asarray(inputs[0], np.float64)
    model = app.known_plan.model
    x = app.known_plan.start().x
    attack = _attack(model, true)
    found = {name: attack(model, x, -delta, true, y) for name, delta in _seen(app, client, others)}
    if others:
        few = [_record(one)[0][0] for one in others[: COHORT**2]]
        found[f"no update: the mean record of {len(few)} others"] = np.mean(few, axis=0)
    views = tuple(View.of(name, guess, true) for name, guess in found.items())
    how = "by descent on the distance of gradients"
    if attack is _closed:
        how = "in closed form, from the first layer"
    return Inversion(client.who, true, views, how)


def _first(client: Client) -> Examples:
    """A client's first record."""
    return pooled([client.parts[0]]).take([0])


def _record(client: Client) -> tuple[Any, Vector]:
    """Inputs and target of a client's first record."""
    batch, _ = weighed(next(_first(client).whole()))
    return pair(batch)


def _attack(model: Model, true: Vector) -> Any:
    """How records are computed back from a gradient of this model; AppError where nobody knows.

    A function of (model, x, gradient, a record of this shape, label), which gives the record.
    """
    if _dense(model, np.zeros(model.size), true.size) is not None:
        return _closed
    if hasattr(model, "net") and not sees(getattr(model, "loss", None)):  # any module of PyTorch
        from .torch import descended

        return descended
    raise AppError(
        f"Nothing is known that inverts a gradient of {type(model).__name__}.",
        "Closed forms are known for dense first layers, and descent needs PyTorch and a loss of "
        "outputs and targets.",
        "Leave out the attack `inversion`.",
    )


def _dense(model: Model, g: Vector, features: int) -> tuple[Vector, Vector] | None:
    """The gradients of a first layer that sees the record itself, if there is one.

    (W [rows, features], b [rows])
    """
    if isinstance(model, Softmax):
        W = g.reshape(model.features + 1, model.classes)
        return W[:-1].T, W[-1]
    tensors = model.tensors(g)
    first = next((name for name, tensor in tensors.items() if tensor.ndim > 1), "")
    b = tensors.get(first.removesuffix("weight") + "bias")
    if b is None or tensors[first].shape != (len(b), features):
        return None
    return tensors[first], b


def _closed(model: Model, x: Vector, g: Vector, true: Vector, y: Vector) -> Vector:
    """The record in closed form, from the gradients of a first layer: the row that is nearest."""
    dense = _dense(model, g, true.size)
    assert dense is not None
    W, b = (np.asarray(part, np.float64) for part in dense)
    # where b is less, rows cancel out and the length is lost
    least = np.linalg.norm(W, axis=1) / LARGEST
    rows = W / np.where(np.abs(b) > least, b, np.where(least > 0, least * LARGEST, 1.0))[:, None]
    return np.asarray(max(rows, key=lambda row: _likeness(row, true))).reshape(true.shape)


def _seen(app: App, client: Client, others: Sequence[Client]) -> list[tuple[str, Vector]]:
    """(who sees it, the update as it is seen), from one record in the clear to the plan itself."""
    plan = app.known_plan
    whole = pooled([client.parts[0]])
    secret = app.secret or Key.fresh()
    record = whole.take([0])
    rest = [_first(one) for one in others]
    step = Training(learning_rate=plan.training.learning_rate, batch=0, report=False)
    length = _norm(plan, record, step)
    clip = Clip(length, statistics=length)
    noise = GaussianNoise(plan.encoded_spec.noise.multiplier or NOISE)
    bare = Plan(plan.model, FedAvg(), (Weigh("one"),), Sum(), step, Everyone(), 1, plan.seed)
    cut = replace(bare, pipe=(clip, Weigh("one")))
    noisy = replace(bare, pipe=(clip, Weigh("one"), noise))
    views = [
        ("one record, Sum", bare, [record]),
        (f"one record, Clip({clip.norm:.3g})", cut, [record]),
        (f"one record, Clip, GaussianNoise({noise.noise:.3g})", noisy, [record]),
    ]
    for n in sorted({min(COHORT, 1 + len(rest)), min(COHORT**2, 1 + len(rest))} - {1}):
        name = f"one record of each of {n}, a sum that hides its parts"
        views.append((name, bare, [record, *rest[: n - 1]]))
    views.append((f"one step on all its {len(whole)} records, Sum", bare, [whole]))
    found = [(name, _published(plan, secret, data)) for name, plan, data in views]
    return [*found, *_planned(app, client, others)]


def _norm(plan: Plan, record: Examples, step: Training) -> float:
    """The plan's own clip; where it has none, half of what the record moves the model."""
    bounds = [spec.bounds.get("delta", math.inf) for spec in plan.pipeline.specs]
    cut = [one for one in bounds if math.isfinite(one)]
    if cut and not plan.encoded_spec.learns:
        return cut[0]
    x = plan.start().x
    moved = plan.model.train(x, record, step, Drift(), plan.key).x - x
    return float(np.linalg.norm(moved)) / 2 or 1.0


def _planned(app: App, client: Client, others: Sequence[Client]) -> list[tuple[str, Vector]]:
    """What is seen of the client in one round of the plan itself.

    By its server, and by all who get the model. The cohort is as large as the plan's would be, and
    the client is in it.
    """
    plan = app.known_plan
    n = 1 + len(others)
    secret = app.secret or Key.fresh()
    cohort = [client, *others][: max(plan.sample.quorum, _asked(plan, n))]
    plan = replace(plan, sample=Everyone(quorum=min(plan.sample.quorum, len(cohort))), rounds=1)
    quiet = without_server_noise(plan)
    parties = {one.who: one.data for one in cohort}
    many = f"{len(cohort)} clients"
    mean = _published(plan, secret, parties)
    published = (f"this plan: the mean of {many} that is published", mean)
    views: list[tuple[str, str | None]] = [
        ("this plan: the client's vector, to its server", client.who)
    ]
    if not revealed(plan.aggregator).beyond("sum"):
        views = [(f"this plan: the sum of {many}, to its server", None)]
    found = [(name, _published(quiet, secret, parties, who)) for name, who in views]
    return [(name, along_gradient(plan, v)) for name, v in (*found, published)]


def along_gradient(plan: Plan, moved: Vector) -> Vector:
    """An update where each number has moved by one learning rate: whoever knows the plan knows
    those of its parts. 0 for a part that stays.
    """
    if not plan.training.rates:
        return moved
    pace = paces(plan.model, plan.training)[: len(moved)]
    return np.divide(moved, pace, out=np.zeros_like(moved), where=pace > 0)


def _asked(plan: Plan, n: int) -> int:
    """How many of n clients a round asks: of a stranger's sample what its first draw says."""
    sample = plan.sample
    if own(sample):
        return round(sample.expected(n))
    roster = [f"client {i}" for i in range(n)]
    return len(check_drawn(sample, sample.draw(roster, plan.key.child("audit")), roster))


def _published(plan: Plan, secret: Key, data: Any, who: str | None = None) -> Vector:
    """The mean update of a round with these clients; or what is decoded of what one of them says.

    data: name → data; or a list of the data of clients without a name.
    """
    parties = data
    if not isinstance(data, dict):
        parties = {f"client {i}": one for i, one in enumerate(data)}
    plan = replace(plan, pipe=(RecordMean(), *plan.pipe))
    clients = [Client(name, plan, one, secret=secret) for name, one in parties.items()]
    tap = RecordingRuntime(clients, plan.seed)
    before = plan.start()
    state = next(iter(synchronous(plan, tap, secret=secret)))
    if who is not None and not tap.said:
        raise AppError(
            f"What clients say to {plan.aggregator!r} cannot be read.",
            "The attack decodes vectors in the form that the plan's pipe ends with.",
            "Leave out the attack `inversion`.",
        )
    if who is not None and who in tap.said:
        told: dict[str, Any] = {"population": len(parties), "memo": before.transforms}
        at = plan.context(0, SessionId(), secret=secret, **told)
        return np.asarray(decoder(plan, at)(tap.said[who], 1)[0][plan.spec.slice("delta")])
    if state.transforms[0] is None:  # a robust rule takes no sum
        return np.asarray(state.x - before.x)
    return np.asarray(state.transforms[0][plan.spec.slice("delta")])


def _likeness(a: Vector, b: Vector) -> float:
    """The correlation of two records, which does not depend on their lengths and means."""
    a = np.ravel(a) - np.mean(a)
    b = np.ravel(b) - np.mean(b)
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), TINY))
