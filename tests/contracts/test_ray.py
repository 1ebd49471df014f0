"""RayCluster, on a real Ray: the bytes of one process, whatever dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from tests.attending import HOST, SECRET, Sites
from tests.contracts.test_gateways import NAMES, free, heard, spread
from tests.contracts.test_site_runtime import DATA, alike, clients
from tests.contracts.test_site_runtime import plan as site_plan

from hansa import (
    Arriving,
    Client,
    Clip,
    EncryptedSum,
    Everyone,
    InProcess,
    MaskedSum,
    Plan,
    Population,
    Quantize,
    RayCluster,
    Scaffold,
    Softmax,
    Training,
    VerifiedSum,
    Weigh,
    buffered,
    synchronous,
)
from hansa.errors import AppError, PlanError, StoreError
from hansa.models import Model, TrainResult
from hansa.rand import Key
from hansa.runtimes.sites.ray import RayGateways
from hansa.testing import check_runtime
from hansa.testing.asserts import equal


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One Ray for all tests of this file; each RayCluster joins it.

    What it refuses it refuses at once, so that whoever counts refusals instead of losses has no time to get through.
    """
    at_once = {"timeout_ms_task_wait_for_death_info": 0}
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, _system_config=at_once)
    yield
    ray.shutdown()


KEY = Key.of(0)  # a secret that repeats


def people(plan: Plan, n: int = 5) -> list[Client]:
    found = []
    for i in range(n):
        rng = np.random.default_rng(i)
        X = rng.normal(size=(20, 4))
        found.append(Client(f"c{i}", plan, (X, (X[:, 0] > 0).astype(np.int64)), secret=KEY))
    return found


def plan(**more: Any) -> Plan:
    return Plan(Softmax(4, 2), **{"training": Training(batch=5, report=False), "rounds": 6, **more})


def kill(runtime: RayCluster | RayGateways, i: int) -> None:
    """End the process of an actor as the kernel would."""
    actor = runtime._actors[i]
    pid = ray.get(actor.__ray_call__.remote(lambda self: os.getpid()))
    os.kill(pid, signal.SIGKILL)


@pytest.mark.promise("P572", "P589")
def test_gateways_stand_in_actors_and_one_that_is_lost_costs_no_byte(tmp_path: Path) -> None:
    p = site_plan()
    wanted = list(synchronous(p, InProcess(clients(p), secret=SECRET), secret=SECRET))
    sites = Sites(tmp_path, p, DATA, gateways=NAMES)
    ports = [free() for _ in NAMES]
    with ExitStack() as stack:
        upstream = f"{HOST}:{sites.gateway.port}"
        for name, port in zip(NAMES, ports, strict=True):
            kits = [sites.kits[name].folder]
            standing = stack.enter_context(RayGateways(kits, upstream, (HOST, port)))
            assert [one.rpartition(":")[2] for one in standing.addresses()] == [str(port)]
        spread(sites, ports)
        stack.enter_context(sites)
        sites.wait(*DATA)
        runtime = heard(sites)
        states = synchronous(p, runtime, secret=SECRET)
        found = [next(states)]
        kill(standing, 0)
        found += states
        assert alike(found, wanted) and max(runtime.sizes) == len(DATA) // 2
        assert standing.addresses()  # Ray has started it again


@pytest.mark.promise("P589")
def test_a_gateway_in_an_actor_has_a_gateways_kit(tmp_path: Path) -> None:
    sites = Sites(tmp_path, site_plan(), DATA)
    kits = [sites.kits["server"].folder]
    refused = pytest.raises(AppError, match="is the kit of server")
    with RayGateways(kits, f"{HOST}:1", (HOST, 0)) as standing, refused:
        standing.addresses()
    sites.gateway.close()
    with pytest.raises(PlanError, match="would listen at the port 7443"):
        RayGateways([*kits, *kits], f"{HOST}:1")
    with pytest.raises(PlanError, match="has no kit"):
        RayGateways([], f"{HOST}:1")
    with pytest.raises(PlanError, match="would wait for ever"):
        RayGateways([tmp_path] * 5, f"{HOST}:1", (HOST, 0))


@pytest.mark.promise("P589")
def test_a_gateway_that_cannot_stand_is_started_again_until_it_can(tmp_path: Path) -> None:
    """Its kit is not on the machine at first."""
    sites = Sites(tmp_path, site_plan(), DATA, gateways=NAMES[:1])
    folder = sites.kits[NAMES[0]].folder
    away = folder.with_name("away")
    folder.rename(away)
    with RayGateways([folder], f"{HOST}:1", (HOST, 0)) as standing:
        with pytest.raises(StoreError, match="There is no folder"):
            standing.addresses()
        away.rename(folder)
        until = time.monotonic() + 60
        while True:
            try:
                assert standing.addresses()
                break
            except StoreError:
                assert time.monotonic() < until
                time.sleep(0.5)
    sites.gateway.close()


def test_it_is_a_runtime() -> None:
    check_runtime(lambda clients: RayCluster(clients, 2))


@pytest.mark.promise("P47")
@pytest.mark.parametrize("workers", [1, 3])
def test_the_bytes_of_one_process_survive_the_loss_of_actors(workers: int) -> None:
    p = plan(algorithm=Scaffold())
    runtime, alone = RayCluster(people(p), workers), InProcess(people(p))
    for a, b in zip(synchronous(p, runtime), synchronous(p, alone), strict=True):
        assert equal(a.x, b.x) and a.participants == b.participants and not a.excluded
        assert equal(runtime.memory.after(a.counted), alone.memory.after(b.counted))
        if a.round in (2, 4):
            kill(runtime, a.round % workers)
    runtime.close()


def test_a_secure_sum_survives_too() -> None:
    p = plan(pipe=(Clip(5.0), Weigh("one")), aggregator=VerifiedSum(), sample=Everyone(quorum=2), rounds=3)
    runtime, alone = RayCluster(people(p), 2, secret=KEY), InProcess(people(p), secret=KEY)
    for a, b in zip(synchronous(p, runtime, secret=KEY), synchronous(p, alone, secret=KEY), strict=True):
        assert equal(a.x, b.x) and a.participants == b.participants
        kill(runtime, 0)
    runtime.close()


HIDDEN = {"masked": MaskedSum()}
if "HANSA_KILLS" in os.environ:  # they take long
    HIDDEN |= {"arriving": Arriving(MaskedSum(), size=5), "encrypted": EncryptedSum()}


@pytest.mark.parametrize("aggregator", HIDDEN.values(), ids=HIDDEN)
def test_a_hidden_sum_survives_too(aggregator: Any) -> None:
    """What a client has drawn for a round dies with its actor, and the next round draws anew."""
    pipe = (Clip(1.0, side=10.0), Weigh("one"), Quantize(16, of="sum", clients=5))
    p = plan(pipe=pipe, aggregator=aggregator, sample=Everyone(quorum=4), rounds=3)
    alone = InProcess(people(p), secret=KEY)
    loop = partial(buffered, busy=5) if isinstance(aggregator, Arriving) else synchronous
    with RayCluster(people(p), 2, secret=KEY) as runtime:
        for a, b in zip(loop(p, runtime, secret=KEY), loop(p, alone, secret=KEY), strict=True):
            assert equal(a.x, b.x) and a.participants == b.participants and not a.skipped
            kill(runtime, 0)


def test_an_actor_that_is_being_started_again_is_waited_for_and_not_counted_as_lost() -> None:
    p = plan(rounds=1)
    runtime, alone = RayCluster(people(p), 1), InProcess(people(p))
    kill(runtime, 0)
    with pytest.raises(ray.exceptions.RayActorError):  # it is known to have died
        ray.get(runtime._actors[0].answer.options(max_task_retries=0).remote(None, None, {}))
    state, expected = next(synchronous(p, runtime)), next(synchronous(p, alone))
    assert equal(state.x, expected.x) and state.participants == expected.participants and not state.excluded
    runtime.close()


class Deadly(Model):
    """Takes its process along whenever it is trained."""

    size = 1

    def start(self, key: Any) -> Any:
        return np.zeros(1)

    def train(self, x: Any, *more: Any) -> TrainResult:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Faulty(Deadly):
    """Fails with a bug of its own."""

    def train(self, x: Any, *more: Any) -> TrainResult:
        raise ZeroDivisionError("of my own")


def test_what_always_kills_its_actor_ends_with_a_reason() -> None:
    p = Plan(Deadly(), training=Training(report=False), rounds=1)
    runtime = RayCluster(people(p, 2), 1)
    with pytest.raises(RuntimeError, match="was lost 6 times"):
        next(synchronous(p, runtime))
    runtime.close()


def test_a_bug_of_a_client_comes_back() -> None:
    p = Plan(Faulty(), training=Training(report=False), rounds=1)
    runtime = RayCluster(people(p, 2), 1)
    with pytest.raises(RuntimeError, match="of my own"):
        next(synchronous(p, runtime))
    runtime.close()


def test_what_would_never_start_is_refused() -> None:
    with pytest.raises(PlanError, match="wait for ever"):
        RayCluster(people(plan(), 50), 50)
    with pytest.raises(PlanError, match="cannot be listed"):
        RayCluster(Population(plan(), 9, lambda i: None), 2)


@pytest.mark.parametrize("workers", [0, 1.5, "2"])
def test_nobody_to_work_is_refused(workers: Any) -> None:
    with pytest.raises(PlanError, match="nobody to work"):
        RayCluster(people(plan()), workers)
