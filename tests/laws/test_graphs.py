"""Graphs: the mean stays, peers come to it as fast as is told, and what cannot stand is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

import hansa as h
from hansa.errors import PlanError
from hansa.graphs import Graph, Rows, drawn
from hansa.testing import check_graph

NAMES = [f"peer-{i:02d}" for i in range(16)]
SIX = {  # |λ₂| of 16 peers, in closed form
    h.Ring(): (1 + 2 * math.cos(2 * math.pi / 16)) / 3,
    h.Torus(): (1 + 2 + 2 * math.cos(math.pi / 2)) / 5,
    h.Hypercube(): 1 - 2 / 5,
    h.Star(): 1 - 1 / 16,
    h.Torus(rows=2): (1 + 1 + 2 * math.cos(2 * math.pi / 8)) / 4,
    h.Complete(): 0.0,
}


@pytest.mark.parametrize(
    "graph",
    [
        *SIX,
        h.Regular(4),
        h.Regular(3, seed=2),
        h.SmallWorld(),
        h.SmallWorld(2, rewired=0.5),
        h.OnePeer(),
        h.Base(1),
        h.Pairs(),
        h.Pairs(h.Regular(4)),
    ],
    ids=repr,
)
def test_every_graph_keeps_its_promises(graph: Graph) -> None:
    check_graph(graph, 16)


def test_some_graphs_take_other_numbers() -> None:
    for peers in (2, 3, 7):
        for graph in (h.Ring(), h.Star(), h.Complete(), h.OnePeer(), h.Base(2)):
            check_graph(graph, peers)
    check_graph(h.Given({"a": ["b"], "b": ["a", "c"], "c": ["b"]}), ["a", "b", "c"])
    check_graph(h.Given({"a": {"b": 0.3}, "b": {"a": 0.3}}), ["a", "b"])
    check_graph(h.Given({"a": ["b"], "b": ["c"], "c": ["a", "b"]}), ["a", "b", "c"])  # directed


@pytest.mark.promise("P600")
@pytest.mark.parametrize(("graph", "second"), SIX.items(), ids=repr)
def test_averaging_contracts_by_the_second_eigenvalue(graph: Graph, second: float) -> None:
    """The distance of the slowest mode to the mean, over one round, to six digits."""
    mixing = graph.among(NAMES)
    assert abs(mixing.contraction - second) < 1e-6
    values, vectors = np.linalg.eigh(mixing.matrix())
    slowest = vectors[:, np.argsort(abs(values))[-2]]
    x = 3.0 + slowest  # it has mean 3
    for _ in range(5):
        before = np.linalg.norm(x - 3)
        x = mixing.matrix() @ x
        assert abs(np.linalg.norm(x - 3) - second * before) < 1e-6
    assert abs(x.mean() - 3) < 1e-12


@pytest.mark.promise("P600")
def test_sixteen_peers_in_numbers() -> None:
    told = {h.Ring(): 0.949253, h.Torus(): 0.6, h.Hypercube(): 0.6, h.Star(): 0.9375}
    assert {graph: round(graph.among(NAMES).contraction, 6) for graph in told} == told


@pytest.mark.promise("P601")
@pytest.mark.parametrize("k", range(1, 7))
def test_one_peer_is_exact_on_powers_of_two(k: int) -> None:
    n = 2**k
    mixing = h.OnePeer().among([f"p{i:03d}" for i in range(n)])
    product = np.eye(n)
    for t in range(mixing.period):
        assert mixing.degrees == (1,) * n
        product = mixing.matrix(t) @ product
    assert mixing.period == k
    assert abs(product - 1 / n).max() < 1e-16
    assert mixing.exact and mixing.gap == 1.0


def test_one_peer_is_not_exact_on_other_numbers() -> None:
    mixing = h.OnePeer().among(NAMES[:6])
    assert mixing.balanced and not mixing.exact and 0 < mixing.gap < 1


@pytest.mark.promise("P601")
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_base_graphs_are_exact_on_any_number(k: int) -> None:
    """And within the rounds of the paper, with k others heard in each at most."""
    for n in range(2, 64):
        mixing = h.Base(k).among([f"p{i:03d}" for i in range(n)])
        product = np.eye(n)
        for t in range(mixing.period):
            w = mixing.matrix(t)
            assert np.allclose(w.sum(0), 1) and np.allclose(w.sum(1), 1)
            product = w @ product
        assert abs(product - 1 / n).max() < 1e-14
        assert max(mixing.degrees) <= k
        assert mixing.period <= 2 * math.log(n, k + 1) + 2


def test_random_graphs_are_what_they_say() -> None:
    mixing = h.Regular(4, seed=1).among([f"p{i:03d}" for i in range(60)])
    assert mixing.degrees == (4,) * 60
    assert mixing.rows == h.Regular(4, seed=1).among([f"q{i:03d}" for i in range(60)]).rows
    assert mixing.rows != h.Regular(4, seed=2).among(mixing.names).rows
    ring = h.SmallWorld(4, rewired=0.0).among(NAMES)
    assert ring.degrees == (4,) * 16
    world = h.SmallWorld(4, rewired=0.3).among(NAMES)
    assert sum(world.degrees) == 64 and world.rows != ring.rows


@pytest.mark.promise("P718")
def test_pairs_are_disjoint_neighbours_and_none_is_left_that_could_be_one() -> None:
    links = h.Torus().links(NAMES)
    mixing = h.Pairs(h.Torus(), period=40, seed=3).among(NAMES)
    for rows in mixing.rows:
        met = {i: next(iter(row.keys() - {i}), None) for i, row in enumerate(rows)}
        for i, j in met.items():
            if j is None:
                assert rows[i] == {i: 1.0}
                assert all(met[k] is not None for k in links[i])  # both would have been free
            else:
                assert j in links[i] and met[j] == i and rows[i] == {i: 0.5, j: 0.5}
    assert mixing.rows != h.Pairs(h.Torus(), period=40, seed=4).among(NAMES).rows
    assert len({str(rows) for rows in mixing.rows}) > 30
    assert {j for rows in mixing.rows for j in rows[0]} == {0, *links[0]}
    for wrong in ({"of": "ring"}, {"period": 0}, {"period": 1.5}):
        with pytest.raises(PlanError, match="draws no pairs"):
            h.Pairs(**wrong)


def test_names_find_their_weights() -> None:
    mixing = h.Given({"b": ["a"], "a": ["b", "c"], "c": ["a"]}).among(["a", "b", "c"])
    assert mixing.neighbours("a") == ("b", "c") and mixing.neighbours("c") == ("a",)
    assert mixing.of("b", 7) == pytest.approx({"a": 1 / 3, "b": 2 / 3})
    assert h.Star("c").among(["a", "b", "c"]).neighbours("c") == ("a", "b")
    lines = list(drawn(h.Ring().among(NAMES), most=3))
    assert lines[0] == ("peer-00", "itself 0.333, peer-01 0.333, peer-15 0.333")
    assert lines[-1] == ("…", "13 more peers")


@pytest.mark.parametrize(
    ("graph", "names", "found", "instead"),
    [
        (h.Ring(), ["a"], "has 1 peer", "Bring peers"),
        (h.Torus(), NAMES[:7], "cannot join 7", "Ring()"),
        (h.Torus(rows=3), NAMES, "cannot join 16", "divides"),
        (h.Hypercube(), NAMES[:6], "cannot join 6", "Base(1)"),
        (h.Regular(16), NAMES, "cannot join 16", "below the number"),
        (h.Regular(3), NAMES[:7], "cannot join 7", "even"),
        (h.Regular(1), NAMES[:4], "cannot join 4", "larger degree"),
        (h.SmallWorld(3), NAMES, "cannot join 16", "even degree"),
        (h.Star("nobody"), NAMES, "names nobody", "peer-00"),
        (h.Given({"a": ["b"], "b": ["a"]}), ["a", "b", "c"], "does not say whom c hears", "'c'"),
        (h.Given({"a": ["b"], "b": ["z"]}), ["a", "b"], "names z", "a, b"),
        (h.Given({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}), ["a", "b", "c", "d"], "falls apart: c, d", "link"),
        (h.Given({"a": ["b"], "b": []}), ["a", "b"], "falls apart", "link"),  # b never hears of a
        (h.Given({"a": {"b": 0.3}, "b": {"a": 0.2}}), ["a", "b"], "add up to", "leave the weights out"),
        (h.Given({"a": {"b": 1.5}, "b": {"a": 1.5}}), ["a", "b"], "outside 0 … 1", "shares"),
        (h.Given({"a": {"b": 0.5}, "b": ["a"]}), ["a", "b"], "shares for some", "each link"),
        (h.Pairs(h.Given({"a": ["b"], "b": ["c"], "c": ["a"]})), ["a", "b", "c"], "cannot join 3", "both directions"),
        (h.Pairs(period=1), NAMES, "falls apart", "link"),
    ],
    ids=repr,
)
@pytest.mark.promise("P602")
def test_what_cannot_stand_is_refused(graph: Graph, names: list[str], found: str, instead: str) -> None:
    with pytest.raises(PlanError) as error:
        graph.among(names)
    assert found in error.value.found and instead in error.value.instead


def test_a_graph_that_hears_nobody_is_refused() -> None:
    with pytest.raises(PlanError, match="hear nobody"):
        h.Base(0)


@dataclass(frozen=True)
class Leaky(Graph):
    """Half of what each says is lost."""

    def rounds(self, names: list[str]) -> tuple[Rows, ...]:
        n = len(names)
        return (tuple({i: 0.25, (i + 1) % n: 0.25} for i in range(n)),)


@dataclass(frozen=True)
class Restless(Graph):
    """Other links each time."""

    def rounds(self, names: list[str]) -> tuple[Rows, ...]:
        n = len(names)
        own = np.random.default_rng().random()  # equal twice once in 2⁵³
        return (tuple({i: own, (i + 1) % n: 1 - own} for i in range(n)),)


def test_a_strangers_graph_that_breaks_a_promise_is_named() -> None:
    with pytest.raises(PlanError, match=r"add up to 0\.5"):
        check_graph(Leaky(), 4)
    with pytest.raises(AssertionError, match="other weights the second time"):
        check_graph(Restless(), 3)
