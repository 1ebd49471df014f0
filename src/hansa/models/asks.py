"""Asks: what an algorithm wants done on a client, as values that it yields and is answered.

    fit = yield Train(x, data, training, drift, key)        a TrainResult
    scores = yield Score(x, data)                           the model's metrics: name → mean

Who drives an algorithm does what it asks: for one client alone, or side by side for many that ask
at the same time. What is asked is all that the answer is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from ..data import Examples
from ..errors import DataError
from ..training import Training
from . import Local, Model, ModelView, Score, Train, TrainResult
from .parts import check_only

Ask = Train | Score
ASKS = (Train, Score)
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

    def score(self, *given: Any, **more: Any) -> NoReturn:
        """Raise TypeError, for the client's own statistics would be passed by."""
        raise TypeError(
            "An algorithm scores by `scores = yield Score(x, data)`, not model.score(…)"
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
    """The places of asks that may be done side by side: trainings of one kind."""
    kinds = dict[Training | int, list[int]]()
    for i, ask in enumerate(asks):
        kinds.setdefault(ask.training if isinstance(ask, Train) else i, []).append(i)
    yield from kinds.values()


def _side_by_side(model: Model, asks: Sequence[Ask]) -> list[Any]:
    trainings = [ask for ask in asks if isinstance(ask, Train)]
    if trainings and (model.partial or not trainings[0].training.only):
        try:
            return list(model.train_all(trainings))
        except DataError:  # whose data it is shows when each trains alone
            pass
    return [_alone(model, ask) for ask in asks]


def _alone(model: Model, ask: Ask) -> TrainResult | dict[str, float] | Exception:
    local = ask.local or {}
    try:
        if isinstance(ask, Train):
            check_only(model, ask.training)
            return model.train(ask.x, ask.data, ask.training, ask.drift, ask.key, local)
        return model.score(ask.x, ask.data, local)
    except Exception as error:
        return error


def answered(work: Work[Any], answer: Any) -> Ask:
    """Let work go on with the answer to what it asked, or with the exception that it ended in: its
    next ask; StopIteration with what it has made.
    """
    ask = work.throw(answer) if isinstance(answer, Exception) else work.send(answer)
    if isinstance(ask, ASKS):
        return ask if isinstance(ask.data, Examples) else ask._replace(data=Examples.of(ask.data))
    raise TypeError(
        f"An algorithm yields Train(…) or Score(…), and this one has yielded {type(ask).__name__}; "
        "an aggregator's client() gets its vector by `v = yield from contribute()`"
    )


def locally(work: Work[Made] | Made, local: Local) -> Work[tuple[Made, Local]]:
    """What work makes, and a client's own statistics after it: each training gets them, and renews
    them. Of what is no generator, and so has asked for nothing, what it is.
    """
    if not isinstance(work, Generator):
        return work, local
    answer = None
    while True:
        try:
            ask = answered(work, answer)
        except StopIteration as end:
            return end.value, local
        if ask.local is None:
            ask = ask._replace(local=local)
        try:
            answer = yield ask
        except Exception as error:
            answer = error
        if isinstance(answer, TrainResult):
            local = answer.local


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
        answers = dict(zip(asks, perform(list(asks.values())), strict=True)) if asks else {}
    return [made[i] for i in range(len(works))]
