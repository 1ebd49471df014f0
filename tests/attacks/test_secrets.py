"""What hides grows from secrets, and no draw is ever seen beside two answers.

An attacker here has the plan, its seed, all models, and what it can make the parties do: run again, go on from a copied
folder without one client, be asked twice. It must never see one noise beside two vectors, for then it takes it off.
"""

from __future__ import annotations

import re
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import hansa as h
from hansa.cli import commands
from hansa.messages import Begin, Request, SessionId
from hansa.parties import Given
from hansa.plan import server
from hansa.privacy import spent_privacy
from hansa.rounds import Round, Spent
from hansa.store.files import secret as kept
from hansa.ui.live import follow
from hansa.ui.terminal import Progress

FEATURES, CLASSES, COHORT = 20, 3, 5
NAMES = [f"clinic {i}" for i in range(COHORT)]
BOUND = (h.Clip(1.0), h.Weigh("one"))
EVERYONE = h.Everyone(quorum=2)
QUIET = h.Training(batch=0, report=False)
SERVER: dict[str, dict[str, Any]] = {  # noise on the sum
    "gaussian": {"pipe": (*BOUND, h.GaussianNoise(4.0))},
    "laplace": {"pipe": (*BOUND, h.LaplaceNoise(4.0))},
    "skellam": {"pipe": (*BOUND, h.Quantize(16), h.SkellamNoise(4.0))},
    "discrete gaussian": {"pipe": (*BOUND, h.Quantize(16), h.DiscreteGaussianNoise(4.0))},
    "correlated": {"pipe": (*BOUND, h.CorrelatedNoise(4.0, separation=2, bands=3))},
    "aggregators": {"pipe": BOUND, "aggregator": h.VerifiedSum(noise=4.0)},
}
CLIENTS: dict[str, dict[str, Any]] = {  # noise on each vector
    "by all": {"pipe": (*BOUND, h.GaussianNoise(4.0, by="all", least=2))},
    "by each": {"pipe": (*BOUND, h.GaussianNoise(4.0, by="each"))},
    "skellam by all": {"pipe": (*BOUND, h.Quantize(16), h.SkellamNoise(4.0, by="all", least=2))},
    "examples": {"pipe": BOUND, "training": h.Training(batch=4, report=False, private=h.PerExample(1.0, 4.0))},
}
NOISES = SERVER | CLIENTS


def plan_of(kind: dict[str, Any], rounds: int = 3, **more: Any) -> h.Plan:
    settings = {"training": QUIET, "sample": EVERYONE, "rounds": rounds, **kind, **more}
    return h.Plan(h.Softmax(FEATURES, CLASSES), **settings)


def data_of(names: list[str] = NAMES) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    every = {who: (rng.normal(size=(8, FEATURES)), rng.integers(0, CLASSES, 8)) for who in NAMES}
    return {who: every[who] for who in names}


def run(plan: h.Plan, secret: h.Key | None = None, data: Any = None, state: h.State | None = None) -> list[h.State]:
    """A whole run; of one that shares a secret, everything that hides grows from it."""
    some = {} if secret is None else {"secret": secret}
    clients = [h.Client(who, plan, one, **some) for who, one in (data or data_of()).items()]
    return list(h.synchronous(plan, h.InProcess(clients, **some), state, **some))


def asked(plan: h.Plan, shift: float = 0.0, remembers: Any = None) -> h.Vector:
    """The update that one client says in round 0, of a model that is moved by `shift`; always with one secret."""
    client = h.Client("north", plan, data_of()[NAMES[0]], secret=h.Key(b"a secret of the client", True))
    broadcast, memo = server.broadcast(plan, plan.start())
    request = Request(plan.digest, 0, SessionId(), ({**broadcast, "x": broadcast["x"] + shift}, memo), {"north": None})
    return client.answer(request, Given(remembers or {})).reply[:63]


def quiet(plan: h.Plan) -> h.Plan:
    """The same without noise."""
    pipe = tuple(step for step in plan.pipe if "Noise" not in type(step).__name__)
    aggregator = replace(plan.aggregator, noise=0.0) if isinstance(plan.aggregator, h.VerifiedSum) else plan.aggregator
    return replace(plan, pipe=pipe, aggregator=aggregator, training=replace(plan.training, private=None))


@pytest.mark.guards("the server has a secret of its own", "a transform draws from the secret")
@pytest.mark.promise("P76")
@pytest.mark.parametrize("name", NOISES)
def test_who_has_the_plan_has_not_the_noise(name: str) -> None:
    """It runs the plan on the same data as often as it likes, and what it gets has noise of its own."""
    plan = plan_of(NOISES[name], rounds=1)
    (true,), (other,), (bare,) = run(plan), run(plan), run(quiet(plan))
    noise, guess = true.x - bare.x, other.x - bare.x
    left = np.std(noise - guess)
    assert left > np.std(noise) and abs(np.corrcoef(noise, guess)[0, 1]) < 0.6


@pytest.mark.guards(
    "a client has a secret of its own",
    "clients of a population have a secret",
    "a helper has a secret of its own",
    "what hides grows from the secret",
)
@pytest.mark.promise("P76")
@pytest.mark.parametrize("name", [*CLIENTS, "aggregators", "population"])
def test_who_has_the_servers_secret_has_not_the_noise_of_others(name: str) -> None:
    """Clients and helpers draw from secrets of their own, and the server, which runs them again, has other noise."""
    plan, secret, data = (
        plan_of((NOISES | {"population": CLIENTS["by each"]})[name], rounds=1),
        h.Key.fresh(),
        data_of(),
    )

    def served(plan: h.Plan) -> h.Vector:
        clients = [h.Client(who, plan, one) for who, one in data.items()]
        many = h.Population(plan, COHORT, lambda i: data[NAMES[i]]) if name == "population" else clients
        (state,) = h.synchronous(plan, h.InProcess(many), secret=secret)
        return state.x

    noise, guess = (served(plan) - served(quiet(plan)) for _ in range(2))
    assert np.std(noise - guess) > np.std(noise) / 2


@pytest.mark.guards("an app has a secret of its own")
@pytest.mark.promise("P76")
def test_who_has_the_app_has_not_its_noise() -> None:
    app = h.App(plan_of(SERVER["gaussian"], rounds=1), data_of())
    (one,), (other,) = app.run(), app.run()
    assert np.std(one.x - other.x) > 0.1


@pytest.mark.guards("noise is bound to what it hides", "an aggregator's noise is bound to who is in the sum")
@pytest.mark.promise("P90")
@pytest.mark.parametrize("name", SERVER)
def test_two_runs_that_differ_by_one_client_do_not_tell_its_update(name: str) -> None:
    """The same secret, as in a folder that was copied: one client withdraws, and the sums are subtracted."""
    plan, secret = plan_of(SERVER[name], rounds=2), h.Key.fresh()
    whole = run(plan, secret)
    for first in (None, whole[0]):
        with_it, without = (run(plan, secret, data_of(names), first)[0] for names in (NAMES, NAMES[:-1]))
        before = plan.start().x if first is None else first.x
        apart = COHORT * (with_it.x - before) - (COHORT - 1) * (without.x - before)  # its update, and two noises
        assert np.linalg.norm(apart) > 5.0, "an update has norm 1 at most: it would stand alone"


@pytest.mark.guards("what hides is bound to the model")
@pytest.mark.promise("P90")
def test_who_is_asked_twice_adds_other_noise_to_another_answer() -> None:
    """A server tells one client two models in one session, and subtracts what it says."""
    for name in ("by each", "examples"):
        plan = plan_of(CLIENTS[name])
        reply = [asked(plan, shift=shift) for shift in (0.0, 1e-3)]
        assert np.std(reply[0] - reply[1]) > 0.1


@pytest.mark.guards("noisy training is bound to its data")
@pytest.mark.promise("P90")
def test_another_row_of_data_has_other_noise() -> None:
    """What training adds to gradients is not added to those of other data."""
    plan, secret, data = plan_of(CLIENTS["examples"], rounds=1), h.Key.fresh(), data_of()
    X, y = data[NAMES[0]]
    X = X.copy()
    X[3] += 1e-9
    (one,), (other,) = run(plan, secret, data), run(plan, secret, data | {NAMES[0]: (X, y)})
    assert np.std(one.x - other.x) > 1e-3


@pytest.mark.control("the secret is all that an attacker lacks")
@pytest.mark.promise("P91")
@pytest.mark.parametrize("name", NOISES)
def test_with_its_secret_a_run_repeats(name: str) -> None:
    """From the beginning, and from any state."""
    plan, secret = plan_of(NOISES[name]), h.Key.fresh()
    first, again = run(plan, secret), run(plan, secret)
    rest = run(plan, secret, state=first[0])
    assert [one.x.tobytes() for one in first] == [one.x.tobytes() for one in again]
    assert [one.x.tobytes() for one in rest] == [one.x.tobytes() for one in first[1:]]


@pytest.mark.guards("a secret sample grows from the secret")
@pytest.mark.promise("P76")
def test_who_has_the_plan_has_not_the_sample() -> None:
    noisy = plan_of(SERVER["gaussian"], rounds=30, sample=h.Poisson(0.5))
    assert [one.participants for one in run(noisy)] != [one.participants for one in run(noisy)]
    public = quiet(noisy)  # nothing rests on it
    assert [one.participants for one in run(public)] == [one.participants for one in run(public)]


@pytest.mark.guards("what hides grows from the secret", "a transform draws from the secret")
@pytest.mark.promise("P76")
def test_what_a_strangers_transform_draws_is_secret() -> None:
    """Who guesses has the plan and the name of the run, and another secret."""
    plan = plan_of({"pipe": (h.Weigh("one"), Shaken())}, rounds=1)
    (one,), (other,) = run(plan), run(plan)
    assert np.std(one.x - other.x) > 0.1

    def drawn() -> h.Vector:
        at = replace(plan.context(0, SessionId("a name"), secret=h.Key.fresh()), n=1, memo=plan.pipeline.start())
        return plan.pipeline.decode(np.zeros(plan.encoded_spec.size), at)[0]

    assert np.std(drawn() - drawn()) > 0.1


class Shaken(h.transforms.Transform):
    """Draws from the key that it is given."""

    def __repr__(self) -> str:
        return "Shaken()"

    def decode(self, total: h.Vector, at: h.transforms.Context) -> h.Vector:
        return total + at.key.normal(total.shape)


@pytest.mark.guards("an aggregator's noise is bound to who is in the sum")
@pytest.mark.promise("P90")
def test_helpers_of_a_sum_over_others_add_other_noise() -> None:
    plan = plan_of(SERVER["aggregators"], rounds=1)
    secret = h.Key.fresh()
    (five,), (four,) = run(plan, secret), run(plan, secret, data_of(NAMES[:-1]))
    (bare,), (less,) = run(quiet(plan), secret), run(quiet(plan), secret, data_of(NAMES[:-1]))
    noises = COHORT * (five.x - bare.x), (COHORT - 1) * (four.x - less.x)
    assert abs(np.corrcoef(*noises)[0, 1]) < 0.6


# ── a run in a store ─────────────────────────────────────────────────────────────────────────────────────────────────


def stored(folder: Path, plan: h.Plan, rounds: int, id: str = "") -> Any:
    """A run that is stopped after so many rounds, or goes on to them."""
    store, app = h.Store(folder), h.App(plan, data_of())
    held = store.resume(id) if id else store.new(repr(plan), plan.digest, "clinics.py", {}, plan.rounds)
    for state in app.run(held):
        if state.round == rounds:
            break
    held.finish("done" if rounds == plan.rounds else "stopped")
    return held


@pytest.mark.guards("a run's secret is for its owner alone", "a run's secret ends with it", "a secret is not printed")
@pytest.mark.promise("P92")
def test_the_secret_of_a_run_is_its_owners_until_it_is_done(tmp_path: Path) -> None:
    plan = plan_of(SERVER["gaussian"])
    held = stored(tmp_path, plan, 1)
    path = held.folder / "secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and len(path.read_bytes()) == 32
    secret = path.read_bytes()
    others = [one for one in tmp_path.rglob("*") if one.is_file() and one != path]
    assert others and not any(secret in one.read_bytes() or secret.hex() in one.read_text("latin1") for one in others)
    assert secret.hex() not in repr(h.Key(secret, True)) and repr(secret) not in repr(h.Key(secret, True))
    stored(tmp_path, plan, plan.rounds, held.id)
    assert not path.exists() and not list(held.folder.glob("secret*"))


@pytest.mark.guards("a run goes on with its secret")
@pytest.mark.promise("P91")
@pytest.mark.parametrize("name", NOISES)
def test_a_stopped_run_goes_on_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    plan = plan_of(NOISES[name])
    held = stored(tmp_path / "one", plan, 1)
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    ends = [stored(tmp_path / place, plan, plan.rounds, held.id).state().x for place in ("one", "other")]
    assert ends[0].tobytes() == ends[1].tobytes()


@pytest.mark.guards("a run's secret is drawn")
@pytest.mark.promise("P92")
def test_a_run_that_lost_its_secret_goes_on_with_other_noise(tmp_path: Path) -> None:
    plan = plan_of(SERVER["gaussian"])
    held = stored(tmp_path / "one", plan, 1)
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    (tmp_path / "other" / held.id / "secret").unlink()
    ends = [stored(tmp_path / place, plan, plan.rounds, held.id).state().x for place in ("one", "other")]
    assert np.std(ends[0] - ends[1]) > 0.1


@pytest.mark.guards("correlated noise knows whose it is")
@pytest.mark.promise("P40")
def test_noise_that_later_rounds_take_back_needs_the_secret_of_the_earlier(tmp_path: Path) -> None:
    plan = plan_of(SERVER["correlated"])
    held = stored(tmp_path, plan, 1)
    (held.folder / "secret").unlink()
    with pytest.raises(h.errors.PlanError, match="from another secret"):
        stored(tmp_path, plan, plan.rounds, held.id)


@pytest.mark.guards("a secret is whole", "a half-written secret is none")
@pytest.mark.promise("P92")
def test_a_damaged_secret_is_refused_with_words(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    first = kept(path)
    assert kept(path) == first
    path.write_bytes(first[:-1])
    with pytest.raises(h.errors.StoreError, match="holds 31 bytes"):
        kept(path)
    path.unlink()
    (tmp_path / "secret.part").write_bytes(b"half of it, from a process that died")
    assert len(kept(path)) == 32 and not (tmp_path / "secret.part").exists()


# ── who names a secret is told ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.guards(
    "rounds tell of a named secret",
    "a ledger tells of a named secret",
    "a guarantee tells of a named secret",
    "an explanation tells of a named secret",
    "an explanation knows of a named secret",
    "ε is shown with a named secret",
    "a history tells of a named secret",
)
@pytest.mark.promise("P85")
def test_a_guarantee_over_a_named_secret_says_against_whom_it_does_not_hold(tmp_path: Path, capsys: Any) -> None:
    plan = plan_of(SERVER["gaussian"])
    app = h.App(plan, data_of(), secret=h.Key.of(7))
    fresh = replace(app, secret=None)
    told = "not against who knows the secret"
    for one, named in ((app, True), (fresh, False)):
        states = list(one.run())
        assert all(state.named == named for state in states)
        assert (told in str(spent_privacy(plan, states, COHORT).guarantee(1e-5))) == named
        assert (told in str(one.explain())) == named
        store = h.Store(tmp_path / str(named))
        held = store.new(repr(plan), plan.digest, "clinics.py", {}, plan.rounds)
        follow(one, held, "clinics", False, "hansa run")
        printed = re.sub(r"\s+", " ", capsys.readouterr().out)
        assert (told in printed) == named, printed
        page = re.sub(r"\s+", " ", (held.folder / "report.html").read_text())
        assert page.count(told) == 2 * named, "in its summary, and in what to mind"
        assert all(row.named == named for row in store.open(held.id).history())
        assert store.runs()[0].last is not None and store.runs()[0].last.named == named


@pytest.mark.guards("an explanation knows of a named secret", "ε is shown with a named secret")
@pytest.mark.promise("P85")
@pytest.mark.parametrize("named", [True, False])
def test_the_command_line_says_it_wherever_it_tells_of_epsilon(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("clinics.py").write_text(APP.replace("SECRET", "hansa.Key.of(7)" if named else "None"))
    for words in (["explain", "clinics.py"], ["run", "clinics.py"], ["show", RUN], ["runs"]):
        id = next((path.name for path in Path("runs").glob("2*")), "")
        done = CliRunner().invoke(commands, [id if word == RUN else word for word in words], prog_name="hansa")
        reply = re.sub(r"[\s│]+", " ", done.stdout)
        assert done.exit_code == 0 and "ε" in reply
        assert ("not against who knows the secret" in reply) == named, words[0]
    console = Console(record=True, width=400, force_terminal=False)
    progress = Progress(console, 3, NAMES)
    progress.past.append(Round(1, spent={"client": Spent(1.0, 1e-5)}, named=named))
    console.print(progress.view())
    assert ("not against who knows the secret" in console.export_text()) == named


RUN = "the run"
APP = """
import numpy as np
import hansa

rng = np.random.default_rng(0)
data = {f"clinic {i}": (rng.normal(size=(8, 3)), rng.integers(0, 2, 8)) for i in range(4)}
pipe = (hansa.Clip(1.0), hansa.Weigh("one"), hansa.GaussianNoise(4.0))
plan = hansa.Plan(hansa.Softmax(3, 2), pipe=pipe, training=hansa.Training(report=False), rounds=2)
app = hansa.App(plan, data, secret=SECRET)
"""


@pytest.mark.guards(
    "one client's named secret is told", "a population's named secret is told", "a helper's named secret is told"
)
@pytest.mark.promise("P85")
@pytest.mark.parametrize("make", [
    lambda plan, data: h.InProcess([h.Client("a", plan, data, secret=h.Key.of(1)), h.Client("b", plan, data)]),
    lambda plan, data: h.InProcess([h.Client("a", plan, data), h.Client("b", plan, data)], secret=h.Key.of(1)),
    lambda plan, data: h.InProcess(h.Population(plan, 2, lambda i: data, secret=h.Key.of(1))),
])  # fmt: skip
def test_one_party_with_a_named_secret_is_enough_to_say_so(make: Callable[[h.Plan, Any], Any]) -> None:
    plan = plan_of(CLIENTS["by each"], rounds=1)
    (state,) = h.synchronous(plan, make(plan, data_of()[NAMES[0]]))
    assert state.named


@pytest.mark.guards("a secret is a key")
def test_what_is_no_key_is_no_secret() -> None:
    with pytest.raises(h.errors.AppError, match="secret"):
        h.App(plan_of({"pipe": BOUND}), data_of(), secret=7)  # type: ignore[arg-type]


# ── pieces of strangers, and parties that are made to begin anew ─────────────────────────────────────────────────────


class Spy(h.FedAvg):
    """An algorithm that keeps what it is given."""

    given: list[h.transforms.Context] = []  # noqa: RUF012

    def __repr__(self) -> str:
        return "Spy()"

    def client(
        self, model: Any, broadcast: Any, client_state: Any, data: Any, training: Any, at: h.transforms.Context
    ) -> Any:
        Spy.given.append(at)
        return super().client(model, broadcast, client_state, data, training, at)

    def step(self, x: Any, memo: Any, mean: Any, at: h.transforms.Context) -> Any:
        Spy.given.append(at)
        return super().step(x, memo, mean, at)


class Peeping(h.Sum):
    """An aggregator that keeps what a client gives it."""

    given: list[h.transforms.Context] = []  # noqa: RUF012

    def client(self, contribute: Any, at: h.transforms.Context) -> Any:
        Peeping.given.append(at)
        return super().client(contribute, at)


class Looking(Shaken):
    """A transform that keeps what it is given."""

    given: list[h.transforms.Context] = []  # noqa: RUF012

    def encode(self, v: h.Vector, at: h.transforms.Context) -> h.Vector:
        Looking.given.append(at)
        return v


@pytest.mark.guards("who is not hansa's own gets no party's secret", "no noise follows from the key of an algorithm")
@pytest.mark.promise("P97")
def test_a_strangers_piece_gets_no_key_that_noise_follows_from() -> None:
    """An algorithm tries vectors until the noise that will come has the sign it wants, or guesses at a sum."""
    secret = h.Key.fresh()
    for kind in (CLIENTS["by each"], CLIENTS["examples"], SERVER["gaussian"]):
        pipe = (Looking(), *kind["pipe"])
        plan = plan_of({**kind, "pipe": pipe}, rounds=1, algorithm=Spy(), aggregator=Peeping())
        for piece in (Spy, Peeping, Looking):
            piece.given.clear()
        run(plan, secret)
        assert Spy.given and Peeping.given and Looking.given
        name = secret.child("name").secret.hex()
        roots = {
            who: secret.child("run", name).child(*who) for who in [("server",), *(("client", one) for one in NAMES)]
        }
        for at in (*Spy.given, *Peeping.given, *Looking.given):
            assert at.session.own == h.Key(b"") and at.session.own not in roots.values()
            assert at.key not in roots.values()
        for at in Spy.given:
            assert at.key.child("pipe", 3).secret not in {one.key.secret for one in Looking.given}
            assert not any(at.key.child("pipe", i) == one.key for i in range(5) for one in Looking.given)


@pytest.mark.guards("a client trains once in a round", "what was drawn stays drawn")
@pytest.mark.promise("P38")
@pytest.mark.parametrize("name", ["by each", "examples"])
def test_a_client_of_a_population_draws_once_in_a_round(name: str) -> None:
    """However many sessions the server opens, and whatever it says begins."""
    plan = plan_of(CLIENTS[name])
    runtime = h.InProcess(h.Population(plan, 4, lambda i: data_of()[NAMES[i]]))
    answers = 0
    for session in range(6):
        request = Request(
            plan.digest,
            0,
            SessionId(number=session),
            server.broadcast(plan, plan.start()),
            dict.fromkeys(runtime.roster()[:2]),
        )
        runtime.send(request)
        answers += sum(runtime.receive().body is not None for _ in range(2))
        runtime.send(Begin("" if session % 2 else "another"))
    assert answers == 2


@pytest.mark.guards("noise of training is bound to what is remembered")
@pytest.mark.promise("P90")
def test_who_remembers_something_else_adds_other_noise() -> None:
    """A server hands a client two memories in one round, and subtracts what it says."""
    plan = plan_of({**CLIENTS["examples"], "algorithm": h.Scaffold()})
    reply = [asked(plan, remembers={"c": np.full(63, c)}) for c in (0.0, 1e-3)]
    assert np.std(reply[0] - reply[1]) > 0.1


@pytest.mark.guards("what was drawn stays drawn")
@pytest.mark.promise("P38")
def test_a_helper_that_is_made_to_begin_anew_says_no_second_sum_of_a_round() -> None:
    """A server that runs the round again, with its own report in a client's place, would take the noise off."""
    plan, secret = plan_of(SERVER["aggregators"], rounds=1), h.Key.fresh()
    runtime = h.InProcess([h.Client(who, plan, one) for who, one in data_of().items()])
    (first,), (again,) = (list(h.synchronous(plan, runtime, secret=secret)) for _ in range(2))
    assert not first.skipped and "said no more" in again.skipped
    (other,) = h.synchronous(plan, runtime)  # another run
    assert not other.skipped


@pytest.mark.guards("what hides is bound to the model")
@pytest.mark.promise("P90")
def test_what_a_stranger_draws_for_another_model_is_something_else() -> None:
    plan = plan_of({"pipe": (h.Weigh("one"), Dithered())})
    reply = [asked(plan, shift=shift) for shift in (0.0, 1e-3)]
    assert np.std(reply[0] - reply[1]) > 0.1


class Dithered(Shaken):
    """Draws on the client, from the key that it is given."""

    def __repr__(self) -> str:
        return "Dithered()"

    def encode(self, v: h.Vector, at: h.transforms.Context) -> h.Vector:
        return v + at.key.normal(v.shape)


@pytest.mark.guards("a secret that others can read is refused")
@pytest.mark.promise("P92")
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    kept(path)
    for mode in (0o644, 0o606, 0o660):
        path.chmod(mode)
        with pytest.raises(h.errors.StoreError, match="read by others"):
            kept(path)
    path.chmod(0o600)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(h.errors.StoreError, match="cannot be kept"):
        kept(path)
