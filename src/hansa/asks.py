"""Asks: what an algorithm wants done on a client, as values that it yields and is answered.

    fit = yield Train(x, data, training, drift, key)        a TrainResult
    g = yield Gradient(x, data, key)                        the gradient [size] at x
    scores = yield Score(x, data)                           the model's metrics: name → mean
    features, targets = yield Features(x, data)             [n, width] and [n, …]

Who drives an algorithm does what it asks: for one client alone, or side by side for many that ask
at the same time. What is asked is all that the answer is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from .data import Examples
from .errors import DataError, PlanError
from .models import (
    LAST,
    Features,
    Gradient,
    Local,
    Model,
    ModelView,
    Score,
    Train,
    TrainResult,
    fitted,
    one_step,
)
from .models.parts import check_training
from .training import Training

Ask = Train | Gradient | Score | Features
ASKS = (Train, Gradient, Score, Features)
Made = TypeVar("Made")
Work = Generator[Ask, Any, Made]  # asks, is answered, and gives what it has made of it
Perform = Callable[[Sequence[Ask]], list[Any]]


class AskedModel(ModelView):
    """A model as an algorithm sees it: all that it is, but what it does is asked for."""

    def __init__(self, model: Model):
        self.model = model

    def __getattr__(self, name: str) -> Any:
        """What only this kind of model has."""
        return getattr(self.__dict__["model"], name)

    def train(self, *given: Any, **more: Any) -> NoReturn:
        """Raise TypeError, for a training done here would be one client's alone."""
        raise TypeError(
            "An algorithm trains by `fit = yield Train(x, data, training, drift, key)`; "
            "model.train(…) would pass by the client's own statistics, and by all who train with it"
        )

    def gradients(self, *given: Any, **more: Any) -> NoReturn:
        """Raise TypeError, as for a training."""
        raise TypeError(
            "An algorithm gets a gradient by `g = yield Gradient(x, data, key)`, not "
            "model.gradients(…)"
        )

    def score(self, *given: Any, **more: Any) -> NoReturn:
        """Raise TypeError, for the client's own statistics would be passed by."""
        raise TypeError(
            "An algorithm scores by `scores = yield Score(x, data)`, not model.score(…)"
        )

    def features_of(self, *given: Any, **more: Any) -> NoReturn:
        """Raise TypeError, as `score` does."""
        raise TypeError(
            "An algorithm gets them by `features, targets = yield Features(x, data)`, not "
            "model.features_of(…)"
        )


def perform(model: Model, asks: Sequence[Ask]) -> list[Any]:
    """The answer to each ask, or the exception that it ended in; trainings that are alike are done
    side by side, as many at once as the model takes.
    """
    if model.cohort == 1:
        return [_alone(model, ask) for ask in asks]
    answers = dict[int, Any]()
    for some in _alike(asks):
        answers |= zip(some, _side_by_side(model, [asks[i] for i in some]), strict=True)
    return [answers[i] for i in range(len(asks))]


def _alike(asks: Sequence[Ask]) -> Iterator[list[int]]:
    """The places of asks that may be done side by side: trainings, and gradients, of one kind."""
    kinds = dict[Any, list[int]]()
    for i, ask in enumerate(asks):
        kinds.setdefault(_kind(ask) or i, []).append(i)
    yield from kinds.values()


def _kind(ask: Ask) -> tuple[Any, ...]:
    """What is equal for asks that may be done side by side; nothing where each is done alone."""
    if isinstance(ask, Score | Features):
        return ()
    return type(ask), _trained(ask)


def _trained(ask: Train | Gradient) -> Training:
    """How its steps train."""
    if isinstance(ask, Train):
        return ask.training
    return one_step(ask.only or ())


def _side_by_side(model: Model, asks: Sequence[Ask]) -> list[Any]:
    """The answers to asks of one kind."""
    trainings = [ask for ask in asks if isinstance(ask, Train)]
    gradients = [ask for ask in asks if isinstance(ask, Gradient)]
    named = any(ask.training.only for ask in trainings) or any(ask.only for ask in gradients)
    takes = model.takes.told or not any(ask.told for ask in trainings)
    clipped = any(ask.training.clip is not None for ask in trainings)
    rated = model.takes.rates or not any(ask.training.rates for ask in trainings)
    if takes and rated and (model.takes.only or not named) and (model.takes.clip or not clipped):
        try:
            if trainings:
                return list(model.train_all(trainings))
            if gradients:
                return list(model.gradients(gradients))
        except DataError:  # whose data it is shows when each is done alone
            pass
    return [_alone(model, ask) for ask in asks]


def _alone(model: Model, ask: Ask) -> Any:
    """The answer, or the exception that it ended in."""
    local = ask.local or {}
    try:
        if isinstance(ask, Score):
            return model.score(ask.x, ask.data, local)
        if isinstance(ask, Features):
            return model.features_of(ask.x, ask.data, local)
        check_training(model, _trained(ask))
        if isinstance(ask, Gradient):
            return model.gradients([ask])[0]
        return fitted(model, ask)
    except Exception as error:
        return error


def answered(work: Work[Any], answer: Any) -> Ask:
    """Let work go on with the answer to what it asked, or with the exception that it ended in: its
    next ask; StopIteration with what it has made.
    """
    ask = _go_on(work, answer)
    if isinstance(ask, ASKS):
        data = Examples.of(ask.data)
        return ask if data is ask.data else ask._replace(data=data)
    raise TypeError(
        "An algorithm yields Train(…), Gradient(…), Score(…) or Features(…), and this one has "
        f"yielded {type(ask).__name__}; "
        "an aggregator's client() gets its vector by `v = yield from contribute()`"
    )


def _go_on(work: Work[Any], answer: Any) -> Any:
    """What work yields next."""
    if isinstance(answer, Exception):
        return work.throw(answer)
    return work.send(answer)


def check_noise(ask: Ask, training: Training) -> None:
    """Raise TypeError for what reads examples with other noise than the plan has for single ones.

    A score, a gradient and features have none; nor has a training whose `private` is another: where
    the plan has no PerExample, its draws would grow from the public seed.
    """
    asked = ask.training.private if isinstance(ask, Train) else None
    if asked != training.private:
        raise TypeError(
            f"The algorithm yields {type(ask).__name__}(…) with private={asked!r}, and the plan's "
            f"training has private={training.private!r}. What it makes of the answer would tell of "
            "single examples what no noise of the plan hides. Ask for trainings with the "
            "`training` that client() is given, and change anything but `private` in it; or leave "
            "`private` out of the plan."
        )


def locally(work: Work[Made] | Made, local: Local, training: Training) -> Work[tuple[Made, Local]]:
    """What work makes, and a client's own statistics after it: each training gets them, and renews
    them. Of what is no generator, and so has asked for nothing, what it is.

    training: the plan's; nothing is asked that passes by its noise for single examples, and a
    gradient is one of the parts that it trains. PlanError for a second training of a client that
    remembers the net that the last one ended with.
    """
    if not isinstance(work, Generator):
        return work, local
    answer = None
    again = False
    while True:
        try:
            ask = answered(work, answer)
        except StopIteration as end:
            return end.value, local
        check_noise(ask, training)
        if ask.local is None:
            _check_last(isinstance(ask, Train) and again and LAST in local)
            ask = ask._replace(local=local)
        if isinstance(ask, Gradient) and ask.only is None:
            ask = ask._replace(only=training.only)
        try:
            answer = yield ask
        except Exception as error:
            answer = error
        if isinstance(answer, TrainResult):
            local = answer.local
            again = True


def _check_last(wrong: bool) -> None:
    """Raise PlanError for a second training that looks at what the first has left.

    wrong: is it a Train behind another one, of a client that remembers the net of that?
    """
    if wrong:
        raise PlanError(
            "The algorithm trains twice in a round, and the loss looks at the net that the "
            "client's last training ended with.",
            "Which of the two is meant nobody has said.",
            "Take an algorithm that trains once, such as FedAvg(), or a loss without "
            "`last_features`; or let it say so: Train(…, local=…).",
        )


def alone(work: Work[Made], perform: Perform) -> Made:
    """What work makes, with all that it asks done at once; what it raises."""
    answer = None
    while True:
        try:
            ask = answered(work, answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        (answer,) = perform([ask])


def together(works: Sequence[Work[Made]], perform: Perform) -> list[Made | Exception]:
    """What each work makes, or the exception that it ended in; what they ask at the same time is
    done side by side.
    """
    made = dict[int, Made | Exception]()
    answers: dict[int, Any] = dict.fromkeys(range(len(works)))
    while answers:
        asks = dict[int, Ask]()
        for i, answer in answers.items():
            try:
                asks[i] = answered(works[i], answer)
            except StopIteration as end:
                made[i] = end.value
            except Exception as error:
                made[i] = error
        answers = {}
        if asks:
            answers = dict(zip(asks, perform(list(asks.values())), strict=True))
    return [made[i] for i in range(len(works))]
