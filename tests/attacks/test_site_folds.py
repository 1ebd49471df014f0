"""What one party may try to keep a gateway from adding up what the others say."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.attacks.intruders import PLAN, blob_of, patience, question, reply
from tests.attacks.test_sites import done

from hansa.messages import Reply, SessionId
from hansa.runtimes.sites import folds
from hansa.runtimes.sites.between import Folded, Folding, For, From
from hansa.runtimes.sites.control import Said, Session, Settle
from hansa.runtimes.sites.relay import Relay

SESSION = SessionId("run", 0, 1)
SPEC = PLAN.encoded_spec


class Gathering:
    """A gateway at which these attend, and are asked one question; and what it tells the server."""

    def __init__(self, folder: Path, names: tuple[str, ...]):
        self.told = list[Any]()
        self.relay = Relay(names, folder)
        self.relay.up = self.told.append
        for who in names:
            self.come(who)

    def come(self, who: str) -> None:
        """It attends, and hears the question."""
        self.relay.come(who, lambda message: None)
        self.relay.hear(For(who, question(SESSION, None), 2**16, Folding.of(SPEC)))

    def answer(self, who: str, value: float) -> None:
        """All of an answer comes."""
        data = reply(SESSION, who, np.full(SPEC.size, value, SPEC.word))
        blob = blob_of(data)
        self.relay.said(who, Said(Session.of(SESSION), 0, blob))
        if self.relay.expected(who, blob.sha256) is None:  # a PUT would hear 404
            return
        spool = self.relay.posts[who].spool
        if spool.there(blob) == 0:
            with spool.appending(blob, 0) as append:
                append(data)
        self.relay.came(who, blob, spool.whole(blob))

    @property
    def sums(self) -> list[Folded]:
        return [one for one in self.told if isinstance(one, Folded)]

    async def folded(self) -> Folded:
        """The first sum that it tells of."""
        async with patience():
            while not self.sums:
                await asyncio.sleep(0.01)
        return self.sums[0]

    def first_number(self) -> float:
        """Of the sum that is announced."""
        who = self.sums[-1].who[0]
        found = self.relay._folds.sum_of(who, (SESSION, 0))
        assert found is not None
        total: Any = Reply.decode(found[1], 2**20).body
        return float(total.value()[0])


@pytest.mark.promise("P574")
@pytest.mark.guards("who comes makes no sum wait longer")
def test_who_comes_makes_no_sum_wait_longer(tmp_path: Path) -> None:
    """Somebody comes in each moment in which answers are gathered."""
    names = tuple(f"site-{i}" for i in range(100))

    async def attack() -> None:
        one = Gathering(tmp_path, names)
        for who in names[:20]:
            one.answer(who, 1.0)
            await asyncio.sleep(folds.TICK / 4)
        assert one.sums

    done(attack())


@pytest.mark.promise("P574")
@pytest.mark.guards("the first answer that is whole at a gateway counts")
def test_who_says_something_else_again_and_again_is_heard_once(tmp_path: Path) -> None:
    async def attack() -> None:
        one = Gathering(tmp_path, ("mallory", "north", "south", "west"))
        one.answer("north", 1.0)
        one.answer("south", 1.0)
        for value in range(2, 6):
            one.answer("mallory", float(value))
            await asyncio.sleep(folds.TICK / 8)
        assert set((await one.folded()).who) == {"mallory", "north", "south"}
        assert one.first_number() == 4.0
        for value in range(6, 10):
            one.answer("mallory", float(value))
            await asyncio.sleep(folds.TICK / 2)
        assert len(one.sums) == 1 and one.first_number() == 4.0

    done(attack())


@pytest.mark.promise("P574")
@pytest.mark.guards("who comes back while a sum is made undoes no sum")
def test_who_comes_back_while_a_sum_is_made_undoes_no_sum(tmp_path: Path, monkeypatch: Any) -> None:
    """Its first answer was whole; what it says on its second link takes no sum back."""
    made = folds._added
    begun, back = threading.Event(), threading.Event()

    def slowly(*about: Any) -> Any:
        found = made(*about)
        begun.set()
        back.wait(20)
        return found

    monkeypatch.setattr(folds, "_added", slowly)

    async def attack() -> None:
        one = Gathering(tmp_path, ("mallory", "north"))
        one.answer("north", 1.0)
        one.answer("mallory", 2.0)
        await asyncio.to_thread(begun.wait, 20)
        one.come("mallory")
        one.answer("mallory", 7.0)
        back.set()
        await one.folded()
        assert one.first_number() == 3.0
        await asyncio.sleep(2 * folds.TICK)
        assert len(one.sums) == 1

    done(attack())


@pytest.mark.promise("P574")
@pytest.mark.guards("who leaves again and again undoes one sum")
@pytest.mark.parametrize("others", [("north", "south"), ("north",)], ids=["a sum", "one other"])
def test_who_leaves_while_each_sum_is_on_its_way_undoes_one(tmp_path: Path, others: tuple[str, ...]) -> None:
    """It comes back at once, and says the same: the others' sum would be made anew until the session is over."""

    async def attack() -> None:
        one = Gathering(tmp_path, ("mallory", *others))
        for who in others:
            one.answer(who, 1.0)
        one.answer("mallory", 2.0)
        assert set((await one.folded()).who) == {"mallory", *others}
        for _ in range(6):
            one.come("mallory")
            one.answer("mallory", 2.0)
            await asyncio.sleep(2 * folds.TICK)
        said = [found.who for found in one.told if isinstance(found, From | Folded)]
        assert said.count("mallory") == 6  # which is its own matter
        assert len([who for who in said if who in (list(others), "north")]) == 1  # as a sum, or as it came
        one.relay.hear(For("mallory", Settle(Session.of(SESSION), False)))
        assert not one.relay._folds._left

    done(attack())


@pytest.mark.promise("P572")
@pytest.mark.control("the server's link breaks by nobody's will here")
def test_who_is_let_go_with_the_servers_link_has_not_left(tmp_path: Path) -> None:
    """All say the same again, and are added up again."""

    async def breaks() -> None:
        names = ("east", "north", "south")
        one = Gathering(tmp_path, names)
        for who in names:
            one.answer(who, 1.0)
        await one.folded()
        one.relay.forget()
        one.told.clear()
        for who in names:
            one.come(who)
        for who in names:
            one.answer(who, 1.0)
        assert set((await one.folded()).who) == set(names)
        assert not [found for found in one.told if isinstance(found, From)]

    done(breaks())


@pytest.mark.promise("P574")
@pytest.mark.guards("who leaves again and again undoes one sum")
def test_who_leaves_while_a_sum_is_made_undoes_one(tmp_path: Path, monkeypatch: Any) -> None:
    """Before each is announced: it is away when it is there."""
    made = folds._added
    begun, away = threading.Event(), threading.Event()

    def slowly(*about: Any) -> Any:
        found = made(*about)
        begun.set()
        assert away.wait(20)
        return found

    async def attack() -> None:
        one = Gathering(tmp_path, ("mallory", "north", "south"))
        monkeypatch.setattr(folds, "_added", slowly)
        one.answer("north", 1.0)
        one.answer("south", 1.0)
        one.answer("mallory", 2.0)
        await asyncio.to_thread(begun.wait, 20)
        one.relay.go("mallory", one.relay.posts["mallory"].tell or print)
        away.set()
        for _ in range(4):
            await asyncio.sleep(folds.TICK / 2)
            one.come("mallory")
            one.answer("mallory", 2.0)
        assert set((await one.folded()).who) == {"north", "south"}

    done(attack())
