"""One whose shares do not open closes one round, and rests in the next: not every round, and not for good."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_hidden import sealed

import hansa as h
from hansa.aggregators.hidden.cell import LACKING, RESTING
from hansa.aggregators.hidden.client import Me
from hansa.aggregators.hidden.terms import shares_of
from hansa.parties import Said

rng = np.random.default_rng(7)
DATA = {f"c{i}": (rng.normal(size=(9, 3)).astype(np.float32), rng.integers(0, 2, 9)) for i in range(7)}
PIPE = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=7))


class Wrong(h.Client):
    """It shares another secret than it has said, well sealed."""

    def answer(self, request: Any, given: Any = None) -> Said:
        said = super().answer(request, given)
        if request.turn == 0:
            me = Me(self._cell(request), self._at(request, self.secret))
            shares = shares_of(me.terms, secrets.token_bytes(64))
            boxes = sealed(me, said.reply["public"], shares)
            said.reply["boxes"][:] = boxes
            said.reply["signature"] = me.signed(said.reply["public"], boxes)
        return said

    def _cell(self, request: Any) -> Any:
        session = self._at(request, self.secret).session
        return h.MaskedSum().cells(list(DATA), self.plan.encoded_spec, session)[0]


@pytest.mark.promise("P406")
@pytest.mark.promise("P406")
@pytest.mark.guards("who deals shares of another secret rests for a round")
def test_who_deals_shares_of_another_secret_closes_every_second_round_at_most() -> None:
    plan = h.Plan(h.Softmax(3, 2), pipe=PIPE, aggregator=h.MaskedSum(), sample=h.Everyone(quorum=5), rounds=4)
    clients = [(Wrong if who == "c3" else h.Client)(who, plan, one) for who, one in DATA.items()]
    states = list(h.synchronous(plan, h.InProcess(clients)))
    assert [state.excluded["c3"] for state in states] == [LACKING, RESTING, LACKING, RESTING]
    assert [bool(state.skipped) for state in states] == [True, False, True, False]
    for state in states[1::2]:
        assert set(state.participants) == DATA.keys() - {"c3"}


class Liar(h.Client):
    """It helps wrongly with three others, where nobody can name it."""

    def answer(self, request: Any, given: Any = None) -> Said:
        said = super().answer(request, given)
        if request.turn == 3:
            said.reply[np.flatnonzero(said.reply.any(axis=1))[1:4]] = 1
        return said


TEN = [f"d{i}" for i in range(10)]


@pytest.mark.guards("nobody rests where others have rested")
def test_one_who_helps_wrongly_stops_no_run_after_one_unlucky_round() -> None:
    """Three are late once. Where as few rest as may, t are left, and one of them could have three honest ones named in
    each round: there are no more shares by which a lie would show.
    """
    pipe = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=10))
    plan = h.Plan(h.Softmax(3, 2), pipe=pipe, aggregator=h.MaskedSum(), sample=h.Everyone(quorum=7), rounds=4)
    first = dict(zip(TEN, [one for _ in range(2) for one in DATA.values()], strict=False))
    clients = [(Liar if who == "d0" else h.Client)(who, plan, one) for who, one in first.items()]

    class Late(h.InProcess):
        """Three are late once, with their help."""

        def send(self, message: Any) -> None:
            if getattr(message, "round", 1) or message.turn != 3:
                return super().send(message)
            late = [who for who in TEN[-3:] if who in message.bodies]
            super().send(replace(message, bodies={who: one for who, one in message.bodies.items() if who not in late}))
            for who in late:
                self._push(self.now, message, (who,), "late")
            return None

    states = list(h.synchronous(plan, Late(clients)))
    assert [bool(state.skipped) for state in states] == [True, True, False, False]
