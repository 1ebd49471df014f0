"""The pieces of docs/how-to/extend.md, each in every place where hansa's own stand: right, or refused with words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import hansa as h
from hansa.app.load import load
from hansa.cli import commands
from hansa.errors import PlanError, PolicyError
from hansa.privacy import planned_privacy, spent_privacy
from hansa.privacy.ledger import Ledger
from hansa.privacy.mechanisms import Release
from hansa.transforms.curves import Gaussian

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/extend.md"
DELTA = 1e-5
LINES = {"LeastSquares": 40}  # a backend; each other piece has 20
CLIP = "Clip(1.0, side=10.0)"
NOISE = "GaussianNoise(3.0)"
APP = """
import numpy as np
from hansa import *

rng = np.random.default_rng(4)
inputs = {f"c{i}": rng.normal(size=(8 + i, 12)) for i in range(6)}
data = {who: (X, (X[:, 0] > 0.2).astype(int)) for who, X in inputs.items()}
real = {who: (X, X[:, 0] - 2 * X[:, 1]) for who, X in inputs.items()}
fixed = {"training": Training(learning_rate=0.05, report=False), "rounds": 4}
"""


@dataclass(frozen=True)
class Piece:
    """A plan with the piece in it, and what becomes of it in each place: words are regular expressions.

    plan      the arguments of Plan, where a sum is plain and noise hides clients
    explain   what the reader of the plan is told
    why       why there is no ε; "" where there is one, by `stated`
    policy    why a cautious owner refuses; "" where he takes part
    audit     what the audit says that it cannot attack; "" where it makes all attacks
    verified  why VerifiedSum refuses; "" where it gives the plain sum, or stands in the piece's place
    close     how near to that: it rounds, and Dither draws anew
    """

    plan: str
    explain: str
    why: str = ""
    stated: str = ""
    policy: str = ""
    audit: str = ""
    verified: str = ""
    close: float = 1e-5
    data: str = "data"


def usual(**pieces: str) -> str:
    """The arguments of a plan of these pieces, and of hansa's own beside them."""
    ours = {"model": "Softmax(12, 2)", "pipe": f"({CLIP}, Weigh('one'), {NOISE})"}
    return ", ".join(f"{name}={piece}" for name, piece in {**ours, **pieces}.items())


UNSTATED = "nobody has stated what {} gives away"
PIECES = {
    "algorithm": Piece(usual(algorithm="FedExP()"), "square", close=1e-4),
    "transform": Piece(
        usual(pipe=f"({CLIP}, Dither(0.01), Weigh('one'), {NOISE})"),
        "Round every number to a multiple of `step`, up or down at random",
        close=0.02,
        why=UNSTATED.format("Dither"),
        policy=UNSTATED.format("Dither"),
    ),
    "transform before the clip": Piece(
        usual(pipe=f"(Dither(0.01), {CLIP}, Weigh('one'), {NOISE})"),
        "Round every number to a multiple of `step`, up or down at random",
        close=0.02,
    ),
    "rule": Piece(
        usual(aggregator="MedianOfMeans()", pipe=f"({CLIP}, Weigh('one'))"),
        "MedianOfMeans",
        why="the plan adds no noise",
        policy="the plan adds no noise",
    ),
    "aggregator": Piece(
        usual(aggregator="Published()"),
        "It is not hansa's own: the table is what it says of itself",
        why=UNSTATED.format("Published"),
        policy=UNSTATED.format("Published"),
    ),
    "sample": Piece(
        usual(sample="TwoByTwo()"),
        "one client for two rounds, then the next, as TwoByTwo says, which is not hansa's own",
        verified="hides a client among 2 or more; a round may end with 1",
    ),
    "noise": Piece(
        usual(pipe=f"({CLIP}, Weigh('one'), LogisticNoise(3.0))"),
        "as LogisticNoise states of its noise, which hansa has not checked",
        stated="LogisticNoise",
        policy="as LogisticNoise states",
        verified="VerifiedSum comes after noise",
    ),
    "model": Piece(
        usual(model="LeastSquares(12)"),
        "LeastSquares",
        data="real",
        audit="Nothing is known that inverts a gradient of LeastSquares",
    ),
    "weighting": Piece(
        usual(pipe=f"({CLIP}, ByBalance(), {NOISE})"),
        "A client weighs twice the share of its rarer class",
        why=UNSTATED.format("ByBalance"),
        policy=UNSTATED.format("ByBalance"),
        audit="A canary has no examples that ByBalance could read",
    ),
}


@cache
def definitions() -> str:
    """What the page imports and defines, without what it tries."""
    kept = list[ast.stmt]()
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        kept += [node for node in ast.parse(block).body if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef)]
    return ast.unparse(ast.Module(kept, []))


def written(name: str, folder: Path, plan: str = "", **more: str) -> Path:
    """An app file with the page's classes, as a reader would write it."""
    piece = PIECES[name]
    told = "".join(f", {word!r}: {value}" for word, value in more.items())
    app = f"app = App(Plan({plan or piece.plan}, **{{**fixed{told}}}), {piece.data}, secret=Key.of(7))"
    path = folder / f"{'_'.join([*name.split(), *more])}.py"
    path.write_text(f"{definitions()}\n{APP}\n{app}\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """name → the app, read from its file as a command reads it."""
    folder = tmp_path_factory.mktemp("apps")
    return cache(lambda name: load(written(name, folder)))


@pytest.fixture(scope="module")
def whole(apps: Any) -> Any:
    """name → the states of a run in one process that nothing stops."""
    return cache(lambda name: list(apps(name).run()))


@pytest.fixture(params=PIECES)
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


def test_each_is_short() -> None:
    """A noise has two classes, which count together."""
    sizes = {
        node.name: (node.end_lineno or 0) - node.decorator_list[0].lineno + 1
        for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        for node in ast.parse(block).body
        if isinstance(node, ast.ClassDef)
    }
    sizes["LogisticNoise"] += sizes.pop("Pure")
    assert {"FedExP", "Dither", "MedianOfMeans", "Published", "TwoByTwo", "ByBalance", *LINES} < sizes.keys()
    assert not {kind: size for kind, size in sizes.items() if size > LINES.get(kind, 20)}
    table = dict(re.findall(r"^\| \[\w+\]\([^)]*\) \| (\w+).*?\| (\d+)", PAGE.read_text("utf-8"), re.MULTILINE))
    assert table.keys() > {"FedExP", "Dither"} and all(sizes[kind] == int(size) for kind, size in table.items())


def test_it_is_explained(name: str, apps: Any) -> None:
    piece = PIECES[name]
    told = str(apps(name).explain())
    assert re.search(piece.explain, told)
    assert not piece.why or re.search(piece.why, told)


def test_what_it_will_give_away_is_known_or_nobody_has_stated_it(name: str, apps: Any) -> None:
    piece = PIECES[name]
    found = planned_privacy(apps(name).plan, 6).guarantee(DELTA)
    assert found.why == piece.why and found.stated == ((piece.stated,) if piece.stated else ())
    gaussian = Ledger().plus(Release(Gaussian(3.0)), 4).epsilon(DELTA)
    if not piece.why and not piece.stated:
        assert found.epsilon == gaussian
    if piece.stated:  # four times 1/3 at δ = 0, and little less at this one
        assert found.epsilon == pytest.approx(4 / 3, rel=0.05)


def test_what_it_has_given_away_is_known_or_nobody_has_stated_it(name: str, apps: Any, whole: Any) -> None:
    """By turns a client is in two of four rounds; everybody else is in all of them."""
    piece = PIECES[name]
    plan = apps(name).plan
    states = whole(name)
    found = spent_privacy(plan, states, 6).guarantee(DELTA)
    rounds = 2 if name == "sample" else 4
    assert replace(found, named=False) == planned_privacy(plan, 6, rounds).guarantee(DELTA)
    assert found.why == piece.why and bool(states[-1].spent) == (not piece.why)


def test_an_owner_believes_what_he_says_he_believes(name: str, apps: Any) -> None:
    piece = PIECES[name]
    plan = apps(name).plan
    cautious = h.Policy(epsilon=50.0, delta=DELTA)
    if piece.policy:
        with pytest.raises(PolicyError, match=piece.policy):
            cautious.check(plan, "c0")
    else:
        cautious.check(plan, "c0")
    if piece.why:  # what nobody knows no belief makes known
        with pytest.raises(PolicyError, match=piece.why):
            replace(cautious, stated=True).check(plan, "c0")
    else:
        replace(cautious, stated=True).check(plan, "c0")
    with pytest.raises(PolicyError, match=r"may see each client's vector|only its author states"):
        replace(cautious, sees="sum", epsilon=float("inf")).check(plan, "c0")


def test_it_is_audited(name: str, tmp_path: Path) -> None:
    """By the command, which reads the file; an attack that cannot be made is named, and no others."""
    piece = PIECES[name]
    command = ["audit", str(written(name, tmp_path)), "--out", str(tmp_path / "found"), "--rounds", "2"]
    done = CliRunner().invoke(commands, command)
    assert done.exit_code == 0, done.output
    report = (tmp_path / "found/audit.txt").read_text("utf-8")
    left_out = re.findall(r"Leave out the attack", report)
    assert len(left_out) == bool(piece.audit) and re.search(piece.audit, report)
    assert not piece.stated or f"as {piece.stated} states" in report
    assert name != "sample" or "the mean of 1 clients" in report


def test_a_run_that_was_stopped_ends_with_the_same_bytes(name: str, whole: Any, tmp_path: Path) -> None:
    """The file is read anew for the second half, as by another process."""
    path = written(name, tmp_path)
    app = load(path)
    run = h.Store(tmp_path / "runs").new(repr(app.plan), app.plan.digest, str(path), {}, 4)
    list(islice(app.run(run), 2))
    run.finish("stopped")
    again = load(path)
    run = h.Store(tmp_path / "runs").resume(run.id)
    assert again.plan.digest == run.digest
    *_, state = again.run(run)
    run.finish("done")
    last = whole(name)[-1]
    assert state.round == 4 and state.x.tobytes() == last.x.tobytes() and state.spent == last.spent


def test_two_workers_give_the_same_bytes(name: str, apps: Any, whole: Any) -> None:
    for one, other in zip(replace(apps(name), workers=2).run(), whole(name), strict=True):
        assert one.x.tobytes() == other.x.tobytes() and one.participants == other.participants
        assert not one.excluded


@pytest.mark.parametrize("name", [name for name in PIECES if "aggregator=" not in PIECES[name].plan])
def test_verified_sum_gives_the_sum_or_says_why_not(name: str, tmp_path: Path) -> None:
    """hansa's noise is left out, so that two sums can be compared; an aggregator stands in the place of another."""
    piece = PIECES[name]
    plan = piece.plan.replace(f", {NOISE})", ")")
    rounds = {"rounds": "2"}
    if "sample=" not in plan:
        rounds["sample"] = "Everyone(quorum=2)"
    verified = {"aggregator": "VerifiedSum()", **rounds}
    if piece.verified:
        with pytest.raises(PlanError, match=piece.verified):
            load(written(name, tmp_path, plan, **verified))
        return
    *_, proven = load(written(name, tmp_path, plan, **verified)).run()
    *_, summed = load(written(name, tmp_path, plan, **rounds)).run()
    assert len(proven.participants) == 6
    assert np.allclose(proven.x, summed.x, rtol=0, atol=piece.close)
