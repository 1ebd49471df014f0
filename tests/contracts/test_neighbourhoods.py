"""Hidden sums within neighbourhoods: the bytes of plain integers; where peers are lost; what is refused."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pytest

import hansa as h
from hansa import config
from hansa.errors import PlanError
from hansa.graphs import Graph
from hansa.loops.gossip import post_office
from hansa.plan import peers
from hansa.testing.algorithm import federation
from hansa.testing.asserts import equal

KEY = h.Key.of(0)
PARTIES = federation(9)
REACH = 50.0
TORUS = h.Torus()


def hidden(inner: Any = h.MaskedSum(), graph: Any = TORUS, reach: Any = REACH) -> h.Neighbourhoods:
    return h.Neighbourhoods(inner, graph=graph, reach=reach)


def plan(aggregator: Any, **given: Any) -> h.Plan:
    training = h.Training(batch=8, learning_rate=0.1, validation=0.2)
    return h.Plan(
        h.Softmax(4, 3),
        aggregator=aggregator,
        **{"pipe": (h.Weigh("one"),), "rounds": 3, "training": training, **given},
    )


def clients(p: h.Plan) -> list[h.Client]:
    return [h.Client(who, p, data, secret=KEY) for who, data in PARTIES.items()]


def states(p: h.Plan, graph: Any = TORUS, runtime: Any = None, **more: Any) -> list[h.State]:
    with runtime or h.InProcess(clients(p), secret=KEY, **more) as there:
        return list(h.gossip(p, there, None, KEY, graph=graph))


def alike(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(map(equal, map(vars, a), map(vars, b)))


@pytest.mark.promise("P615")
@pytest.mark.parametrize("inner", [h.MaskedSum(), h.EncryptedSum()], ids=repr)
def test_a_hidden_mixture_has_the_bytes_of_plain_integers(inner: Any) -> None:
    p = plan(hidden(inner))
    runtime = h.InProcess(clients(p), secret=KEY)
    w = TORUS.among(runtime.roster()).matrix()
    d = p.model.size
    for state in h.gossip(p, runtime, None, KEY, graph=TORUS):
        memory = runtime.memory.after(state.counted)
        y = np.stack([memory[who][peers.PEER]["y"] for who in sorted(PARTIES)])
        scale = (2**31 - 1 - 5) / REACH  # of five peers
        for i, who in enumerate(sorted(PARTIES)):
            total = sum(np.rint(w[i, j] * scale * y[j]).astype(np.int64) for j in np.flatnonzero(w[i]))
            mean = total / (scale * w[i].sum())
            assert np.array_equal(state.memo["said"][who][:d], mean[:d])
    assert state.round == 3


def test_bytes_are_those_of_one_process_and_of_a_run_that_was_stopped() -> None:
    p = plan(hidden(), rounds=4)
    network = h.Network(drop=0.03)
    here = states(p, network=network, seed=2)
    assert alike(states(p), states(p, runtime=h.Processes(clients(p), 2, KEY)))
    first = h.InProcess(clients(p), network, 2, KEY)
    begun = list(islice(h.gossip(p, first, None, KEY, graph=TORUS), 2))
    again = h.InProcess(clients(p), network, 2, KEY)
    again.memory.load(first.memory.after(begun[-1].counted))
    assert alike(here, [*begun, *h.gossip(p, again, begun[-1], KEY, graph=TORUS)])


@pytest.mark.promise("P615")
def test_who_is_lost_is_in_no_sum_and_the_others_go_on() -> None:
    """A cell has a sum of four of its five; where its centre is gone it has none, and the others' have theirs."""
    p = plan(hidden(), rounds=6)
    runtime = h.InProcess(clients(p), h.Network(drop=0.05), seed=1, secret=KEY)
    office = post_office(p, TORUS, runtime.roster())
    lost = 0
    for state in h.gossip(p, runtime, None, KEY, graph=TORUS):
        lost += len(state.excluded)
        memory = runtime.memory.after(state.counted)
        for who in state.participants:
            own = office.model_of(state, who, memory[who][peers.PEER])
            held = state.memo["held"].get(who)
            y = memory[who][peers.PEER]["y"]
            assert np.array_equal(own, state.memo["said"][who] if held else y)
    assert lost and not state.skipped


@pytest.mark.promise("P615")
def test_it_learns_as_plain_mixing_does() -> None:
    plain = states(plan(h.Sum(), rounds=6))
    masked = states(plan(hidden(), rounds=6))
    said = np.stack([plain[-1].memo["said"][who] for who in sorted(PARTIES)])
    mixed = TORUS.among(sorted(PARTIES)).matrix() @ said
    assert np.allclose(mixed, np.stack([masked[-1].memo["said"][who] for who in sorted(PARTIES)]), rtol=0, atol=1e-6)
    for name in ("loss", "val_accuracy"):
        assert plain[-1].metrics[name] == pytest.approx(masked[-1].metrics[name], abs=1e-5)


@pytest.mark.promise("P616")
@pytest.mark.parametrize(
    ("aggregator", "graph", "found", "instead"),
    [
        (hidden(reach=0.0), TORUS, "bounds no model", "reach=100.0"),
        (hidden(reach=None), TORUS, "bounds no model", "reach=100.0"),
        (hidden(h.Sum()), TORUS, "inner=Sum()", "MaskedSum()"),
        (hidden(h.EncryptedSum(holders=5)), TORUS, "holders", "MaskedSum()"),
        (hidden(graph="ring"), TORUS, "graph='ring'", "Torus()"),
        (hidden(graph=h.Ring()), h.Ring(), "a neighbourhood has 3", "Regular(4)"),
        (hidden(), h.Complete(), "gossip(graph=Complete())", "gossip(graph=Torus(rows=0))"),
        (h.MaskedSum(), TORUS, "MaskedSum()", "Neighbourhoods(MaskedSum(), graph=…, reach=…)"),
    ],
    ids=lambda one: str(one)[:30],
)
def test_what_hides_nobody_is_refused_before_any_round(aggregator: Any, graph: Any, found: str, instead: str) -> None:
    with pytest.raises(PlanError) as error:
        more: dict[str, Any] = {}
        if aggregator == h.MaskedSum():
            more = {
                "pipe": (h.Clip(1.0, side=9.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=9)),
                "sample": h.Everyone(quorum=7),
            }
        p = plan(aggregator, **more)
        h.gossip(p, h.InProcess(clients(p)), graph=graph)
    assert found in error.value.found and instead in error.value.instead


@dataclass(frozen=True)
class Skewed(Graph):
    """Everybody hears everybody, by weights of which nothing is written."""

    more: float = field(default=0.0, repr=False)

    def rounds(self, names: Any) -> Any:
        n = len(names)
        weights = [1 / n + self.more, 1 / n - self.more, *[1 / n] * (n - 2)]
        return (tuple({(i + k) % n: weight for k, weight in enumerate(weights)} for i in range(n)),)


@pytest.mark.promise("P616")
def test_another_graph_is_refused_though_it_is_written_alike() -> None:
    p = plan(hidden(graph=Skewed(0.01)))
    runtime = h.InProcess(clients(p))
    h.gossip(p, runtime, graph=Skewed(0.01))
    with pytest.raises(PlanError, match="whose links or weights are others"):
        h.gossip(p, runtime, graph=Skewed())


def test_a_plan_with_a_graph_is_written_and_read() -> None:
    for graph in (TORUS, h.Regular(4, seed=3), h.OnePeer()):
        p = plan(hidden(graph=graph))
        again = config.build(tomllib.loads(config.toml({"plan": config.table(p)}))["plan"])
        assert again == p and again.digest == p.digest


@pytest.mark.promise("P616")
def test_how_many_may_collude_is_told_of_the_neighbourhood_that_stands_fewest() -> None:
    """Of six two may, of seven one: it does not grow with how many there are."""
    names = [f"peer-{i}" for i in range(7)]
    heard = {who: [one for one in names if {who, one} != {"peer-0", "peer-1"}] for who in names}
    graph = h.Given(heard)
    text = hidden(graph=graph).told(graph.among(names))
    assert "of 6 peers at least with its centre, 5 or more are in a sum" in text
    assert "unless 2 or more of the others are in league" in text


@pytest.mark.promise("P616")
def test_an_app_says_that_it_hides_and_has_no_epsilon() -> None:
    app = h.App(plan(hidden()), PARTIES, loop=h.gossip(graph=TORUS))
    text = str(app.explain())
    assert "of 5 peers at least with its centre, 4 or more are in a sum" in text
    assert "unless 2 or more of the others are in league" in text
    assert "That is hiding, and no ε" in text and "There is no ε" in text
    assert "Neighbours can solve for single models" in text and "by name, in each round" not in text
