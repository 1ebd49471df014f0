"""What a model promises.

    start()     finite numbers [size], a function of its key
    train()     a function of its arguments, which modifies none; as many steps as it is told;
                a drift's pull and shift are added to the gradient, exactly
    gradients() what a short step goes along, and 0 for statistics
    score()     its metrics, within their bounds, as means over the examples; the loss falls
    check()     refuses bad data, and names whose it is
    itself      its repr builds it, and its digest stays the same

That a run repeats to the last byte, and that clients of one process never learn of each other,
rests on this: a model holds nothing of who trained with it last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..data import Batch, Examples
from ..data.batches import length, pick
from ..digest import digest_of
from ..errors import DataError, PlanError
from ..models import Drift, Gradient, Model, one_step
from ..models.parts import paces
from ..spec import Vector, ends
from ..training import Training
from .asserts import KEY, check_repr, equal, is_plain, require
from .trial import PLAIN, Trial

TRAINING = Training(epochs=2, batch=8, learning_rate=0.05)
SHORT = 2.0**-7  # η of a step to the first order


def check_model(
    model: Model,
    data: object,
    training: Training = TRAINING,
    bad: Sequence[Any] | None = None,
    close: float = 1e-4,
) -> None:
    """Hold a model to its promises on one client's `data`, from which it must be able to learn.

    training   a training under which the loss falls
    bad        data that check() must refuse; else, for arrays (inputs, labels): inputs without
               their last column, and, for whole-number labels, a label of −1 and one of a million
    close      how far a number may be off where exact arithmetic would make two equal; float32
               models need 1e-4

    AssertionError names the first promise that is broken.
    """
    examples = Examples.of(data)
    check_repr(model)
    digest = digest_of(model)
    model.check(examples, "somebody")
    model.plan(training)
    trial = Trial(model, _starts(model), examples, training, close)
    before = _copies(examples)
    for look in (_names, _trains, _drifts, _descends, _parts, _rates, _scores):
        look(trial)
    require(equal(_copies(examples), before), f"{model!r}: it modifies its data; work on a copy.")
    require(
        digest_of(model) == digest,
        f"{model!r}: its digest changed while it was used, and with it that of every plan.",
    )
    if bad is None:
        bad = _spoilt(data)
    _refuses(model, bad)


def _refuses(model: Model, bad: Sequence[Any]) -> None:
    """check() raises DataError for each of these, and names whose data it is."""
    for number, wrong in enumerate(bad):
        try:
            model.check(wrong, "somebody")
        except DataError as error:
            require(
                "somebody" in str(error),
                f"{model!r}: check() must name the client whose data is wrong: {error}",
            )
        else:
            raise AssertionError(
                f"{model!r}: check() accepts bad data (number {number}); it must raise DataError."
            )


def _copies(data: Examples) -> list[Batch]:
    """All batches of a client's data as they are now, in memory of their own.

    So it can be seen later whether a training has written to them.
    """
    return [pick(batch, np.arange(length(batch))) for batch in data.whole()]


def _starts(model: Model) -> Vector:
    """size, trainable and start(): so many finite numbers, the same for the same key.

    The vector [size] that it gives is that from which all else is tried.
    """
    x = model.start(KEY)
    again = model.start(KEY)
    size = model.size
    trainable = model.trainable
    require(
        isinstance(size, int) and size > 0,
        f"{model!r}: size is {size!r}; it counts the numbers of the model.",
    )
    require(
        0 < trainable <= size,
        f"{model!r}: trainable is {trainable} of {size}; it counts those that are trained.",
    )
    require(
        isinstance(x, np.ndarray)
        and x.shape == (size,)
        and x.dtype.kind == "f"
        and np.isfinite(x).all(),
        f"{model!r}: start() must give {size} finite numbers in one NumPy array.",
    )
    require(
        equal(x, again),
        f"{model!r}: start() is not a function of its key; draw from it, or seed with key.seed().",
    )
    return x


def _names(trial: Trial) -> None:
    """Named parts lie one behind the other, cover the vector, and are tensors of their names."""
    model = trial.model
    x = trial.x
    slices = model.slices()
    stops = [0, *(place.stop for place in slices.values())]
    starts = [place.start for place in slices.values()]
    require(
        starts == stops[:-1] and stops[-1] == model.size and len(set(stops)) == len(stops),
        f"{model!r}: slices() must cut 0 … {model.size} into parts, one behind the other; it gives "
        f"{slices}.",
    )
    require(
        model.trainable in stops,
        f"{model!r}: a part of slices() is trained as a whole or not at all, and the first "
        f"{model.trainable} numbers are trained.",
    )
    if model.traits.grows:
        return
    tensors = model.tensors(x)
    if not tensors:
        return
    for name, place in slices.items():
        require(name in tensors, f"{model!r}: slices() names {name!r}, and tensors() does not.")
        require(
            np.allclose(np.ravel(tensors[name]), x[place], rtol=1e-2, atol=1e-6),
            f"{model!r}: the tensor {name!r} holds other numbers than its slice.",
        )


def _trains(trial: Trial) -> None:
    """Training is a function of its arguments, and takes as many steps as it is told.

    A second client's training in between changes nothing of the first's; and what batch norm and
    the like remember of a client passes through `local`. Each optimizer that plan() accepts trains.
    """
    first = trial.fit()
    kept = first.x.copy()
    local = dict(first.local)
    require(
        is_plain(local),
        f"{trial!r}: `local` of a TrainResult must be a dict of numbers and arrays.",
    )
    replace(trial, x=trial.x + 0.01).fit(key=1)
    require(
        equal(first.x, kept),
        f"{trial!r}: the vector that train() gave changes in the next training; give a copy.",
    )
    again = trial.fit()
    require(
        equal(
            (first.x, first.steps, first.loss, local),
            (again.x, again.steps, again.loss, dict(again.local)),
        ),
        f"{trial!r}: train() is not a function of its arguments; what is random must come from the "
        "key, and nothing of a client may stay in the model.",
    )
    renewed = [trial.fit(key=2, local=local) for _ in range(2)]
    require(
        equal(*[(one.x, dict(one.local)) for one in renewed]),
        f"{trial!r}: train() is no function of the client's own statistics; they pass through "
        "`local` alone.",
    )
    three = trial.by(steps=3).fit()
    require(three.steps == 3, f"{trial!r}: Training(steps=3) took {three.steps} steps.")
    for other in trial.by_each_optimizer():
        other.fit()


def _drifts(trial: Trial) -> None:
    """A drift is added to the gradient of what is trained, exactly: so in one step of SGD

        y = x − η·(g + pull·(x − centre) + shift)

    centre: x where none is given. In several steps, a pull holds the model back near x. A loss may
    look at the net at the centre, so the plain step has the same one.
    """
    x = trial.x
    once = trial.one_step()
    eta = once.training.learning_rate
    away = KEY.child("centre").normal(x.shape)
    far = x + np.where(trial.trained, away, np.abs(away))  # a variance stays ≥ 0
    shift = KEY.child("shift").normal(x.shape)
    pull = 0.25 / eta
    pulls = pull * KEY.child("pulls").uniform(x.shape)
    here, there = (once.fit(Drift(centre=one)).x for one in (None, far))
    for word, drift, plainly, moved in (
        ("pull (with no centre)", Drift(pull), here, 0.0 * x),
        ("pull", Drift(pull, centre=far), there, eta * pull * (far - x)),
        ("pull of each number", Drift(pulls, centre=far), there, eta * pulls * (far - x)),
        ("shift", Drift(shift=shift), here, -eta * shift),
    ):
        off = float(np.abs(once.fit(drift).x - plainly - moved * trial.trained).max())
        require(
            off <= trial.near,
            f"{trial!r}: with a drift's {word}, one step is off by {off:.3g} from the plain step − "
            "η·(pull·(x − centre) + shift); add that to the gradient of the trained numbers, and "
            "of no others.",
        )
    several = once.by(steps=8)
    free, held = (several.fit(drift).x - x for drift in (PLAIN, Drift(2 * pull)))
    shorter = np.linalg.norm(held[trial.trained]) < np.linalg.norm(free[trial.trained])
    require(shorter, f"{trial!r}: a pull must hold the training back to where it starts.")


def _descends(trial: Trial) -> None:
    """A gradient is a function of what is asked, and what a short step of plain SGD goes along:

        x − y ≈ η·g

    A model may refuse to give any, with PlanError.
    """
    model = trial.model
    x = trial.x
    batch = Examples.of(next(trial.data.whole()))  # a stream has batches of its own
    before = x.copy()
    ask = Gradient(x, batch, KEY.child(0))
    try:
        g, again = model.gradients([ask, ask])
    except PlanError:
        return
    require(equal(x, before), f"{model!r}: gradients() modifies the vector.")
    require(equal(g, again), f"{model!r}: gradients() is not a function of what is asked.")
    require(
        g.shape == x.shape and not g[model.trainable :].any(),
        f"{model!r}: gradients() must give {model.size} numbers, and 0 for statistics.",
    )
    short = replace(trial, data=batch, training=one_step((), SHORT))
    moved = x - short.fit().x
    off = np.abs(moved - SHORT * g)[: model.trainable].max()
    most = np.abs(moved[: model.trainable]).max()
    require(
        off <= 0.05 * most + trial.near,
        f"{model!r}: gradients() gives no gradient that a short step of train() goes along; where "
        "a step is not in proportion to it (a clip, a constraint), write gradients() too.",
    )


def _parts(trial: Trial) -> None:
    """Training(only=…) moves that part as it would be moved among all, and leaves the others.

    It is tried from weights that are trained already, for some gradients are 0 at the start.
    """
    model = trial.model
    if not model.takes.only:
        return
    trained = {name: one for name, one in model.slices().items() if one.stop <= model.trainable}
    name, place = list(trained.items())[-1]
    only = (name.replace("[", "[[]"),)
    trial = replace(trial, x=trial.fit().x)
    x = trial.x
    drifted = Drift(0.1, shift=KEY.child("shift").normal(x.shape))
    others = trial.trained
    others[place] = False
    for part in trial.by_each_optimizer(weight_decay=0.1, only=only):
        for drift in (PLAIN, drifted):
            y = part.fit(drift).x
            require(
                equal(y[others], x[others]) and not equal(y[place], x[place]),
                f"{trial!r}: Training(only={only!r}, optimizer={part.training.optimizer!r}) must "
                "move that part, and nothing else: no step, decay or drift.",
            )
    whole = trial.one_step().fit().x
    alone = trial.one_step(only=only).fit().x
    require(
        np.abs(alone[place] - whole[place]).max() <= trial.near,
        f"{trial!r}: Training(only={only!r}) moves that part otherwise than a training of all.",
    )


def _rates(trial: Trial) -> None:
    """Training(rates=…) takes a factor r of the whole step of a part, and r = 1 of the others'.

    x − y′ = r (x − y),     y after a step, y′ after the same at a rate of 1/2 and, where there are
    two parts or more, of 0
    """
    model = trial.model
    if not model.takes.rates:
        return
    first, *others = [name for name, one in model.slices().items() if one.stop <= model.trainable]
    factors = {first: 0.5}
    if others:
        factors = {first: 0.0, others[-1]: 0.5}
    rates = {name.replace("[", "[[]"): one for name, one in factors.items()}
    for slow in trial.by_each_optimizer(batch=0, steps=1, weight_decay=0.1, rates=rates):
        step = slow.by(rates=()).fit().x - trial.x
        moved = slow.fit().x - trial.x
        off = np.abs(moved - paces(model, slow.training) * step)[: model.trainable]
        require(
            off.max() <= trial.near,
            f"{trial!r}: Training(rates={rates!r}, optimizer={slow.training.optimizer!r}) must "
            "take that factor of each part's step, and leave the others' as they are.",
        )


def _scores(trial: Trial) -> None:
    """Scores are the declared metrics, as means over the examples, and training betters the loss.

        score(all) = (n₁·score(part₁) + n₂·score(part₂)) / (n₁ + n₂)

    So scores of many clients can be summed, and are those of all their examples together.
    """
    model = trial.model
    x = trial.x
    data = trial.data
    before = x.copy()
    fit = trial.fit()
    score = model.score(x, data)
    model.score(x, data, fit.local)
    again = model.score(x, data)
    require(equal(x, before), f"{model!r}: score() modifies the vector.")
    require(
        score.keys() == model.metrics.keys(),
        f"{model!r}: score() gives {', '.join(score)}, and `metrics` declares "
        f"{', '.join(model.metrics)}.",
    )
    require(score == again, f"{model!r}: score() gives something else when it is called again.")
    for metric, bound in model.metrics.items():
        value = score[metric]
        low, high = ends(bound)
        require(
            low - 1e-9 <= value <= high,
            f"{model!r}: {metric} is {value}; `metrics` declares {low:g} … {high:g}.",
        )
    batches = [Examples.of(batch) for batch in _copies(data)]
    if len(batches) == 1 and len(data) > 2:
        cut = len(data) // 3
        batches = [data.take(np.arange(cut)), data.take(np.arange(cut, len(data)))]
    sizes = [len(batch) for batch in batches]
    for metric in model.metrics:
        parts = [model.score(x, batch)[metric] for batch in batches]
        mean = float(np.average(parts, weights=sizes))
        require(
            math.isclose(mean, score[metric], rel_tol=1e-3, abs_tol=1e-6),
            f"{model!r}: {metric} of all examples is {score[metric]:.6g}, and the mean of two "
            f"parts {mean:.6g}; score() gives means over the examples.",
        )
    if "loss" in model.metrics:
        after = model.score(fit.x, data)["loss"]
        require(
            after < score["loss"],
            f"{model!r}: training takes the loss from {score['loss']:.4g} to {after:.4g}.",
        )


def _spoilt(data: object) -> list[Any]:
    """Data that no model of its inputs and labels can be trained on; none for other data."""
    if not isinstance(data, tuple) or len(data) != 2:
        return []
    if not all(isinstance(part, np.ndarray) for part in data):
        return []
    X, y = data
    spoilt = list[Any]()
    if X.ndim > 1 and X.shape[-1] > 1:
        spoilt.append((X[..., :-1], y))
    if y.dtype.kind in "iu":
        for label in (-1, 10**6):
            labels = y.astype(np.int64)
            labels[-1] = label
            spoilt.append((X, labels))
    return spoilt
