"""One answer to one question: from many workers, of many runs, and by whatever lies on the disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.test_book import BOUND, DATA, WHO, plan_of, request_of
from tests.contracts.test_aggregators import FourTurns

import hansa as h

NOISY = (*BOUND, h.GaussianNoise(1.0, by="each"))


def changing(path: Path) -> Callable[[int], Any]:
    """Data of which one more row is gone at each reading, in whatever process."""

    def data(i: int) -> Any:
        with path.open("a") as file:
            file.write(".")
        gone = path.stat().st_size
        x, y = DATA[f"client-{i}"]
        return x[gone:], y[gone:]

    return data


@pytest.mark.guards("nobody answers twice at once")
@pytest.mark.promise("P90")
@pytest.mark.parametrize("workers", [1, 3])
def test_who_is_asked_six_times_at_once_answers_once(tmp_path: Path, workers: int) -> None:
    """Each reading would give another vector, with noise of its own: the mean of six has 0.4 of the noise."""
    plan = plan_of(pipe=NOISY)
    request = replace(request_of(plan), fold=True)
    answers = list[bool]()
    with h.Processes(h.Population(plan, 3, changing(tmp_path / "readings")), workers) as runtime:
        for _ in range(6):
            runtime.send(request)
        while len(answers) < 6:
            reply = runtime.receive()
            answers += [reply.body is not None for _ in reply.who]
    assert answers.count(True) == 1


@pytest.mark.guards("nobody answers twice at once")
@pytest.mark.promise("P114")
def test_a_message_that_comes_twice_at_once_changes_nothing() -> None:
    plan = plan_of(aggregator=FourTurns(), pipe=(h.Weigh("one"),))
    first = request_of(plan)
    clients = [h.Client(who, plan, one) for who, one in DATA.items()]
    with h.Processes(clients, workers=2) as runtime:
        for turn, body in enumerate([None, "your vector", [WHO], "goodbye"]):
            request = replace(first, bodies={WHO: body}, turn=turn)
            runtime.send(request)
            runtime.send(request)
            one, again = runtime.receive(), runtime.receive()
            assert one.body is not None and h.codec.dumps(one.body) == h.codec.dumps(again.body)
