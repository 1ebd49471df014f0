"""A site's agent and its worker: the bytes of a simulation, a worker that dies, and what no site runs."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.approving import hansa
from tests.attending import SECRET, Sites

import hansa as h
from hansa import Client, InProcess, Policy, codec, planned_privacy, sandbox, synchronous
from hansa.analytics import Mean
from hansa.app.load import load
from hansa.approval.approvals import approve
from hansa.approval.packing import pack
from hansa.cli.worker import Dealt
from hansa.errors import AppError, LeftOut, PlanError, PolicyError, ProtocolError
from hansa.messages import Request, SessionId
from hansa.plan.noise import binds, once
from hansa.plan.outline import Outline, outlined
from hansa.runtimes.sites.agent import Agent, AgentClient
from hansa.runtimes.sites.worker import Worker, Workplace

APP = '''
import os, signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import hansa

HERE = []


@dataclass(frozen=True)
class Shaken(hansa.transforms.Transform):
    """A stranger's: it draws from the generator that all share, and where a test wants it, it dies."""

    def encode(self, v, at):
        if at.round == 1 and HERE and (HERE[0].parent / f"{at.who}.dies").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return v + 1e-3 * np.random.normal(size=v.shape)


def read(path):
    HERE[:] = [Path(path)]
    table = np.loadtxt(path, delimiter=",", ndmin=2)
    return table[:, :-1] + np.random.normal(size=table[:, :-1].shape), table[:, -1].astype(int)


plan = hansa.Plan(
    hansa.Softmax(3, 2),
    algorithm=hansa.Ditto(),
    pipe=(Shaken(), hansa.TopK(0.5, feedback=True), hansa.Weigh("one")),
    training=hansa.Training(batch=8, private=hansa.PerExample(clip=1.0, noise=0.5), report=False),
    sample=hansa.Everyone(deadline=60),
    rounds=4,
)
app = hansa.App(plan, hansa.Sites(read, "*.csv"))
'''
NAMES = ("north", "south")


class Working(Sites):
    """A federation each of whose clients has an agent, and a worker that runs the app."""

    def __init__(self, folder: Path):
        folder.mkdir()
        (folder / "app.py").write_text(APP)
        for i, who in enumerate(NAMES):
            X = np.random.default_rng(i).normal(size=(20, 3))
            np.savetxt(folder / f"{who}.csv", np.column_stack([X, X.sum(1) > 0]), delimiter=",")
        self.app = load(folder / "app.py")
        self.bundle = pack(folder / "app.py")
        self.agents: dict[str, Agent] = {}
        super().__init__(folder, self.app.known_plan, dict.fromkeys(NAMES))

    def attend(self, who: str) -> Any:
        kit = self.kits[who]
        approve(kit.folder, self.bundle, "officer")
        data = self.folder / f"{who}.csv"
        worker = Worker(Workplace(self.bundle, kit.folder, who, data=data, isolated=not sandbox.fault()))
        self.agents[who] = Agent(worker, kit.identity, kit.roster, SECRET)
        return super().attend(who)

    def party(self, who: str) -> Any:
        return self.agents[who](self.plan.digest)

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        for one in self.agents.values():
            one.worker.close()

    def alone(self) -> InProcess:
        """The same clients in this process."""
        clients = [Client(who, self.plan, self.app.data.at(self.folder / f"{who}.csv"), secret=SECRET) for who in NAMES]
        return InProcess(clients)


@pytest.mark.promise("P554")
@pytest.mark.promise("P558")
def test_a_worker_gives_the_bytes_of_a_simulation_and_one_that_dies_costs_its_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Noise of examples, memory, strangers' draws; one is killed while it waits, and one kills itself at work."""
    died = pytest.warns(LeftOut, match="The worker of south was ended by SIGKILL")
    with Working(tmp_path / "sites") as sites, sites.runtime() as runtime, died, caplog.at_level(logging.INFO):
        sites.wait(*NAMES)
        states = synchronous(sites.plan, runtime, secret=SECRET)
        first = next(states)
        north = sites.agents["north"].worker
        os.kill(north.pid, signal.SIGKILL)
        os.waitid(os.P_PID, north.pid, os.WEXITED | os.WNOWAIT)  # else it may be asked before it is gone
        (sites.folder / "south.dies").touch()
        second = next(states)
        (sites.folder / "south.dies").unlink()
        third = next(states)
        assert (north.life, sites.agents["south"].worker.life) == (2, 2)
        pids = [one.worker.pid for one in sites.agents.values()]
        states.close()
    (alone, *_) = synchronous(sites.plan, sites.alone(), secret=SECRET)
    assert first.x.tobytes() == alone.x.tobytes() and set(first.participants) == set(NAMES)
    assert second.excluded == {"south": "bug"} and second.participants == ("north",)
    assert not third.excluded and set(third.participants) == set(NAMES)
    assert "The worker of north was ended by SIGKILL" in caplog.text and "no answer (bug)" in caplog.text
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    for who in NAMES:
        left = [path for name in ("apps", "scratch") for path in (sites.kits[who].folder / name).iterdir()]
        assert not left
    _its_models(sites, second)


def _its_models(sites: Working, state: h.State) -> None:
    """A site has the model that it was told last, and its own; of a run that was left it has none."""
    at = ("--kit", sites.kits["north"].folder)
    told = hansa("score", sites.folder / "app.py", *at, "--data", sites.folder / "north.csv", "--own")
    assert told.exit_code == 0 and "the model of north after round 2 of run" in told.output, told.output
    assert "20 examples" in told.output and re.search(r"(?m)^  loss  \d", told.output)
    for name in ("new.csv", "new.json"):
        told = hansa("predict", sites.folder / "app.py", sites.folder / name, *at, "--data", sites.folder / "north.csv")
        assert told.exit_code == 0 and "20 predictions of the global model" in told.output, told.output
    rows = np.loadtxt(sites.folder / "new.csv", delimiter=",", skiprows=1, ndmin=2)
    listed = json.loads((sites.folder / "new.json").read_text())
    for found in (rows, np.array(listed)):  # of data that is read with noise, as this app does it
        assert found.shape == (20, 2) and np.allclose(found.sum(1), 1)
    file = sites.folder / "model.safetensors"
    told = hansa("export", sites.folder / "app.py", file, *at)
    assert told.exit_code == 0, told.output
    tensors = load_file(file)
    assert sorted(one.tobytes() for one in tensors.values()) == sorted(
        np.array(one, order="C").tobytes() for one in sites.plan.model.tensors(state.x).values()
    )
    (kept,) = (sites.kits["north"].folder / "models").iterdir()
    assert hansa("leave", kept.name, *at).exit_code == 0 and not kept.exists()
    told = hansa("export", sites.folder / "app.py", file, *at)
    assert told.exit_code == 2 and "There is no model of the run" in told.output


# ── what an agent knows of a plan ──


class Mine(h.Sum):
    """A stranger's sum, whose half at a client is another."""

    def client(self, contribute: Any, at: Any) -> Any:
        yield 2 * (yield from contribute())


class Half(h.transforms.Transform):
    """A stranger's transform."""

    def encode(self, v: Any, at: Any) -> Any:
        return v / 2

    def decode(self, total: Any, at: Any) -> Any:
        return 2 * total


class Odd(h.Softmax):
    """A stranger's model."""


QUIET = h.Training(report=False)
CLIPPED = (h.Clip(1.0, side=2.0), h.Weigh("one"))
PLANS = {
    "plain": h.Plan(h.Softmax(3, 2)),
    "noisy": h.Plan(h.Softmax(3, 2), pipe=(*CLIPPED, h.GaussianNoise(2.0)), training=QUIET, sample=h.Poisson(0.5)),
    "correlated": h.Plan(
        h.Softmax(3, 2), pipe=(*CLIPPED, h.CorrelatedNoise(2.0)), training=QUIET, sample=h.Everyone(quorum=3)
    ),
    "verified": h.Plan(
        h.Softmax(3, 2), pipe=CLIPPED, aggregator=h.VerifiedSum(("auditor",), noise=1.0), sample=h.Everyone(quorum=3)
    ),
    "hidden": h.Plan(
        h.Softmax(3, 2),
        pipe=(*CLIPPED, h.Quantize(16, of="sum", clients=10)),
        aggregator=h.MaskedSum(),
        sample=h.Uniform(5, quorum=4),
    ),
    "survey": h.survey({"mean": Mean(0, 9)}, most=30, columns=3, aggregator=h.VerifiedSum(helpers=1), quorum=3),
    "examples": h.Plan(h.Softmax(3, 2), training=h.Training(report=False, private=h.PerExample(1.0, 1.0))),
    "strange behind": h.Plan(h.Softmax(3, 2), pipe=(*CLIPPED, Half(), h.GaussianNoise(2.0)), training=QUIET),
    "strange before": h.Plan(h.Softmax(3, 2), pipe=(Half(), *CLIPPED, h.GaussianNoise(2.0)), training=QUIET),
    "strange model": h.Plan(Odd(3, 2), training=h.Training(report=False, private=h.PerExample(1.0, 1.0))),
}


@pytest.mark.promise("P555")
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_an_agent_holds_a_plan_to_policy_and_epsilon_as_who_has_its_code(plan: h.Plan) -> None:
    known = Outline.of(codec.loads(codec.dumps(outlined(plan))))
    assert (known.digest, known.sum_spec, known.broadcast_shapes) == (plan.digest, plan.sum_spec, plan.broadcast_shapes)
    assert known.pipeline.specs == plan.pipeline.specs
    assert (once(known), binds(known), known.hides) == (once(plan), binds(plan), plan.hides)
    assert planned_privacy(known) == planned_privacy(plan)
    assert h.privacy.examples(known, 40) == h.privacy.examples(plan, 40)
    for policy in (Policy(sees="sum"), Policy(min_noise=1.5), Policy(reports=False), Policy(epsilon=3.0)):
        assert words(policy, known) == words(policy, plan)


def words(policy: Policy, plan: h.Plan) -> str:
    """What a policy says of a plan."""
    try:
        policy.check(plan, "north", 40)
    except PolicyError as error:
        return str(error)
    return ""


@pytest.mark.promise("P555")
def test_no_aggregator_of_an_app_runs_at_a_site() -> None:
    with pytest.raises(PlanError, match="a site does not run it"):
        outlined(replace(PLANS["plain"], aggregator=Mine()))


# ── keys ──


@pytest.mark.promise("P557")
def test_a_worker_is_given_children_of_keys_alone(tmp_path: Path) -> None:
    """It has those of its two transforms, of training, of reading and of strangers' draws: in all that it is asked."""
    asked = list[dict[str, Any]]()

    class Heard:
        pid, life = 1, 1

        def ask(self, what: str, most: int = 0, **fields: Any) -> Any:
            asked.append({"what": what, **fields})
            if what == "data":
                return {"examples": 20, "sha256": "0" * 64}
            return {"vector": np.zeros(plan.encoded_spec.size), "learnt": {}}

    plan = PLANS["examples"]
    client = AgentClient("north", plan, None, secret=SECRET, worker=Heard())  # type: ignore[arg-type]
    for number in (1, 2):
        state = plan.start()
        told = h.plan.server.broadcast(plan, state)
        client.answer(Request(plan.digest, 0, SessionId("run", 0, number), told, {"north": None}))
    sent = codec.dumps(asked)
    parents = [SECRET, SECRET.child("run", "run"), SECRET.child("run", "run").child("client", "north")]
    at = [plan.context(0, SessionId("run", 0, n), "north", secret=SECRET) for n in (1, 2)]
    assert not any(key.secret in sent for key in (*parents, *(one.key for one in at), *(one.session.own for one in at)))
    first, second = (one["keys"] for one in asked if one["what"] == "train")
    assert set(first) == {"pipe/0", "training", "foreign"} and not set(first.values()) & set(second.values())


def test_a_piece_that_asks_for_another_key_is_told_that_there_is_none() -> None:
    key = Dealt(b"", True, {"pipe/0": SECRET})
    assert key.child("pipe", 0) == SECRET
    for more in (lambda: key.child("aggregator"), key.rng, key.seed):
        with pytest.raises(ProtocolError, match="no key for"):
            more()


# ── where there is no sandbox ──


@pytest.mark.promise("P556")
def test_without_a_sandbox_nothing_is_joined_unless_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.py").write_text(APP)
    place = Workplace(pack(tmp_path / "app.py"), tmp_path, "north", data=tmp_path / "app.py")
    monkeypatch.setattr(sandbox, "_abi", lambda: -1)
    with pytest.raises(AppError, match="cannot be kept from the keys") as error:
        Worker(place)
    assert "no Landlock" in error.value.why and "--no-isolation" in error.value.instead
    Worker(replace(place, isolated=False)).close()
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(AppError, match="cannot be kept from the keys"):
        Worker(place)
