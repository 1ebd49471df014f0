"""Aggregators that lie about what they reveal: no policy passes what is called, shaped or derived like a secret sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import hansa as h
from hansa.aggregators import Aggregator, Reveals, revealed
from hansa.errors import PlanError, PolicyError

PIPE = (h.Clip(1.0, side=2.0), h.Weigh("one"))


@dataclass(frozen=True)
class Says(h.VerifiedSum):
    """A client that says its vector, and no report."""

    def client(self, contribute: Any, at: Any) -> Any:
        v = yield from contribute()
        yield {"v": v, "opening": (yield)}


@dataclass(frozen=True)
class Reports(h.VerifiedSum):
    """It proves less, by a function that only VerifiedSum calls."""

    def _claims(self, *of: Any) -> Any:
        return super()._claims(*of)[:1]


@dataclass(frozen=True)
class Alone(h.VerifiedSum):
    """A sum over one client will do."""

    def min_clients(self, asked: int = 0) -> int:
        return 1


@dataclass(frozen=True)
class Found(h.VerifiedSum):
    """Another way in which its functions are found."""

    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__(name)


@dataclass(frozen=True)
class Field(h.VerifiedSum):
    """A field in the place of a function."""

    client: Any = None  # type: ignore[assignment]


class Grandchild(Says):
    """Nothing of its own."""


def planted() -> Aggregator:
    """hansa's own class, and an object with a function of its own."""
    one = h.VerifiedSum()
    object.__setattr__(one, "client", lambda contribute, at: iter([contribute()]))
    return one


CHANGED: dict[str, Callable[[], Aggregator]] = {
    "client": Says,
    "private function": Reports,
    "attribute": Alone,
    "lookup": Found,
    "field": Field,
    "parent": Grandchild,
    "planted": planted,
}


def plan(aggregator: Aggregator) -> h.Plan:
    return h.Plan(h.Softmax(3, 2), pipe=PIPE, aggregator=aggregator, sample=h.Everyone(quorum=2))


@pytest.mark.guards("a changed conversation has no statement")
@pytest.mark.promise("P94", "P161")
@pytest.mark.parametrize("case", CHANGED)
def test_a_changed_conversation_loses_its_statement(case: str) -> None:
    aggregator = CHANGED[case]()
    assert revealed(aggregator).by == "nobody" and revealed(aggregator).server == "each"
    for allow in (h.Policy(sees="sum"), h.Policy(sees="sum", stated=True)):
        with pytest.raises(PolicyError, match="nobody has stated what it reveals"):
            allow.check(plan(aggregator), "c0")


@dataclass(frozen=True)
class Lies(h.Sum):
    """A plain sum that claims hansa's word for what it is not."""

    def reveals(self) -> Reveals:
        return Reveals(server="nothing", colluding=9, by="hansa")


@pytest.mark.guards("a policy believes no stranger")
@pytest.mark.promise("P94")
def test_no_strangers_word_is_believed_unasked() -> None:
    called = type("VerifiedSum", (Lies,), {"__module__": "hansa.aggregators.verified"})
    for aggregator in (Lies(), called()):
        assert revealed(aggregator).by == "stranger"
        with pytest.raises(PolicyError, match="is not hansa's own, and only its author states"):
            h.Policy(sees="sum").check(plan(aggregator), "c0")


@pytest.mark.control("a statement that is none is an error, and no attack")
def test_a_statement_that_is_none_is_refused() -> None:
    wordy = type("Wordy", (h.Sum,), {"reveals": lambda self: "sum", "__module__": __name__})
    with pytest.raises(PlanError, match="which is no Reveals"):
        h.Policy(sees="sum").check(plan(wordy()), "c0")


@dataclass(frozen=True)
class Named(h.VerifiedSum):
    """Other words, and nothing else."""

    def visibility(self) -> tuple[tuple[str, str, str], ...]:
        return (("everybody", "the sum", "what VerifiedSum rests on"),)


@pytest.mark.control("what changes nothing of the conversation keeps its parent's statement, as a stranger's")
def test_words_and_fields_change_no_statement() -> None:
    assert revealed(Named(2)) == Reveals(server="sum", colluding=2, by="stranger")
    h.Policy(sees="sum", colluding=2, stated=True).check(plan(Named(2)), "c0")
    assert revealed(h.VerifiedSum()).by == "hansa"
    for rule in (h.Median(), h.Krum(1), h.MultiKrum(1, 3), h.CentredClipping(1.0), h.Bulyan(1), h.Sum(), h.Ensemble()):
        assert revealed(rule).by == "hansa" and revealed(rule).server == "each"
