"""What leaves a site: a record that a client's code quotes in an error stays where the data is, and so does its repr.

Each client here has the same secret, `CANARY`, in its data or in what its code says when it fails. The server's state,
its database, all files of a run, its report and its exports must not hold it; the developer's terminal may.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tests.attacks.attackers_verified import states
from typer.testing import CliRunner

import hansa as h
from hansa import data as local
from hansa.aggregators import Channel
from hansa.audit.inversion import Inversion, View
from hansa.cli import commands
from hansa.errors import KINDS, HansaError, LeftOut, printable
from hansa.loops.buffered import buffered
from hansa.messages import Reply, Request, SessionId
from hansa.models import Score, Train, TrainResult
from hansa.parties import Given, Said
from hansa.parties.book import Entry, Page
from hansa.parties.helper import Helper
from hansa.plan import server
from hansa.runtimes.processes.worker import Task
from hansa.state import FAILED
from hansa.store import Store
from hansa.testing.algorithm import MODEL, federation
from hansa.ui import shown
from hansa.ui.live import follow

CANARY = "Anna Meier, F32.1"
NUMBER = 4711.0815  # a measurement that must not be told either
MARKS = (CANARY, "Anna Meier", "4711.08", "first in row", "lie in 1")  # long enough to be in no image by chance
DATA = federation()
PLAN = h.Plan(MODEL, training=h.Training(batch=8), rounds=2)
VERIFIED = replace(
    PLAN, pipe=(h.Clip(1.0, side=10.0), h.Weigh("one")), aggregator=h.VerifiedSum(), sample=h.Everyone(quorum=2)
)
X, y = DATA["client-0"]


class Quoting:
    """A Dataset that fails on its third record, and quotes it."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> Any:
        if i == 2:
            raise KeyError(f"no diagnosis in {CANARY}")
        return X[i], y[i]


class Numbers(Quoting):
    """A Dataset whose reader meets a cell that is no number."""

    def __getitem__(self, i: int) -> Any:
        return np.array([float(cell) for cell in ("1", "2", "3", CANARY)]), 0


def stream() -> Iterator[Any]:
    """A function that reads, and fails in the middle."""
    yield X, y
    raise ValueError(f"could not convert string to float: {CANARY!r}")


BAD: dict[str, Any] = {
    "quoting": Quoting(),
    "numbers": Numbers(),
    "stream": stream,
    "label": (X, np.where(np.arange(len(y)) == 3, 4711, y)),
    "nan": (np.where(np.arange(len(X))[:, None] == 3, np.nan, X), y),
    "text": (np.full(X.shape, CANARY), y),
    "no data": CANARY,
}


class Loud(h.Softmax):
    """A model whose loss refuses a batch, and quotes it, with an error of hansa's."""

    def train(self, x: Any, data: Any, *more: Any) -> TrainResult:
        if len(data) == len(y) - 1:
            raise h.errors.DataError(f"The loss of {CANARY} is {NUMBER}.", f"It stands in {data!r}.")
        return super().train(x, data, *more)


class Broken(h.Softmax):
    """A model whose loss fails with an error of Python's."""

    def train(self, x: Any, data: Any, *more: Any) -> TrainResult:
        raise ArithmeticError(f"{CANARY} overflows")


def parties(plan: h.Plan) -> list[h.Client]:
    return [h.Client(who, plan, data) for who, data in (DATA | BAD).items()]


def clean(text: str) -> bool:
    return not any(mark in text for mark in MARKS)


# ── item: words of an error ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P79")
@pytest.mark.guards("words stay where they are said", "bad data is a kind of its own")
@pytest.mark.parametrize("runtime", [h.InProcess, partial(h.Processes, workers=2)], ids=["in process", "processes"])
def test_a_state_holds_the_kind_of_a_reason_and_no_word_of_a_client(runtime: Any, capfd: Any) -> None:
    home = runtime(parties(PLAN))
    with warnings.catch_warnings(record=True) as received:
        warnings.simplefilter("always")
        states = list(h.synchronous(PLAN, home))
    told = "".join(str(one.message) for one in received) + capfd.readouterr().err  # workers say it themselves
    for state in states:
        assert clean(repr(state)) and dict(state.excluded) == dict.fromkeys(BAD, "data")
    assert CANARY in told and "first in row 3" in told  # whose data it is learns why
    if hasattr(home, "close"):
        home.close()


class _quiet:
    """Workers say it themselves, on their own terminal."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.mark.promise("P79")
@pytest.mark.guards("words stay where they are said")
def test_an_actor_of_ray_answers_with_kinds_and_its_words_come_to_the_caller_alone() -> None:
    from hansa.runtimes import ray

    clients = parties(PLAN)
    request = Request(PLAN.digest, 0, SessionId(), None, dict.fromkeys(one.who for one in clients), fold=True)
    replies, _, words = ray.Actor(clients).answer(
        request, server.broadcast(PLAN, PLAN.start()), {one.who: Given() for one in clients}
    )
    excluded = {reply.who[0]: reply.why for reply in replies if reply.body is None}
    assert excluded == dict.fromkeys(BAD, "data") and clean(repr(replies))
    assert any(CANARY in str(text) for text in words) and len(words) == len(BAD)


@pytest.mark.promise("P79")
@pytest.mark.guards("words stay where they are said")
def test_a_buffer_keeps_no_word_of_a_client() -> None:
    plan = replace(PLAN, rounds=8)
    with pytest.warns(LeftOut, match=CANARY):
        states = list(buffered(plan, h.InProcess(parties(plan)), size=3, busy=12))
    assert any(state.excluded for state in states)
    assert all(clean(repr(state)) and set(state.excluded.values()) <= {"data"} for state in states)


@pytest.mark.promise("P79")
@pytest.mark.guards("words stay where they are said")
def test_a_loss_that_quotes_its_batch_is_a_kind_too() -> None:
    plan = replace(PLAN, model=Loud(MODEL.features, MODEL.classes))
    clients = [h.Client("loud", plan, (X[1:], y[1:])), *(h.Client(who, plan, data) for who, data in DATA.items())]
    with pytest.warns(LeftOut, match=CANARY):
        *_, state = h.synchronous(plan, h.InProcess(clients))
    assert state.excluded == {"loud": "data"} and clean(repr(state))


@pytest.mark.promise("P79")
@pytest.mark.guards("words stay where they are said")
@pytest.mark.parametrize("aggregator", [h.Sum(), h.Median()], ids=repr)
def test_a_run_that_nobody_can_take_part_in_ends_with_names_and_kinds(aggregator: Any) -> None:
    plan = replace(PLAN, aggregator=aggregator)
    clients = [h.Client(who, plan, data) for who, data in BAD.items()]
    with pytest.raises(h.errors.RoundError) as caught, pytest.warns(LeftOut, match=CANARY):
        list(h.synchronous(plan, h.InProcess(clients)))
    assert clean(str(caught.value)) and "label (data)" in str(caught.value) and "hansa check" in str(caught.value)


@pytest.mark.promise("P79")
@pytest.mark.guards("words stay where they are said")
def test_a_buffer_that_gives_up_names_kinds() -> None:
    clients = [h.Client(who, PLAN, data) for who, data in BAD.items()]
    with pytest.raises(h.errors.RoundError) as caught, pytest.warns(LeftOut, match=CANARY):
        list(buffered(PLAN, h.InProcess(clients), size=2, busy=3))
    assert clean(str(caught.value)) and "(data)" in str(caught.value)


@pytest.mark.promise("P79")
@pytest.mark.guards("a reply gives a kind")
def test_a_runtime_cannot_pass_words_on() -> None:
    with pytest.raises(h.errors.ProtocolError, match="a reason in words") as caught:
        Reply(SessionId(), 0, ("anna",), None, f"could not convert {CANARY}")  # type: ignore[arg-type]
    assert clean(str(caught.value))
    assert FAILED not in KINDS  # which only the server says; the ledger counts on it


@pytest.mark.promise("P79")
@pytest.mark.guards("bad data is a kind of its own")
def test_every_error_of_hansas_has_a_kind() -> None:
    def below(kind: type[HansaError]) -> Iterator[type[HansaError]]:
        yield kind
        for one in kind.__subclasses__():
            yield from below(one)

    assert all(one.kind in KINDS for one in below(HansaError))
    assert (h.errors.DataError.kind, h.errors.PolicyError.kind, HansaError.kind) == ("data", "refused", "bug")


@pytest.mark.promise("P79")
@pytest.mark.guards("who started anew is no attacker")
def test_a_party_that_started_anew_is_nobodys_mistake() -> None:
    client = h.Client("anna", PLAN, DATA["client-0"])
    request = Request(
        PLAN.digest, 0, SessionId(number=5), server.broadcast(PLAN, PLAN.start()), {"anna": "go on"}, turn=1
    )
    runtime = h.InProcess([client])
    runtime.send(request)
    with pytest.warns(LeftOut, match="knows nothing of it"):
        assert runtime.receive().why == "restarted"


def chat(received: Any, reply: Any) -> Any:
    """What a helper says that says of a report what it likes."""
    if isinstance(received, dict) and "reports" in received:
        return {**reply, "client-0": f"\x1b[2J{CANARY}"}
    return reply


@pytest.mark.promise("P79")
@pytest.mark.guards("a helper's words are not repeated")
def test_words_of_a_helper_are_not_repeated() -> None:
    plan = replace(VERIFIED, rounds=1)
    (state,) = states(plan, [h.Client(who, plan, data) for who, data in DATA.items()], craft=chat)
    assert state.excluded == {"client-0": "its report is refused: a helper refuses it"}


class Gossip(h.Sum):
    """An aggregator of a stranger that writes to the terminal in its reasons and its note."""

    def server(self, channel: Channel, cohort: Any, decode: Any) -> Any:
        channel.exclude("client-1", "\x1b[2J\x07[red]gone")
        raise h.errors.RoundError("\x1b]0;owned\x07 [bold]void")


@pytest.mark.promise("P102")
@pytest.mark.guards(
    "reasons command no terminal",
    "notes command no terminal",
    "what is stored commands no terminal",
    "a note that is stored commands no terminal",
    "escapes are written out",
)
def test_reasons_and_notes_command_no_terminal() -> None:
    plan = replace(PLAN, aggregator=Gossip(), rounds=1)
    (state,) = h.synchronous(plan, h.InProcess([h.Client(who, plan, data) for who, data in DATA.items()]))
    assert state.excluded["client-1"] == "\\x1b[2J\\x07[red]gone"
    assert state.skipped == "\\x1b]0;owned\\x07 [bold]void"
    told = shown(replace(state, excluded={"\x1bx": "\x1bgone"}, skipped="\x1bvoid"))
    assert told.excluded == {"\\x1bx": "\\x1bgone"} and told.skipped == "\\x1bvoid"
    assert printable("é, 名, a\nb\tc \u202e\x9b") == "é, 名, a\nb\tc \\u202e\\x9b"


@pytest.mark.promise("P102")
@pytest.mark.guards(
    "a client's name is one line", "an app's client has a name of one line", "a helper's name is one line"
)
@pytest.mark.parametrize("name", ["\x1b[2Janna", "anna\nround 2", " ", "anna\u202e"])
def test_a_name_is_one_line_that_can_be_shown(name: str) -> None:
    with pytest.raises(h.errors.PlanError, match="called"):
        h.InProcess([h.Client(name, PLAN, DATA["client-0"])])
    with pytest.raises(h.errors.AppError, match="called"):
        h.App(PLAN, {name: DATA["client-0"]})
    with pytest.raises(h.errors.PlanError, match="proves nothing"):
        replace(VERIFIED, aggregator=h.VerifiedSum((name,)))


# ── through app, store, report ───────────────────────────────────────────────────────────────────────────────────────

APP = f'''
import numpy as np
import hansa
from hansa.testing.algorithm import MODEL, federation

def read():
    for X, y in [DATA["client-0"]]:
        yield X, y
    raise ValueError("could not convert string to float: {CANARY!r}")

class Quoting:
    def __len__(self):
        return 6
    def __getitem__(self, i):
        raise KeyError("no diagnosis in {CANARY}")

DATA = federation()
X, y = DATA["client-0"]
BAD = {{
    "stream": read, "quoting": Quoting(), "text": (np.full(X.shape, "{CANARY}"), y),
    "label": (X, np.where(np.arange(len(y)) == 3, 4711, y)),
    "[red]<b>$x_{{": (np.where(np.arange(len(X))[:, None] == 3, np.nan, X), y),
}}
app = hansa.App(
    hansa.Plan(MODEL, training=hansa.Training(batch=8), rounds=2), GOOD | BAD, test=DATA["client-1"], workers=WORKERS
)
'''


def call(*words: Any) -> Any:
    return CliRunner().invoke(commands, [str(word) for word in words])


def everything(folder: Path) -> Iterator[tuple[Path, bytes]]:
    yield from ((path, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.promise("P79", "P102")
@pytest.mark.guards("words stay where they are said", "no name is part of a page")
@pytest.mark.parametrize("good, workers", [("DATA", 0), ("DATA", 2), ("{}", 0)], ids=["app", "workers", "nobody"])
def test_no_file_of_a_run_holds_a_word_of_a_client(
    tmp_path: Path, good: str, workers: int, recwarn: Any, capfd: Any
) -> None:
    (tmp_path / "mine.py").write_text(APP.replace("GOOD", good).replace("WORKERS", str(workers)))
    folder = tmp_path / "runs"
    done = call("run", tmp_path / "mine.py", "--folder", folder, "--no-compare")
    assert done.exit_code == (0 if good == "DATA" else 1)
    assert clean(done.stdout), "what a run prints may be kept; the words go to stderr"
    if good != "DATA":
        assert not Store(folder).runs()
    else:
        (run,) = Store(folder).runs()
        assert (
            "label (data)" in done.stdout and "not in the sum: " in done.stdout and "[red]<b>$x_{ (data)" in done.stdout
        )
        report = (folder / run.id / "report.html").read_text()
        assert "its data cannot be trained on" in report and "<b>$x" not in report and "&lt;b&gt;$x" in report
        assert call("export", run.id, folder / "out.safetensors", "--raw", "--folder", folder).exit_code == 0
        assert clean(call("show", run.id, "--folder", folder).stdout)
    call("audit", tmp_path / "mine.py", "--attacks", "canary,membership", "--out", folder / "audit", "--rounds", 1)
    for path, held in everything(folder):
        assert clean(held.decode("latin-1")), path
        assert not any(mark.encode("utf-16-le") in held for mark in MARKS[:2]), path
    told = done.stderr + "".join(str(one.message) for one in recwarn) + capfd.readouterr().err
    assert CANARY in told  # the developer learns it
    checked = call("check", tmp_path / "mine.py")
    assert checked.exit_code == 2 and CANARY in checked.stderr and "first in row 3" in checked.stderr


@pytest.mark.promise("P79")
@pytest.mark.control("no defence: nothing stores what a bug says")
def test_a_bug_ends_a_simulation_and_leaves_no_word_in_the_store(tmp_path: Path) -> None:
    plan = replace(PLAN, model=Broken(MODEL.features, MODEL.classes))
    run = Store(tmp_path).new(repr(plan), plan.digest, "app/__init__.py", {}, plan.rounds)
    with pytest.raises(ArithmeticError, match=CANARY):
        follow(h.App(plan, DATA), run, "app", False, "again")
    assert not Store(tmp_path).runs()
    for path, held in everything(tmp_path):
        assert clean(held.decode("latin-1")), path


# ── what prints ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Own(h.Client):
    """A client of a stranger: a dataclass that writes its own repr."""

    ward: str = "3a"


SECRET = np.full((5, 4), NUMBER)
RECORDS: tuple[Any, Any] = (SECRET, np.zeros(5, int))


def things() -> Iterator[Any]:
    """Everything that holds what a client has, or says."""
    plan = replace(PLAN, algorithm=h.Scaffold())
    client, helper = h.Client("anna", plan, RECORDS), Helper("helper", plan)
    broadcast = ({"x": SECRET[0]}, (SECRET,))
    request = Request(plan.digest, 0, SessionId(), broadcast, {"anna": SECRET})
    data = {"anna": RECORDS, "ben": {"x": SECRET, "y": RECORDS[1]}}
    yield from (client, helper, request, Reply(SessionId(), 0, ("anna",), SECRET[0]), h.App(plan, data, test=RECORDS))
    yield from (local.Examples.of(Items()).take([0, 1]), local.Examples.of(Reader()).split(0.5, h.Key.of(0)))
    records = local.Examples.of(RECORDS)
    yield from (records, Train(SECRET[0], records, PLAN.training, h.models.Drift(), h.Key.of(0)))
    yield from (Score(SECRET[0], records), TrainResult(SECRET[0], 1, 0.5))
    given, said = Given({"c": SECRET}, "", (request,)), Said(SECRET, "", {"c": SECRET})
    yield from (given, said, Entry(b"", reply=SECRET, kept=True), Page(SessionId(), 0, {0: Entry(b"", reply=SECRET)}))
    yield Task(0, request, 1.0, True, False, {"anna": given})
    yield from (h.data.Source(lambda: RECORDS), h.Sites(lambda path: RECORDS, {"anna": "a.csv"}))
    yield from (h.App(plan, h.Sites(lambda path: RECORDS, ["a.csv"]), test=data),)
    yield from (h.Population(plan, 3, lambda i: RECORDS), h.InProcess([client]), h.InProcess([client]).clients)
    yield from (Inversion("anna", SECRET, (View("sum", SECRET, 1.0, 0.0),), "by hand"),)
    yield Own("anna", plan, RECORDS)


class Items:
    """A Dataset whose repr shows what it holds, as those of pandas and Hugging Face do."""

    def __repr__(self) -> str:
        return str(SECRET)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, i: int) -> Any:
        return SECRET[i], 0


class Reader:
    """A stream whose repr shows what it reads."""

    def __repr__(self) -> str:
        return str(SECRET)

    def __call__(self) -> Iterator[Any]:
        return iter([RECORDS] * 3)


@pytest.mark.promise("P101")
@pytest.mark.guards(
    "an app does not print its data",
    "a client does not print its data",
    "a client of a stranger does not print its data",
    "what a party is given does not print",
    "a request does not print the model",
    "a request does not print what is said",
    "a reply does not print what is said",
    "a part does not print its dataset",
    "a stream does not print what it reads",
    "a result does not print its vector",
    "a job does not print its data",
    "a task does not print what clients remember",
    "what a party says does not print",
    "what a party has learnt does not print",
    "a book does not print what was said",
    "an inversion does not print its record",
    "a view does not print its record",
)
def test_no_repr_shows_a_record() -> None:
    for thing in things():
        for text in (repr(thing), str(thing), f"{[thing]}"):
            assert clean(text), (type(thing), text)
        page = StringIO()
        Console(file=page).print(thing)
        assert clean(page.getvalue()), type(thing)


@pytest.mark.promise("P101")
@pytest.mark.guards("an app does not print its data", "a client does not print its data")
def test_an_app_and_a_client_print_how_many() -> None:
    sizes = sum(len(labels) for _, labels in DATA.values())
    assert repr(h.App(PLAN, DATA)) == f"<App: {len(DATA)} clients, {sizes} examples>"
    assert repr(h.Client("anna", PLAN, DATA["client-0"])) == f"<Client anna: {len(y)} examples>"
    assert repr(h.Population(PLAN, 7, lambda i: RECORDS)) == "<Population: 7 clients>"
    assert repr(Helper("helper 1", PLAN)) == "<Helper helper 1>"


@pytest.mark.promise("P101")
@pytest.mark.guards("a repr reads no data")
def test_a_repr_reads_no_data() -> None:
    """Nor does it fail where reading would."""

    def read() -> Any:
        raise AssertionError("a repr has read the data")

    class Deaf(Items):
        def __len__(self) -> int:
            raise AssertionError("a repr has asked for the length")

    for data in (read, Deaf(), None, CANARY, (), {}, (1, 2), (SECRET, np.array(0))):
        assert repr(h.Client("anna", PLAN, data)) == "<Client anna>"
        assert repr(h.App(PLAN, {"anna": data, "ben": RECORDS})) == "<App: 2 clients>"
    sites = h.Sites(lambda path: read(), {"anna": "a.csv", "ben": "b.csv"})
    assert repr(h.App(PLAN, sites, test=h.data.Source(read))) == "<App: <Sites: 2 paths>>"
    assert repr(sites["anna"]) == "Source()" and repr(h.Client("anna", PLAN, sites["anna"])) == "<Client anna>"


@pytest.mark.control("what holds no record prints as it is")
def test_a_plan_still_prints_all_that_it_says() -> None:
    """Its repr is its fingerprint."""
    plan = replace(PLAN, model=h.Softmax(MODEL.features, MODEL.classes))
    assert replace(plan, seed=1).digest != plan.digest and "Softmax(" in repr(plan)


@pytest.mark.promise("P101")
@pytest.mark.guards("an error prints no plan in the wrong place", "an error prints no data in the wrong place")
def test_arguments_in_the_wrong_order_print_no_record() -> None:
    with pytest.raises(h.errors.AppError) as caught:
        h.App({"anna": RECORDS}, PLAN)  # type: ignore[arg-type]
    assert clean(str(caught.value)) and "with a dict" in str(caught.value)
    with pytest.raises(h.errors.PlanError) as twisted:
        h.Population(PLAN, 3, RECORDS)  # type: ignore[arg-type]
    assert clean(str(twisted.value))


@pytest.mark.promise("P101")
@pytest.mark.guards("a traceback prints no local variables")
def test_tracebacks_of_the_command_line_show_no_local_variables() -> None:
    assert commands.pretty_exceptions_enable is False
