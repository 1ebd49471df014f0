"""Nothing runs at a site before its owner has approved it, byte by byte, and no more than they allow."""

from __future__ import annotations

import asyncio
import os
from dataclasses import fields
from pathlib import Path

import pytest
from tests.approving import PARTIES, WORDS, copied, hansa, kit, owner, packed, parties, ran, study
from tests.attending import HOST, Sites
from tests.kits import federation

import hansa as h
from hansa.approval.approvals import approvals
from hansa.approval.bundle import Bundle, unpacked
from hansa.approval.packing import left_out, pack
from hansa.approval.policies import ABOUT, read_policy, text_of
from hansa.errors import AppError, DeadlineError, PolicyError, ProtocolError
from hansa.kits.authority import Authority
from hansa.kits.files import write_roster
from hansa.privacy import planned_privacy
from hansa.privacy.given import Given, added
from hansa.runtimes.sites.fetch import fetch
from hansa.runtimes.sites.link import Way
from hansa.runtimes.sites.runs import Runs
from hansa.runtimes.sites.site import Site

NOISY = h.Plan(
    h.Softmax(3, 2),
    pipe=(h.Clip(1.0), h.Weigh("one"), h.GaussianNoise(6.0)),
    training=h.Training(batch=8, report=False),
    sample=h.Everyone(quorum=2, deadline=60),
    rounds=4,
)
FOUR = h.Policy(epsilon=4.0)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return study(tmp_path / "study")


@pytest.fixture
def made(tmp_path: Path) -> Authority:
    return parties(tmp_path / "pki")


# ── bundles ──


@pytest.mark.promise("P520")
def test_a_bundle_holds_what_the_app_names_and_nothing_else(app: Path, tmp_path: Path) -> None:
    """The same files give the same bytes, wherever and whenever; records of a site are not in it."""
    bundle = pack(app)
    assert sorted(bundle.files) == ["heart.py", "start.txt", "words.py"] and bundle.name == "heart"
    other = copied(app, tmp_path / "other")
    os.utime(other, (1, 1))
    assert pack(other).encode() == bundle.encode()
    assert Bundle.decode(bundle.encode()) == bundle
    assert not ran(tmp_path) and left_out(app, bundle) == []
    app.write_text(app.read_text() + '\nFILE = "other.py"\n')
    assert left_out(app, pack(app)) == ["other.py"]


PACKAGES = ["tools/__init__.py", "tools/near.py", "tools/deep/__init__.py"]


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("import tools.deep.one", [*PACKAGES, "tools/deep/one.py"]),
        ("from tools import deep", PACKAGES),
        ("def later():\n    from tools.deep.one import x", [*PACKAGES, "tools/deep/one.py"]),
        ("import numpy, nowhere", []),
    ],
)
def test_modules_are_found_through_modules(text: str, files: list[str], tmp_path: Path) -> None:
    (tmp_path / "tools" / "deep").mkdir(parents=True)
    (tmp_path / "app.py").write_text(text)
    (tmp_path / "tools" / "__init__.py").write_text("from . import near")
    (tmp_path / "tools" / "near.py").write_text("from .nowhere import x")
    (tmp_path / "tools" / "deep" / "__init__.py").write_text("from ..near import y")
    (tmp_path / "tools" / "deep" / "one.py").write_text("x = 1")
    assert set(pack(tmp_path / "app.py").files) == {"app.py", *files}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("BUNDLE = sorted(x)", "no list of names"),
        ('BUNDLE = ("nowhere.txt",)', "cannot be read"),
        ('BUNDLE = ("data",)', "is no file"),
        ("def", "is no Python"),
    ],
)
def test_what_cannot_be_packed_is_refused_in_three_parts(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "app.py").write_text(text)
    with pytest.raises(AppError, match=words) as error:
        pack(tmp_path / "app.py")
    assert error.value.why and error.value.instead


def test_a_bundle_is_unpacked_for_as_long_as_it_runs(app: Path, tmp_path: Path) -> None:
    bundle = pack(app)
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "left").mkdir()  # by a process that was killed
    with unpacked(bundle, tmp_path / "apps") as one, unpacked(bundle, tmp_path / "apps") as other:
        assert one != other and one.read_bytes() == bundle.files["heart.py"] == other.read_bytes()
        assert {path.name for path in one.parent.iterdir()} == {"heart.py", "start.txt", "words.py"}
        assert not (tmp_path / "apps" / "left").exists()
    assert not list((tmp_path / "apps").iterdir())


@pytest.mark.promise("P521")
def test_a_bundle_is_shown_line_by_line_and_nothing_of_it_runs(app: Path, made: Authority, tmp_path: Path) -> None:
    bundle = packed(app)
    told = hansa("inspect", bundle)
    assert told.exit_code == 0 and "3 files" in told.output and pack(app).sha256 in told.output
    at = ("--kit", kit(made, "north"))
    assert "+from words import clean" in hansa("inspect", bundle, *at).output  # all of it is new
    assert hansa("approve", bundle, *at, "--by", "officer").exit_code == 0
    assert "approved by officer" in hansa("inspect", bundle, *at).output
    (app.parent / "words.py").write_text(WORDS.replace("float32", "float64"))
    told = hansa("inspect", packed(app), *at)
    assert "-    return table.astype('float32')\n+    return table.astype('float64')" in told.output
    assert "+from words" not in told.output and "not approved" in told.output
    assert not ran(tmp_path)


def test_who_decides_is_told_of_each_gateway_on_the_roster(app: Path, tmp_path: Path) -> None:
    """With a kit; no plan knows of any."""
    both = dict.fromkeys(("gateway-1", "gateway-2"), "gateway")
    found = federation(tmp_path / "with", "heart study", {**PARTIES, **both})  # type: ignore[arg-type]
    bundle, at = packed(app), ("--kit", kit(found, "north"))
    told = " ".join(hansa("inspect", bundle, *at).output.split())
    for who in both:
        assert f"gateway {who} sees all that the server sees, and single vectors before they are added up" in told
    assert "it can replace or make up" in told
    assert hansa("approve", bundle, *at, "--by", "officer").exit_code == 0
    told = hansa("explain", bundle, *at).output
    assert all(f"gateway {who}" in told for who in both) and "single vectors" in told
    without = "--kit", kit(parties(tmp_path / "without"), "north")
    assert "gateway" not in hansa("inspect", bundle, *without).output


# ── approval ──


@pytest.mark.promise("P522")
def test_only_what_was_approved_runs(app: Path, made: Authority, tmp_path: Path) -> None:
    """The error says the commands; the record says what, who and when."""
    bundle, north = packed(app), kit(made, "north")
    data = app.parent / "data" / "north.csv"
    for target in (bundle, app):
        told = hansa("join", target, "--kit", north, "--data", data)
        assert told.exit_code == 3 and f"hansa approve {tmp_path}" in told.output.replace("\n", "")
        assert ("hansa bundle" in told.output) == (target is app)
    assert hansa("helper", bundle, "--kit", kit(made, "auditor")).exit_code == 3
    assert hansa("explain", bundle, "--kit", north).exit_code == 3
    assert not ran(tmp_path)
    assert hansa("approve", bundle, "--kit", north, "--by", "data protection officer").exit_code == 0
    (one,) = approvals(north)
    assert (one.sha256, one.name, one.by) == (pack(app).sha256, "heart", "data protection officer")
    assert (north / "approvals").stat().st_mode & 0o777 == 0o600
    told = hansa("explain", bundle, "--kit", north)
    assert told.exit_code == 0 and "noise" in told.output and not ran(tmp_path)  # it ran in a folder of its own
    assert hansa("explain", app, "--kit", north).exit_code == 0


@pytest.mark.promise("P523")
def test_reviewers_of_the_roster_sign(app: Path, made: Authority) -> None:
    bundle, north = packed(app), kit(made, "north")
    wanted = ("approve", bundle, "--kit", north, "--by", "officer", "--signed-by", 2)
    for who, code in (("south", 3), ("auditor", 0)):
        assert hansa("approve", bundle, "--kit", kit(made, who), "--sign").exit_code == 0
        assert hansa(*wanted).exit_code == code
    assert approvals(north)[0].signed == ("auditor", "south")
    assert "signed by: auditor, south" in hansa("inspect", bundle, "--kit", north).output
    assert not approvals(kit(made, "south"))  # who signs lets nothing run


# ── the server's bundle ──


@pytest.mark.promise("P520")
def test_a_bundle_is_fetched_and_stored(app: Path, tmp_path: Path) -> None:
    bundle = pack(app)
    with Sites(tmp_path / "sites", NOISY, {"north": None}) as sites:
        sites.gateway.bundles["heart"] = bundle.encode()
        way = Way(sites.address, sites.kits["north"].client_context(), sites.kits["north"].federation)
        assert Bundle.decode(asyncio.run(fetch(way, "heart"))) == bundle
        with pytest.raises(AppError, match="no bundle 'lungs'") as error:
            asyncio.run(fetch(way, "lungs"))
        assert "heart" in error.value.why
    with pytest.raises(DeadlineError, match="not reached"):
        asyncio.run(fetch(way, "heart"))
    assert not ran(tmp_path)


@pytest.mark.promise("P527")
def test_who_waits_in_vain_ends_with_code_four(app: Path, made: Authority) -> None:
    north = kit(made, "north")
    assert hansa("fetch", "heart", "--kit", north).exit_code == 4
    hansa("approve", packed(app), "--kit", north, "--by", "officer")
    told = hansa("join", app, "--kit", north, "--data", app.parent / "data" / "north.csv", "--give-up", 0)
    assert told.exit_code == 4 and "gives up" in told.output
    at = ("--kit", kit(made, "server"), "--folder", app.parent / "runs")
    told = hansa("serve", app, *at, "--listen", f"{HOST}:0", "--give-up", 0)
    assert told.exit_code == 4 and "north, south are not there" in told.output


@pytest.mark.promise("P527")
def test_who_is_not_on_the_roster_any_more_ends_with_code_three(app: Path, made: Authority) -> None:
    north = kit(made, "north")
    hansa("approve", packed(app), "--kit", north, "--by", "officer")
    write_roster(north / "roster.json", made.revoke("north").roster)
    data = ("--data", app.parent / "data" / "north.csv")
    for words in (("join", app, *data), ("fetch", "heart"), ("check", app, *data)):
        told = hansa(*words, "--kit", north)
        assert told.exit_code == 3 and "is not on the roster" in told.output
    assert "0 runs begin" in hansa("leave", "x", "--kit", north).output  # that would be for it to decide


# ── policies ──


@pytest.mark.promise("P524")
def test_a_policy_is_a_file_of_its_owner(made: Authority) -> None:
    north = kit(made, "north")
    assert read_policy(north) is None
    path = north / "policy.toml"
    assert hansa("policy", "new", path, "--min-cohort", 3, "--epsilon", 4).exit_code == 0
    assert read_policy(north) == h.Policy(min_cohort=3, epsilon=4.0)
    assert hansa("policy", "new", path).exit_code == 2  # it is not written over
    assert ABOUT.keys() == {one.name for one in fields(h.Policy)}
    many = h.Policy(sees="sum", colluding=2, stated=True, unit="example", reports=False, max_rounds=9)
    path.write_text(text_of(many))
    assert read_policy(north) == many


@pytest.mark.parametrize(
    ("text", "found", "instead"),
    [
        ("min_cohrt = 3", "'min_cohrt'", "Did you mean 'min_cohort'?"),
        ('epsilon = "four"', "epsilon='four'", "Policy("),
        ("epsilon = [", "is not TOML", "policy new"),
    ],
)
def test_a_policy_that_says_something_else_is_refused(text: str, found: str, instead: str, made: Authority) -> None:
    path = kit(made, "north") / "policy.toml"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(AppError) as error:
        read_policy(path.parent)
    assert found in error.value.found and error.value.why and instead in error.value.instead


@pytest.mark.promise("P524")
def test_a_site_is_checked_before_it_joins(app: Path, made: Authority) -> None:
    bundle, north = packed(app), kit(made, "north")
    ask = ("check", bundle, "--kit", north, "--data", app.parent / "data" / "north.csv")
    hansa("approve", bundle, "--kit", north, "--by", "officer")
    told = hansa(*ask)
    assert told.exit_code == 0 and "24 examples can be read." in told.output
    assert "ε = 1.558 at δ = 1e-06 for each client, after 4 rounds" in told.output
    hansa("policy", "new", north / "policy.toml", "--epsilon", 1)
    told = hansa(*ask)
    assert told.exit_code == 3 and "at most ε = 1 at δ = 1e-06" in told.output
    assert hansa("check", bundle, "--kit", north).exit_code == 2
    told = hansa("check", bundle, "--kit", kit(made, "auditor"), "--data", app)
    assert told.exit_code == 2 and "the kit of auditor" in told.output


# ── a budget over all runs ──


def begun(site: Site, runs: int, plan: h.Plan = NOISY, first: int = 0) -> int:
    """How many of so many runs are taken part in."""
    for i in range(runs):
        try:
            site.begin(f"run-{first + i}", plan.digest, None)
        except PolicyError:
            return i
    return runs


@pytest.mark.promise("P525")
def test_runs_add_up_and_the_one_too_many_is_refused_with_numbers(tmp_path: Path) -> None:
    """Five runs of ε = 1.56 each are within ε = 4: their noise adds up, which is less than their ε would."""
    site = Site(tmp_path, lambda plan, found: owner(NOISY, FOUR), 100)
    assert begun(site, 10) == 5
    with pytest.raises(PolicyError) as error:
        site.begin("one-more", NOISY.digest, None)
    assert "have given away ε = 3.76 at δ = 1e-06" in error.value.found and "4.16" in error.value.found
    assert "at most ε = 4" in error.value.why
    assert site.run == "run-4"  # it goes on with what it has
    site.close()
    site = Site(tmp_path, lambda plan, found: owner(NOISY, h.Policy(epsilon=8.0)), 100)
    assert begun(site, 10, first=5) == 10  # the owner has changed it; what was given away stays counted
    site.close()


def test_the_first_run_may_take_all_of_the_budget(tmp_path: Path) -> None:
    """Its ε is that of the ledger, by whatever noise."""
    pipes = {
        "gaussian": (h.Clip(1.0), h.Weigh("one"), h.GaussianNoise(3.0)),
        "whole": (h.Clip(1.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=20), h.SkellamNoise(3.0)),
        "poisson": (h.Clip(1.0), h.Weigh("one"), h.GaussianNoise(2.0)),
    }
    for name, pipe in pipes.items():
        sample = h.Poisson(0.5, deadline=60) if name == "poisson" else h.Everyone(quorum=2, deadline=60)
        training = h.Training(report=False)
        plan = h.Plan(h.Softmax(3, 2), pipe=pipe, rounds=3, sample=sample, training=training)
        ledger = planned_privacy(plan)
        epsilon = ledger.epsilon(1e-6)
        assert epsilon is not None
        given = Given.by(ledger, 1e-6)
        for allowed in (epsilon, 2 * epsilon):
            found = given.epsilon(given.order(allowed, 1e-6), 1e-6)
            assert epsilon * (1 - 1e-9) <= found <= allowed * (1 + 1e-9)
        assert added([given] * 3).curve == pytest.approx([3 * one for one in given.curve])
        assert given.even == (name != "poisson") and Given.decode(given.encode()) == given


def test_no_known_epsilon_keeps_to_no_budget(tmp_path: Path) -> None:
    """Neither its own, nor that of a run on the same data before."""
    bare = h.Plan(h.Softmax(3, 2), training=h.Training(report=False), rounds=1)
    for plan, policy, refused in (
        (NOISY, FOUR, ""),
        (bare, FOUR, "no ε"),
        (bare, h.Policy(), ""),
        (NOISY, FOUR, "no ε"),
    ):
        site = Site(tmp_path, lambda digest, found, plan=plan, policy=policy: owner(plan, policy), 100)
        if refused:
            with pytest.raises(PolicyError, match=refused):
                site.begin("refused", plan.digest, None)
        else:
            site.begin(f"{plan.digest} {policy.epsilon}", plan.digest, None)
        site.close()


def test_examples_have_a_budget_of_their_own(tmp_path: Path) -> None:
    training = h.Training(batch=8, report=False, private=h.PerExample(clip=1.0, noise=6.0))
    plan = h.Plan(h.Softmax(3, 2), training=training, rounds=4)
    site = Site(tmp_path, lambda digest, found: owner(plan, h.Policy(epsilon=4.0, unit="example")), 100)
    assert 0 < begun(site, 40, plan) < 40
    site.close()


@pytest.mark.promise("P525")
def test_a_run_that_ends_early_counts_as_far_as_it_was_answered(tmp_path: Path) -> None:
    data = {who: owner(NOISY, FOUR).data for who in ("north", "south")}
    with NoisySites(tmp_path, NOISY, data) as sites, sites.runtime() as runtime:
        states = h.synchronous(NOISY, runtime, secret=h.Key.of(7))
        next(states)
        states.close()
        assert ", not over; ε = 1.5" in hansa("kit", "show", sites.kits["north"].folder).output  # while it attends
        sites.gateway.end()
    folder = sites.kits["north"].folder
    runs = Runs(folder / "runs")
    (one,) = runs
    assert (one.answers, one.rounds) == (1, 4)
    whole = Given.decode(one.amounts["client"] or "")
    assert one.given("client").curve == pytest.approx([x / 4 for x in whole.curve])
    runs.close()
    told = hansa("kit", "show", folder)
    assert "1 of 4 rounds answered; ε = 0.7" in told.output and one.run in told.output
    site = Site(folder, lambda plan, found: owner(NOISY, FOUR), 100)
    with pytest.raises(ProtocolError, match="was over at"):
        site.begin(one.run, NOISY.digest, None)
    site.close()


class NoisySites(Sites):
    """Sites whose owners allow ε = 4."""

    def party(self, who: str) -> h.Client:
        given = super().party(who)
        return h.Client(who, self.plan, self.data[who], FOUR, secret=given.secret)


# ── leaving ──


@pytest.mark.promise("P526")
def test_who_leaves_a_run_keeps_no_reply_of_it_and_answers_no_more(tmp_path: Path) -> None:
    sample = h.Everyone(quorum=2, deadline=60)
    plan = h.Plan(h.Softmax(3, 2), training=h.Training(batch=8), rounds=3, algorithm=h.Scaffold(), sample=sample)
    data = {who: owner(NOISY, FOUR).data for who in ("north", "south")}
    with Sites(tmp_path, plan, data) as sites, sites.runtime() as runtime:
        states = h.synchronous(plan, runtime, secret=h.Key.of(7))
        next(states)
        one = sites.attendants["north"]
        run = one.site.run
        one.stop()
        kit_folder = sites.kits["north"].folder
        told = hansa("leave", run[:6], "--kit", kit_folder)
        assert told.exit_code == 0 and "past rounds" in told.output
        site = Site(kit_folder, lambda digest, found: owner(plan, h.Policy()))
        rows = site._book._file.execute("SELECT reply, question, drawn, digest FROM asked WHERE run = ?", (run,))
        assert rows and all(row[:3] == (None, None, None) and row[3] for row in rows)
        assert not site._book._file.execute("SELECT 1 FROM pending")
        assert site.runs.file.execute("SELECT state FROM runs") == [(None,)]
        with pytest.raises(ProtocolError, match="was left at"):
            site.begin(run, plan.digest, None)
        site.close()
        assert f"run {run}" in (shown := hansa("kit", "show", kit_folder).output) and ", left 20" in shown
        assert hansa("leave", "nothing", "--kit", kit_folder).exit_code == 2
        states.close()


def test_a_kit_shows_what_was_approved(app: Path, made: Authority) -> None:
    hansa("approve", packed(app), "--kit", kit(made, "north"), "--by", "officer")
    assert "by officer: heart, sha256" in hansa("kit", "show", kit(made, "north")).output
