"""Approval under attack: bundles that were changed, that lead elsewhere or are too large; reviews that are nobody's;
apps that change themselves; servers that begin runs until nothing is left to protect.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.approving import hansa, kept, kit, owner, parties, study, written
from tests.attending import Sites

import hansa as h
from hansa.approval import bundle as bundles
from hansa.approval import packing
from hansa.approval.approvals import Review, approve, check_approved, check_signed, reviewers
from hansa.approval.bundle import MAGIC, Bundle, unpacked
from hansa.approval.packing import pack
from hansa.approval.policies import read_policy
from hansa.crypto.identity import Identity, Roster
from hansa.errors import AppError, ApprovalError, HansaError, PolicyError, ProtocolError, RefusedError
from hansa.kits.armour import canonical
from hansa.kits.authority import Authority
from hansa.messages import Request, SessionId
from hansa.plan.server import broadcast
from hansa.privacy.given import Given
from hansa.runtimes.sites import fetch as fetching
from hansa.runtimes.sites.link import Way
from hansa.runtimes.sites.runs import planned_by
from hansa.runtimes.sites.site import Site

SAMPLE = h.Everyone(quorum=2, deadline=60)
PLAIN = h.Plan(h.Softmax(3, 2), training=h.Training(batch=8), sample=SAMPLE, rounds=3)
NOISY = replace(
    PLAIN,
    pipe=(h.Clip(1.0), h.Weigh("one"), h.GaussianNoise(6.0)),
    training=h.Training(batch=8, report=False),
    rounds=4,
)
FOUR = h.Policy(epsilon=4.0)
GOOD = Bundle("app.py", {"app.py": b"app = 1\n", "words.py": b"x = 1\n"})


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return study(tmp_path / "study")


@pytest.fixture
def made(tmp_path: Path) -> Authority:
    return parties(tmp_path / "pki")


def forged(index: object, *contents: bytes) -> bytes:
    """A bundle as an attacker writes it."""
    return MAGIC + json.dumps(index, separators=(",", ":")).encode() + b"\n" + b"".join(contents)


# ── what runs ──


@pytest.mark.guards("what runs was approved")
@pytest.mark.guards("an approval is of one hash")
@pytest.mark.promise("P522")
def test_a_bundle_whose_file_changed_after_approval_does_not_run(app: Path, tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()
    approve(tmp_path / "kit", pack(app), "officer")
    check_approved(tmp_path / "kit", pack(app), app)
    (app.parent / "words.py").write_text("import os\n")
    with pytest.raises(ApprovalError, match="is not approved"):
        check_approved(tmp_path / "kit", pack(app), app)


@pytest.mark.guards("an app runs from a copy that is made anew")
@pytest.mark.promise("P522")
def test_an_app_that_changes_its_folder_runs_as_it_was_approved(tmp_path: Path) -> None:
    """It plants a module that would be imported first, and writes over another."""
    with unpacked(GOOD, tmp_path / "apps") as path:
        (path.parent / "numpy.py").write_text("raise SystemExit")
        os.chmod(path.parent / "words.py", 0o600)
        (path.parent / "words.py").write_text("x = 2  # and more\n")
    with unpacked(GOOD, tmp_path / "apps") as path:
        found = {one.name: one.read_bytes() for one in path.parent.iterdir()}
    assert found == GOOD.files


# ── bundles ──


@pytest.mark.guards("files of a bundle lie below its folder")
@pytest.mark.promise("P520")
@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "a//x", "./x", ".pth", "a\\x", "C:x", "x\x1b[2J", "x.", "a/" * 40 + "x"]
)
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    data = forged({"app": "app.py", "files": sorted([[name, 1], ["app.py", 1]])}, b"xx")
    with pytest.raises(ApprovalError, match="is called"):
        Bundle.decode(data)


@pytest.mark.guards("files of a bundle are told apart")
@pytest.mark.promise("P520")
@pytest.mark.parametrize("names", [("Words.py", "words.py"), ("words.py", "words.py/x"), ("straße.py", "STRASSE.py")])
def test_two_names_of_one_file_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(ApprovalError, match="Two files"):
        Bundle("app.py", {"app.py": b"", **dict.fromkeys(names, b"x")})


@pytest.mark.guards("no link is packed")
@pytest.mark.promise("P520")
def test_a_link_is_not_packed(app: Path, tmp_path: Path) -> None:
    """Neither a file, nor a folder on the way to one."""
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    (secret / "start.txt").write_text("somebody's secret")
    (app.parent / "deep").symlink_to(secret)
    app.write_text(app.read_text().replace('("start.txt",)', '("deep/start.txt",)'))
    with pytest.raises(ApprovalError, match="is a link"):
        pack(app)


@pytest.mark.guards("what is packed is bounded")
@pytest.mark.promise("P520")
def test_more_than_anybody_reads_is_not_packed(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LARGEST", 100)
    with pytest.raises(ApprovalError, match="more than"):
        pack(app)


@pytest.mark.guards("a bundle is bounded")
@pytest.mark.promise("P520")
def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is packed tighter than it is, so that it cannot grow; what is large, or of many files, is refused."""
    many = {f"f{i}.txt": b"" for i in range(5000)}
    with pytest.raises(ApprovalError, match="5,001 files"):
        Bundle("app.py", {"app.py": b"", **many})
    monkeypatch.setattr(bundles, "LARGEST", 10)
    with pytest.raises(ApprovalError, match="11 bytes"):
        Bundle("app.py", {"app.py": b"x" * 11})


@pytest.mark.guards("a bundle has one form")
@pytest.mark.promise("P520")
@pytest.mark.parametrize(
    "data",
    [
        GOOD.encode() + b"more",
        GOOD.encode()[:-1],
        GOOD.encode().replace(b"{", b"{ ", 1),
        forged({"app": "app.py", "files": [["words.py", 1], ["app.py", 1]]}, b"xy"),
        forged({"app": "app.py", "files": [["app.py", 2**40]]}, b"x"),
        forged({"app": "app.py", "files": [["app.py", -1]]}, b"x"),
        forged({"app": "app.py", "files": [["app.py", True]]}, b"x"),
        MAGIC + b"[" * 100_000 + b"\n",
        b"PK\x03\x04",
    ],
    ids=range(9),
)
def test_what_is_written_otherwise_is_no_bundle(data: bytes) -> None:
    """What two programs could read in two ways would be approved as the one, and run as the other."""
    with pytest.raises(ApprovalError, match="no bundle"):
        Bundle.decode(data)


@pytest.mark.guards("what is shown commands no terminal")
@pytest.mark.promise("P521")
def test_a_file_commands_no_terminal(tmp_path: Path) -> None:
    """Escapes that clear lines, and letters that turn the direction of what is read, are shown as what they are."""
    evil = Bundle("app.py", {"app.py": b"import os  # \x1b[2K\x1b[1A\rnothing\n", "b.py": "x = 1 # \u202e)\n".encode()})
    made = parties(tmp_path / "pki")
    told = hansa("inspect", written(tmp_path / "x.bundle", evil), "--kit", kit(made, "north")).output
    assert "\\x1b[2K\\x1b[1A\\rnothing" in told and "\\u202e" in told
    assert not {"\x1b", "\r", "\u202e"} & set(told)


# ── reviews ──


def review(made: Authority, who: str, bundle: Bundle = GOOD, federation: str = "heart study") -> Review:
    return Review.signed(federation, kept(made, who).identity, bundle)


def counted(folder: Path, made: Authority, *reviews: Review) -> set[str]:
    """Who counts, of these files."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i}.review" for i in range(len(reviews))]
    for path, one in zip(paths, reviews, strict=True):
        path.write_bytes(one.encode())
    found, _ = reviewers(paths, "heart study", made.roster, GOOD)
    return found


@pytest.mark.guards("a review is signed by a member")
@pytest.mark.promise("P523")
def test_who_is_not_on_the_roster_reviews_nothing(made: Authority, tmp_path: Path) -> None:
    """Nor does one who writes another's name over a review of his own, or was revoked."""
    mallory = Review.signed("heart study", Identity.fresh("mallory", "client"), GOOD)
    posing = replace(mallory, who="north")
    assert counted(tmp_path / "x", made, review(made, "north"), mallory) == {"north"}
    assert not counted(tmp_path / "x", made, posing)
    south = review(made, "south")
    revoked = Roster(
        {who: one for who, one in made.roster.items() if who != "south"}, made.roster.serial, made.roster.signature
    )
    with pytest.raises(ApprovalError, match="review of south"):
        south.check("heart study", revoked, GOOD)


@pytest.mark.guards("a review is of one bundle, in one federation")
@pytest.mark.promise("P523")
def test_a_review_of_something_else_does_not_count(made: Authority, tmp_path: Path) -> None:
    other = Bundle("app.py", {"app.py": b"other"})
    assert not counted(tmp_path / "x", made, review(made, "north", other), review(made, "south", federation="lungs"))


@pytest.mark.guards("a review is signed as a review")
@pytest.mark.promise("P523")
def test_what_was_signed_as_something_else_is_no_review(made: Authority, tmp_path: Path) -> None:
    north = kept(made, "north").identity
    value = {"federation": "heart study", "who": "north", "sha256": GOOD.sha256}
    signature = north.signing.sign(canonical(value))
    assert not counted(tmp_path / "x", made, Review("heart study", "north", GOOD.sha256, signature))


@pytest.mark.guards("a reviewer counts once")
@pytest.mark.guards("reviewers are counted")
@pytest.mark.promise("P523")
def test_one_reviewer_twice_is_one(made: Authority, tmp_path: Path) -> None:
    north = review(made, "north")
    found = counted(tmp_path / "x", made, north, north, north)
    with pytest.raises(ApprovalError, match="1 of 2 reviewers"):
        check_signed(found, 2, ())
    check_signed(counted(tmp_path / "x", made, north, review(made, "auditor")), 2, ())


# ── what a server sends ──


@pytest.mark.guards("who fetches is on the roster")
@pytest.mark.promise("P520")
def test_who_is_on_no_roster_fetches_nothing(tmp_path: Path) -> None:
    with Sites(tmp_path, PLAIN, {"north": None}) as sites:
        sites.gateway.bundles["app"] = GOOD.encode()
        way = Way(sites.address, sites.kits["north"].client_context(), sites.kits["north"].federation)
        assert asyncio.run(fetching.fetch(way, "app")) == GOOD.encode()
        others = {who: one for who, one in sites.gateway.roster.items() if who != "north"}
        sites.gateway.roster = replace(sites.gateway.roster, members=others)
        with pytest.raises(RefusedError, match="does not take this party"):
            asyncio.run(fetching.fetch(way, "app"))


@pytest.mark.guards("what is fetched is bounded")
@pytest.mark.promise("P520")
def test_a_server_that_sends_without_end_is_not_heard_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MOST", 1000)
    with Sites(tmp_path, PLAIN, {"north": None}) as sites:
        sites.gateway.bundles["app"] = b"x" * 5_000_000
        way = Way(sites.address, sites.kits["north"].client_context(), sites.kits["north"].federation)
        with pytest.raises(ProtocolError, match="more than 1,000 bytes"):
            asyncio.run(fetching.fetch(way, "app"))


# ── what runs may give away ──


@pytest.mark.guards("a policy has no unknown entry")
@pytest.mark.promise("P524")
def test_a_policy_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    """`epsilom = 1` would bound nothing, and its owner would not know."""
    path = tmp_path / "policy.toml"
    path.touch(0o600)
    path.write_text("epsilom = 1.0\n")
    with pytest.raises(AppError, match="has the entry 'epsilom'"):
        read_policy(tmp_path)


def begun(site: Site, names: Callable[[int], str], runs: int) -> int:
    """In how many of so many runs of the plan the site takes part."""
    count = 0
    for i in range(runs):
        try:
            site.begin(names(i), NOISY.digest, None)
            count += 1
        except HansaError:
            continue
    return count


@pytest.mark.guards("all runs together keep to a budget")
@pytest.mark.promise("P525")
@pytest.mark.parametrize("restarts", [False, True])
def test_ten_runs_under_a_budget_of_four_do_not_spend_forty(restarts: bool, tmp_path: Path) -> None:
    """Also where the server gives each another name, and the site is started anew in between."""
    site = Site(tmp_path, lambda plan, found: owner(NOISY, FOUR), 100)
    count = 0
    for i in range(10):
        count += begun(site, lambda _, i=i: f"another name {i}", 1)  # type: ignore[misc]
        if restarts:
            site.close()
            site = Site(tmp_path, lambda plan, found: owner(NOISY, FOUR), 100)
    given = planned_by(owner(NOISY, FOUR), "client")
    together = Given(tuple(count * one for one in given.curve))
    assert 0 < count < 10 and together.epsilon(together.order(np.inf, 1e-6), 1e-6) <= 4
    site.close()


@pytest.mark.guards("what nobody knows keeps to no budget")
@pytest.mark.promise("P525")
def test_what_was_given_away_without_noise_is_not_forgotten(tmp_path: Path) -> None:
    """A run before the owner had a budget."""
    site = Site(tmp_path, lambda plan, found: owner(PLAIN, h.Policy()), 100)
    site.begin("before", PLAIN.digest, None)
    site.close()
    site = Site(tmp_path, lambda plan, found: owner(NOISY, FOUR), 100)
    with pytest.raises(PolicyError, match="there is no ε for it"):
        site.begin("after", NOISY.digest, None)
    site.close()


@pytest.mark.guards("the order is fixed with the first run")
@pytest.mark.promise("P525")
def test_a_server_does_not_choose_the_order_by_what_it_has_seen(tmp_path: Path) -> None:
    """ε by the least of all orders holds for plans that were fixed before; a later one could be made for luck."""
    sampled = replace(NOISY, pipe=(*NOISY.pipe[:2], h.GaussianNoise(1.0)), sample=h.Poisson(0.05, deadline=60))
    site = Site(tmp_path, lambda plan, found: owner(NOISY, FOUR), 100)
    site.begin("first", NOISY.digest, None)
    first, later = (planned_by(owner(plan, FOUR), "client") for plan in (NOISY, sampled))
    assert first.order(4.0, 1e-6) != later.order(4.0, 1e-6)
    assert site.runs.total(FOUR, later) == first.plus(later).epsilon(first.order(4.0, 1e-6), 1e-6)
    site.close()


# ── runs that are over ──


def question(run: str, number: int = 0) -> Request:
    told = broadcast(PLAIN, PLAIN.start())
    return Request(PLAIN.digest, number, SessionId(run, 0, number), told, {"north": None})


@pytest.mark.guards("a run that is over is not gone on with")
@pytest.mark.guards("of a run that is over nothing is answered")
@pytest.mark.promise("P525")
def test_a_server_that_ends_a_run_gets_nothing_more_of_it(tmp_path: Path) -> None:
    """It counts as far as it was answered; a server that ended it early could else go on for nothing."""
    site = Site(tmp_path, lambda plan, found: owner(PLAIN, h.Policy()))
    site.begin("one", PLAIN.digest, None)
    assert site.answer(question("one")).body is not None
    assert site.end("one") and not site.end("two")
    assert site.answer(question("one", 1)).why == "refused"
    with pytest.raises(ProtocolError, match="was over"):
        site.begin("one", PLAIN.digest, None)
    site.close()


@pytest.mark.guards("who has left a run is not in it again")
@pytest.mark.guards("replies of a run that was left are deleted")
@pytest.mark.promise("P526")
def test_of_a_run_that_was_left_nothing_is_said_again(tmp_path: Path) -> None:
    """Neither after a restart, nor what lay in the book for a server that had not heard it."""
    plan = replace(PLAIN, algorithm=h.Scaffold())
    data = {who: owner(plan, h.Policy()).data for who in ("north", "south")}
    with Sites(tmp_path, plan, data) as sites, sites.runtime() as runtime:
        desk = sites.gateway.desk
        desk.settle = lambda session, counted: None  # type: ignore[method-assign]  # so that replies stay booked
        states = h.synchronous(plan, runtime, secret=h.Key.of(7))
        next(states)
        run = sites.attendants["north"].site.run
        sites.attendants["north"].stop()
        site = Site(sites.kits["north"].folder, lambda digest, found: owner(plan, h.Policy()))
        kept_replies = "SELECT 1 FROM asked WHERE reply IS NOT NULL"
        assert site._book._file is not None and site._book._file.execute(kept_replies)
        site.leave(run)
        assert not site._book._file.execute(kept_replies)
        with pytest.raises(ProtocolError, match="was left"):
            site.begin(run, plan.digest, None)
        site.close()
        states.close()
