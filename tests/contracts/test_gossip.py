"""Gossip: the same bytes everywhere, when it is stopped and goes on, and where replies are lost."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

import hansa as h
from hansa.aggregators.mixing import Averaging, inbox_of
from hansa.app.personal import own_rows, stored_model
from hansa.errors import AppError, PlanError
from hansa.graphs import Graph
from hansa.loops.gossip import post_office
from hansa.plan import peers
from hansa.privacy import planned_privacy
from hansa.testing.algorithm import federation
from hansa.testing.asserts import equal
from hansa.ui import curves

KEY = h.Key.of(0)
PARTIES = federation(8)
ONE = (h.Weigh("one"),)
LOCAL = (h.Clip(0.5, side=10.0), h.Weigh("one"), h.GaussianNoise(0.3, by="each"))


def plan(**given: Any) -> h.Plan:
    more = {"pipe": ONE, "rounds": 5, "training": h.Training(batch=8, learning_rate=0.1, validation=0.2)}
    return h.Plan(h.Softmax(4, 3), **{**more, **given})


def clients(p: h.Plan, parties: Any = PARTIES) -> list[h.Client]:
    return [h.Client(who, p, data, secret=KEY) for who, data in parties.items()]


def states(p: h.Plan, graph: Graph, runtime: Any = None, state: Any = None, **more: Any) -> list[h.State]:
    with runtime or h.InProcess(clients(p), secret=KEY, **more) as there:
        return list(h.gossip(p, there, state, KEY, graph=graph))


def alike(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(map(equal, map(vars, a), map(vars, b)))


@pytest.mark.promise("P603")
def test_a_complete_graph_is_the_star() -> None:
    """Each takes the mean of all: the server's, but for the last bits."""
    for algorithm in (h.FedAvg(), h.Scaffold()):
        p = plan(algorithm=algorithm)
        star = list(h.synchronous(p, h.InProcess(clients(p)), secret=KEY))
        for one, other in zip(star, states(p, h.Complete()), strict=True):
            assert np.allclose(one.x, other.x, rtol=0, atol=1e-13)
            assert one.metrics == pytest.approx({k: v for k, v in other.metrics.items() if k != "apart"}, abs=1e-6)


@pytest.mark.promise("P603")
def test_the_mean_and_the_distance_are_those_of_the_peers() -> None:
    p = plan()
    runtime = h.InProcess(clients(p))
    office = post_office(p, h.Ring(), runtime.roster())
    mixing = office.mixing
    models: dict[str, Any] = {}
    for state in h.gossip(p, runtime, graph=h.Ring()):
        memory = runtime.memory.after(state.counted)
        said = np.stack([memory[who][peers.PEER]["y"] for who in mixing.names])
        assert np.allclose(state.x, said.mean(0), rtol=0, atol=1e-15)
        far = np.sqrt(((said - said.mean(0)) ** 2).sum(1).mean())
        assert state.metrics["apart"] == pytest.approx(far)
        assert {"loss", "val_loss", "val_accuracy"} <= state.metrics.keys()
        models = {who: office.model_of(state, who, memory[who][peers.PEER]) for who in mixing.names}
        mixed = mixing.matrix() @ said
        assert np.allclose(np.stack(list(models.values())), mixed, rtol=0, atol=1e-14)
    assert len({v.tobytes() for v in models.values()}) == 8  # each has its own


@pytest.mark.promise("P604")
def test_bytes_are_those_of_one_process_with_any_number_of_workers() -> None:
    p = plan(algorithm=h.Scaffold(), pipe=LOCAL)
    here = states(p, h.OnePeer())
    for workers in (1, 2, 4):
        assert alike(here, states(p, h.OnePeer(), h.Processes(clients(p), workers, KEY)))


@pytest.mark.promise("P604")
@pytest.mark.parametrize(
    "given", [{}, {"algorithm": h.Scaffold()}, {"aggregator": h.PushSum()}, {"aggregator": h.Choco(0.3, 0.5)}], ids=str
)
def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(given: Any) -> None:
    """Also where replies were lost before, and will be: what is under way is in the state."""
    p = plan(pipe=LOCAL, rounds=8, **given)
    network = h.Network(drop=0.3)
    whole = states(p, h.Ring(), network=network, seed=3)
    assert any(state.excluded for state in whole[:3])
    first = h.InProcess(clients(p), network, 3, KEY)
    begun = list(islice(h.gossip(p, first, None, KEY, graph=h.Ring()), 4))
    again = h.InProcess(clients(p), network, 3, KEY)
    again.memory.load(first.memory.after(begun[-1].counted))
    rest = list(h.gossip(p, again, begun[-1], KEY, graph=h.Ring()))
    assert alike(whole, [*begun, *rest])


def test_whoever_is_lost_stays_where_it_was() -> None:
    p = plan()
    runtime = h.InProcess(clients(p), h.Network(drop=0.4), seed=1)
    mixing = h.Torus().among(runtime.roster())
    before: dict[str, Any] = {}
    lost = 0
    for state in h.gossip(p, runtime, graph=h.Torus()):
        now = dict(state.memo["said"])
        assert set(state.participants) | set(state.excluded) == set(mixing.names)
        for who in state.excluded:
            lost += 1
            assert now.get(who) is before.get(who)
        for who in state.participants:
            assert not np.array_equal(now[who], before.get(who))
        before = now
    assert lost


def test_a_round_below_its_quorum_changes_nothing() -> None:
    p = plan(sample=h.Everyone(quorum=8))
    runtime = h.InProcess(clients(p), h.Network(drop=0.3), seed=1)
    x = p.start().x
    skipped = 0
    for state in h.gossip(p, runtime, graph=h.Ring()):
        if state.skipped:
            skipped += 1
            assert np.array_equal(state.x, x) and state.participants == () and len(state.excluded) == 8
        x = state.x
    assert skipped


def test_a_population_gossips_as_its_clients_do() -> None:
    p = plan(pipe=LOCAL)
    data = list(PARTIES.values())
    crowd = h.Population(p, 8, data.__getitem__, secret=KEY)
    listed = {who: data[i] for i, who in enumerate(crowd.names)}
    here = states(p, h.Ring(), h.InProcess(clients(p, listed), secret=KEY))
    assert alike(here, states(p, h.Ring(), h.InProcess(crowd, secret=KEY)))


def test_peers_learn_what_no_one_of_them_has() -> None:
    """Sixteen peers with two of three labels each: each peer's model knows all three."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(6, 3))
    test = rng.normal(size=(500, 6))
    parties = {}
    for i in range(16):
        x = rng.normal(size=(60, 6))
        keep = (x @ w).argmax(1) != i % 3
        parties[f"peer-{i:02d}"] = (x[keep], (x @ w).argmax(1)[keep])
    p = h.Plan(h.Softmax(6, 3), pipe=ONE, training=h.Training(batch=8, learning_rate=0.2), rounds=30)
    runtime = h.InProcess(clients(p, parties))
    office = post_office(p, h.Torus(), runtime.roster())
    *_, last = h.gossip(p, runtime, graph=h.Torus())
    memory = runtime.memory.after(last.counted)
    truth = (test, (test @ w).argmax(1))
    for who in runtime.roster():
        own = office.model_of(last, who, memory[who][peers.PEER])
        assert p.model.score(own, truth)["accuracy"] > 0.85
    assert last.metrics["apart"] < 1.0


@pytest.mark.promise("P605")
@pytest.mark.parametrize(
    ("given", "graph", "found", "instead"),
    [
        ({"pipe": (h.Weigh("examples"),)}, h.Ring(), "Weigh", "Weigh('one')"),
        ({"sample": h.Uniform(3)}, h.Ring(), "Uniform", "Everyone"),
        ({"sample": h.Everyone(quorum=9)}, h.Ring(), "9 answers", "lower quorum"),
        ({"pipe": (h.Clip(1.0, side=9.0), *ONE, h.GaussianNoise(1.0))}, h.Ring(), "noise", "by='each'"),
        ({"pipe": (h.TopK(0.1), *ONE)}, h.Ring(), "TopK", "synchronous"),
        ({"pipe": (h.Clip(1.0, side=9.0), *ONE, h.Quantize(16))}, h.Ring(), "Quantize", "synchronous"),
        ({"algorithm": h.Ditto()}, h.Ring(), "Ditto", "FedAvg()"),
        ({"algorithm": h.FedAvg(h.Adam(0.1))}, h.Ring(), "Adam", "FedAvg()"),
        ({"algorithm": h.FedProx(0.1)}, h.Ring(), "pull=0.1", "FedAvg()"),
        ({"aggregator": h.Median()}, h.Ring(), "Median", "Sum()"),
        (
            {
                "aggregator": h.MaskedSum(),
                "pipe": (h.Clip(1.0, side=9.0), *ONE, h.Quantize(16)),
                "sample": h.Everyone(quorum=6),
            },
            h.Ring(),
            "MaskedSum",
            "Sum()",
        ),
        ({}, h.Torus(rows=3), "cannot join 8 peers", "Ring()"),
        ({}, "ring", "joins nobody", "Ring()"),
    ],
    ids=lambda one: str(one)[:40],
)
def test_what_needs_a_server_is_refused_before_any_round(given: Any, graph: Any, found: str, instead: str) -> None:
    p = plan(**given)
    with pytest.raises(PlanError) as error:
        h.gossip(p, h.InProcess(clients(p)), graph=graph)
    assert found in error.value.found and instead in error.value.instead


def test_a_directed_graph_is_refused_by_what_mixes_means() -> None:
    graph = h.Given({"a": ["b"], "b": ["c"], "c": ["a", "b"]})
    with pytest.raises(PlanError, match="heard whom they do not hear"):
        post_office(plan(), graph, ["a", "b", "c"])


def test_an_inbox_holds_vectors_of_the_plan_or_silence() -> None:
    v = np.arange(3.0)
    weights = {"me": 0.5, "b": 0.25, "c": 0.25}
    found = inbox_of("me", {"weights": weights, "said": {"b": v, "c": v * np.nan}}, 3)
    assert found is not None and found.said.keys() == {"b"} and found.own == 0.5
    x, _ = Averaging().mix({"y": np.zeros(3)}, found)
    assert np.array_equal(x, v / 4)  # the share of who said nonsense stays its own
    for body in (
        None,
        {},
        {"weights": weights},
        {"weights": {"b": 3.0}, "said": {}},
        {"weights": {}, "said": {"b": v}},
    ):
        assert inbox_of("me", body, 3) is None


def test_a_first_inbox_is_empty_and_the_next_has_the_neighbours() -> None:
    p = plan(rounds=1)
    runtime = h.InProcess(clients(p))
    names = runtime.roster()
    office = post_office(p, h.Ring(), names)
    begun = replace(p.start(), memo={"said": {}, "held": {}})
    assert office.inbox(begun, names[0]) == {"weights": {names[0]: 1.0}, "said": {}}
    (state,) = h.gossip(p, runtime, graph=h.Ring())
    given = office.inbox(state, names[0])
    assert set(given["said"]) == {names[1], names[-1]} and sum(given["weights"].values()) == pytest.approx(1)


# ── as an app ──


def app_of(**given: Any) -> h.App:
    p = plan(**given)
    test = {who: (x[:5], y[:5]) for who, (x, y) in PARTIES.items()}
    return h.App(p, PARTIES, test, loop=h.gossip(graph=h.Ring()), secret=KEY)


@pytest.mark.promise("P604")
def test_an_app_runs_is_stopped_and_goes_on(tmp_path: Any) -> None:
    """Its runs hold the mail, and each peer's own model is told, compared and exported as any other."""
    app = app_of(algorithm=h.Scaffold(), rounds=4)
    *_, whole = app.run()
    store = h.Store(tmp_path)
    run = store.new("", app.known_plan.digest, "", {})
    for _ in range(4):
        state = next(app.run(run))
    assert state.round == 4 and state.x.tobytes() == whole.x.tobytes()
    assert list(curves([state.happened]))[-1] == "apart"
    memory = run.memory()
    office = post_office(app.plan, h.Ring(), sorted(PARTIES))
    who = sorted(PARTIES)[2]
    own, _ = stored_model(app, run, run.state(), who)
    assert own.tobytes() == office.model_of(whole, who, memory[who][peers.PEER]).tobytes()
    assert not np.array_equal(own, whole.x)
    told = {row.name: row for row in own_rows(app, state, memory)}
    assert {"own models: 10 %", "global model: 50 %"} <= told.keys()
    scored = [
        app.plan.model.score(stored_model(app, run, run.state(), one)[0], app.tests.of(one))["accuracy"]
        for one in PARTIES
    ]
    assert told["own models: 50 %"].scores["accuracy"] == pytest.approx(np.median(scored))
    assert "own models" in {row.name for row in app.compare(state, memory)}


@pytest.mark.promise("P607")
def test_an_app_explains_its_graph_and_who_hears_whom() -> None:
    text = str(app_of().explain())
    assert "each of which hears 2 of the others in a round, by Ring()" in text
    assert "client-0 | itself 0.333, client-1 0.333, client-7 0.333" in text
    assert "Spectral gap 0.1953: a round of mixing alone brings peers to 0.804738" in text
    assert "hides nothing by itself" in text and "There is no ε" in text
    assert "The server can see" not in text and "says 15 numbers" in text
    exact = replace(app_of(algorithm=h.Scaffold()), loop=h.gossip(graph=h.Base(1)))
    assert "3 rounds of mixing alone reach the exact mean" in str(exact.explain())
    assert "says 30 numbers that its neighbours mix: its model and what else" in str(exact.explain())


def test_an_app_refuses_a_graph_that_does_not_fit_and_sites() -> None:
    with pytest.raises(PlanError, match="cannot join 8 peers"):
        replace(app_of(), loop=h.gossip(graph=h.Torus(rows=3)))
    with pytest.raises(PlanError, match="gossip cannot run Median"):
        replace(app_of(), plan=plan(aggregator=h.Median()))
    with pytest.raises(AppError, match="among sites"):
        replace(app_of(), runtime=lambda *given: None)


@pytest.mark.promise("P608")
def test_noise_of_each_peer_has_the_ledgers_epsilon_and_none_has_none() -> None:
    """A peer's update has its whole noise before it is in any model: each round is one release."""
    app = app_of(pipe=LOCAL, rounds=2)
    *_, state = app.run()
    assert state.spent["client"].epsilon == planned_privacy(app.plan).epsilon(state.spent["client"].delta)
    *_, state = app_of(rounds=1).run()
    assert not state.spent


@pytest.mark.promise("P608")
def test_what_a_peer_says_hides_its_update_in_that_noise() -> None:
    """The same data, another secret: what is said differs by two draws of the noise that is told."""
    p = replace(plan(pipe=LOCAL, rounds=1), model=h.Softmax(400, 3), training=h.Training(batch=0, report=False))
    data = {f"p{i}": (np.eye(4, 400), np.arange(4) % 3) for i in range(2)}
    said = []
    for secret in (h.Key.of(1), h.Key.of(2)):
        runtime = h.InProcess([h.Client(who, p, one, secret=secret) for who, one in data.items()])
        (state,) = h.gossip(p, runtime, graph=h.Complete())
        said.append(state.memo["said"]["p0"])
    sigma = 0.3 * 0.5  # multiplier times clip: there are no side values
    assert np.std(said[0] - said[1]) == pytest.approx(sigma * 2**0.5, rel=0.1)  # 1203 draws: 5 sigma
