"""The live page in a real browser: a run that goes on, ten thousand rounds, a server that comes back, and who reads it
in which way.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest
from sqlalchemy import update
from tests.pages import get, served, stored

import hansa as h
from hansa.privacy.ledger import NAMED, taken_on_trust
from hansa.rounds import Round
from hansa.store import Store, files
from hansa.store import database as db
from hansa.ui import about, figure, report, svg
from hansa.ui.page import server
from hansa.ui.profile import Clock

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
SEEN = "document.querySelector('main').innerText"


def until(page: Page, words: str, where: str = "main") -> None:
    """Wait until a part of the page says this."""
    from playwright.sync_api import expect

    expect(page.locator(where)).to_contain_text(words, timeout=30_000)


@pytest.fixture(scope="module")
def browser(absent: Callable[[str], NoReturn]) -> Iterator[Browser]:
    """A Chromium of the system's, one for all tests here."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        absent(f"no browser: none of {', '.join(PROGRAMS)} is on PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@dataclass
class Reader:
    """Opens pages, and knows what they asked for and what the browser had to say."""

    browser: Browser
    words: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, port: int, path: str = "/", width: int = 1280, dark: bool = False) -> Page:
        scheme: Any = "dark" if dark else "light"
        context = self.browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: self.words.append(message.text))
        page.on("pageerror", lambda error: self.words.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(f"http://127.0.0.1:{port}{path}")
        return page


@pytest.fixture
def reader(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.setattr(server, "EVERY", 0.05)
    found = Reader(browser)
    yield found
    for context in browser.contexts:
        context.close()


def app(rounds: int = 6) -> h.App:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 40, 3)).astype(np.float32)
    data = {who: (x[i], (x[i, :, 0] > 0).astype(int)) for i, who in enumerate(("north", "south", "west", "east"))}
    training = h.Training(batch=10, learning_rate=0.5)
    plan = h.Plan(h.Softmax(3, 2), training=training, sample=h.Everyone(quorum=2), rounds=rounds)
    return h.App(plan, data, test=(x[0], (x[0, :, 0] > 0).astype(int)))


@pytest.mark.promise("P685", "P687")
def test_a_page_follows_a_run_while_it_goes_on(reader: Reader, tmp_path: Path) -> None:
    """Real rounds of a real run; what a person has opened stays open, what has the focus keeps it, nothing is loaded
    from elsewhere, and who hears the page is told."""
    one = app()
    run = Store(tmp_path).new(repr(one.known_plan), one.known_plan.digest, "hospitals.py", {}, 6)
    about.keep(one, run.folder)
    with served(tmp_path) as port:
        page = reader.open(port, f"/runs/{run.id}")
        assert "No round is done yet" in page.evaluate(SEEN) and "Who sees what" in page.evaluate(SEEN)
        page.evaluate("window.same = true")
        states = one.run(run)
        next(states)
        page.wait_for_selector("[data-plot=loss] path", state="attached")
        page.click("[data-plot=loss] summary")
        page.focus("[data-plot=accuracy] summary")
        for n in range(2, 7):
            next(states)
            until(page, f"The last {n} of {n} rounds")
        assert next(states, None) is None
        run.finish("done")
        page.wait_for_selector(".status.done")
        assert page.evaluate("window.same") and page.is_visible("[data-plot=loss] table")
        assert page.evaluate("document.activeElement.closest('figure').dataset.plot") == "accuracy"
        assert re.fullmatch(r"Round 6 of 6 is done, .*loss \S+, .*the run is done\.", page.text_content("#told") or "")
        rows = page.locator("[data-plot=loss] tbody tr")
        last = run.history()[-1]
        assert f"{last.scores['loss']:.3f}" in (rows.last.text_content() or "")
        page.hover("[data-plot=loss] .stop:last-of-type rect")
        assert page.locator("[data-plot=loss] .stop:last-of-type text").is_visible()
        strip = page.locator(".strips li").first
        assert strip.locator("svg").get_attribute("aria-label") == "took part 6"
    assert not reader.words and {url.split("/")[2] for url in reader.asked} == {f"127.0.0.1:{port}"}


@pytest.mark.promise("P689")
def test_ten_thousand_rounds_stay_quick(reader: Reader, tmp_path: Path) -> None:
    """A page of them is made in a second, with some hundred points of a line; of tables it is said that they are
    shortened, and all is there as CSV. Peaks are drawn."""
    id = stored(tmp_path, 10_000, status="running")
    with served(tmp_path) as port:
        get(port, f"/runs/{id}")
        begin = time.process_time()
        text = get(port, f"/runs/{id}")[2]
        assert time.process_time() - begin < 3 and len(text) < 600_000
        page = reader.open(port, f"/runs/{id}")
        assert page.evaluate("document.querySelectorAll('*').length") < 10_000
        page.click("[data-plot=loss] summary")
        assert page.inner_text("[data-plot=loss] caption") == "200 of 10001 rounds, evenly spread"
        assert page.inner_text(".log caption").startswith("The last 30 of 10000 rounds")
        assert len(get(port, f"/runs/{id}/rounds.csv")[2].splitlines()) == 10_001
    line = [(float(i), float(i == 7_777)) for i in range(10_000)]
    assert (7_777, 1) in svg.thinned(line) and len(svg.thinned(line)) <= svg.MOST_POINTS


@pytest.mark.promise("P689")
def test_a_server_that_comes_back_is_found_again(reader: Reader, tmp_path: Path) -> None:
    """What happened meanwhile is shown without a reload; so is what a store has that is moved away and back."""
    one = app()
    run = Store(tmp_path / "runs").new(repr(one.known_plan), one.known_plan.digest, "hospitals.py", {}, 6)
    states = one.run(run)
    next(states)
    with served(tmp_path / "runs") as port:
        page = reader.open(port, f"/runs/{run.id}")
        page.evaluate("window.same = true")
        next(states)
        until(page, "The last 2 of 2 rounds")
    page.wait_for_selector("#link:not([hidden])")
    assert "No connection" in page.inner_text("#link")
    next(states)
    with served(tmp_path / "runs", port):
        until(page, "The last 3 of 3 rounds")
        assert page.evaluate("window.same") and page.is_hidden("#link")
        (tmp_path / "runs" / "hansa.sqlite").rename(tmp_path / "away")
        until(page, "There are no runs in", "#link")
        assert get(port, f"/runs/{run.id}")[0] == 503
        (tmp_path / "away").rename(tmp_path / "runs" / "hansa.sqlite")
        next(states)
        until(page, "The last 4 of 4 rounds")
        assert page.is_hidden("#link")


@pytest.mark.promise("P689")
def test_a_stream_begins_where_the_reader_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By Last-Event-ID: who has what is shown hears nothing, who has another version hears at once."""
    monkeypatch.setattr(server, "EVERY", 0.05)
    id = stored(tmp_path, 3)
    with served(tmp_path) as port:
        for path in ("/events", f"/runs/{id}/events"):
            first = heard(port, path, {"Last-Event-ID": "0"})
            assert first.startswith("retry: 1000\n\nid: ") and '"told"' in first
            version = first.split("id: ")[1].split("\n")[0]
            assert heard(port, path, {"Last-Event-ID": version}) == "retry: 1000\n\n"
            assert heard(port, f"{path}?after={version}", {}) == "retry: 1000\n\n"


def heard(port: int, path: str, headers: dict[str, str]) -> str:
    """What a stream says in its first moments."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *(f"{k}: {v}" for k, v in headers.items())]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        connection.settimeout(0.4)
        found = b""
        with suppress(TimeoutError):
            while more := connection.recv(4096):
                found += more
    chunks = found.decode().partition("\r\n\r\n")[2].split("\r\n")
    return "".join(chunks[1::2])


def test_the_list_grows_and_what_was_chosen_stays_chosen(reader: Reader, tmp_path: Path) -> None:
    """A new run comes in front of the others, and moves no mark to another."""
    first = stored(tmp_path, 3)
    with served(tmp_path) as port:
        page = reader.open(port)
        page.check(f"input[value='{first}']")
        second = stored(tmp_path, 4, app="later.py")
        until(page, second)
        assert page.locator(".runs li").first.get_attribute("data-key") == second
        assert page.is_checked(f"input[value='{first}']") and not page.is_checked(f"input[value='{second}']")
        page.fill("#q", "later")
        page.click(".find button")
        until(page, "1 run, the latest first")
        assert first not in page.evaluate(SEEN) and second in page.evaluate(SEEN)


def test_what_a_run_has_noted_when_it_began_is_told(tmp_path: Path) -> None:
    """Its plan in words, its budget, and where a round's time goes; what is damaged is not told, and breaks nothing."""
    id = stored(tmp_path, 5)
    pipe = (h.Clip(1.0, side=1.0), h.Weigh("one"), h.GaussianNoise(5.0))
    noisy = replace(app().known_plan, pipe=pipe)
    about.keep(replace(app(), plan=noisy, budget=h.Budget(40.0, 1e-6)), tmp_path / id)
    clock = Clock(tmp_path / id / "profile.txt")
    for part, seconds in (("round", 4.0), ("wait", 3.0), ("train", 2.0), ("commit", 0.5)):
        clock.note(part, seconds)
    with served(tmp_path) as port:
        text = get(port, f"/runs/{id}")[2]
        assert "The budget is ε 40 at δ 1e-06" in text and "ε of 40" in text and "who sees what" in text.lower()
        assert "where 4.0 s went" in text and ">2.00 s<" in text and ">0.50 s<" in text
        for file, damaged in ((about.NAME, '{"explained": 1}'), (about.NAME, "["), ("profile.txt", "wait ten\n")):
            (tmp_path / id / file).write_text(damaged)
            status, _, text = get(port, f"/runs/{id}")
            assert status == 200 and "Nobody has written it down" in text
        assert "cannot be read" in text


def test_another_database_in_its_place_is_another_store(tmp_path: Path) -> None:
    """As after a restore: nothing of the old one is shown."""
    old = stored(tmp_path / "runs", 3)
    new = stored(tmp_path / "other", 4)
    with served(tmp_path / "runs") as port:
        assert get(port, f"/runs/{old}")[0] == 200
        (tmp_path / "other" / "hansa.sqlite").replace(tmp_path / "runs" / "hansa.sqlite")
        assert get(port, f"/runs/{old}")[0] == 404
        assert new in get(port, "/")[2] and "4 of 4 rounds" in get(port, f"/runs/{new}")[2]


def test_the_command_says_where_it_is_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """Before there is any run, too."""
    command = [sys.executable, "-m", "hansa", "ui", "--folder", str(tmp_path / "runs"), "--port"]
    process = subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rsplit(":", 1)[1].strip(" /\n"))
        status, _, text = get(port, "/")
        assert status == 503 and "There are no runs in" in text and not (tmp_path / "runs").exists()
        id = stored(tmp_path / "runs", 3)
        assert get(port, "/")[0] == 200 and id in get(port, "/")[2]
        taken = subprocess.run([*command, str(port)], capture_output=True, text=True, timeout=60)
        assert taken.returncode == 2 and f"127.0.0.1:{port} cannot be listened on" in " ".join(taken.stderr.split())
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.promise("P690")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_can_be_read_in_every_way(reader: Reader, tmp_path: Path, dark: bool) -> None:
    """axe finds nothing; nothing is wider than a screen of 390 to 1,600 pixels; plots have letters of 11 pixels at
    least; the keyboard reaches all, the content first."""
    from axe_playwright_python.sync_playwright import Axe

    names = ("north", "圣玛丽医院", "x" * 300, "مستشفى الملك")
    ids = [stored(tmp_path, 30, names, why="refused"), stored(tmp_path, 20, status="running"), stored(tmp_path, 8)]
    paths = ("/", f"/runs/{ids[0]}", "/compare?" + "&".join(f"run={id}" for id in ids), "/runs/none", "/?q=nothing")
    with served(tmp_path) as port:
        for path, width in zip(paths, (390, 390, 800, 1600, 390), strict=True):
            page = reader.open(port, path, width, dark)
            page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
            found = Axe().run(page)
            assert not found.violations_count, found.generate_report()
            for wide in (390, 800, 1600):
                page.set_viewport_size({"width": wide, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth") <= wide, path
            sizes = page.evaluate(
                "[...document.querySelectorAll('svg text')].map((t) => parseFloat(getComputedStyle(t).fontSize))"
            )
            assert all(size >= 11 for size in sizes)
        page = reader.open(port, "/", dark=dark)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "To the content"
        for id in ids[:2]:
            page.focus(f"input[value='{id}']")
            page.keyboard.press("Space")
        page.keyboard.press("Enter")
        page.wait_for_url("**/compare?*")
        assert all(id in page.evaluate(SEEN) for id in ids[:2]) and ids[2] not in page.evaluate(SEEN)


@pytest.mark.promise("P687")
def test_a_report_loads_nothing_and_shows_its_plots(reader: Reader, tmp_path: Path) -> None:
    """From the disk, by its own policy; axe finds nothing."""
    from axe_playwright_python.sync_playwright import Axe

    one = app()
    rounds = [state.happened for state in one.run()]
    data = report.ReportData("hospitals", "20260102", tuple(rounds), 6, list(one.data), one.explain())
    path = report.write(data, tmp_path)
    page = reader.browser.new_page()
    page.goto(path.as_uri())
    assert page.locator("[data-plot=loss] path").count() == 2 and page.locator(".strips li svg").count() == 4
    assert page.evaluate("getComputedStyle(document.querySelector('path.s0')).stroke") == "rgb(0, 114, 178)"
    found = Axe().run(page)
    assert not found.violations_count, found.generate_report()
    page.close()


def changed(folder: Path, table: Any, **values: Any) -> None:
    """All rows of a table have other values."""
    store = Store(folder)
    with store.database.write() as connection:
        connection.execute(update(table).values(values))
    store.database.close()


def test_no_epsilon_is_shown_without_what_it_rests_on(tmp_path: Path) -> None:
    """Against whom it does not hold, and on whose word: beside the fact, under Privacy, and uncut beside other runs."""
    ids = [stored(tmp_path, 3), stored(tmp_path, 4)]
    changed(tmp_path, db.rounds, named=1)
    told = {"explained": {"sections": [], "warnings": [], "stated": ["Vendor"]}, "budget": None, "workers": 0}
    (tmp_path / ids[0] / about.NAME).write_text(json.dumps(told))
    with served(tmp_path) as port:
        text = get(port, f"/runs/{ids[0]}")[2]
        assert text.count(NAMED) == 2 and text.count(taken_on_trust(["Vendor"])) == 2
        assert get(port, f"/compare?run={ids[0]}&run={ids[1]}")[2].count(NAMED) == 2


def test_a_score_may_have_the_name_of_a_plot(tmp_path: Path) -> None:
    """Neither takes the place of the other."""
    id = stored(tmp_path, 3, names={"loss": "seconds", "accuracy": "privacy"})
    with served(tmp_path) as port:
        plots = re.findall(r'data-plot="([^"]*)"', get(port, f"/runs/{id}")[2])
    ours = ["ε spent, for each client", "who took part", "seconds a round"]
    assert sorted(plots) == sorted(["seconds", "privacy", "loss", "accuracy", *ours])


@pytest.mark.parametrize(
    ("name", "line", "labels", "words"),
    [
        ("loss", [(1, 1e-5), (2, 3e-5)], ["1e-05", "1.5e-05", "2e-05", "2.5e-05", "3e-05"], "a: 1e-05 at round 1,"),
        ("accuracy", [(1, 0.9991), (2, 0.9994)], ["99.91 %", "99.92 %", "99.93 %", "99.94 %"], "99.94 % at round 2"),
        ("loss", [(1, 123456.0), (2, 123470.0)], ["123460", "123465", "123470"], "a: 123456 at round 1, 123470"),
        ("loss", [(1234567, 0.2), (1234568, 0.4)], ["0.2", "0.25", "0.3", "0.35", "0.4"], "at round 1234568."),
        ("loss", [(1, 1.7e308), (2, -1.7e308)], ["-1e+308", "0", "1e+308"], "1.7e+308 at round 1"),
        ("ε", [(1, 2.0), (2, math.inf), (3, math.inf)], ["1.8", "1.9", "2", "2.1", "2.2"], "unbounded from round 2 on"),
    ],
)
def test_numbers_on_a_plot_are_those_of_its_points(
    name: str, line: list[tuple[int, float]], labels: list[str], words: str
) -> None:
    """Labels are told apart, the sentence has figures enough, the largest floats have a place, and what is unbounded
    is said."""
    found = svg.curves({"a": line}, name, show=partial(figure, name))
    assert re.findall(r'text-anchor="end">([^<]*)</text>', found)[: len(labels)] == labels
    assert words in re.findall('aria-label="([^"]*)"', found)[0] and "nan" not in found
    report.html(report.ReportData("t", "r", (Round(1, scores={name: 1.7e308}),), 1, ["a"], app().explain()))


def test_no_bar_is_narrower_than_nothing() -> None:
    assert "inf" not in svg.bars({"a": 1.7e308, "b": -1.7e308}, "t", zero=False)
    with pytest.raises(ValueError, match="begin at 0"):
        svg.bars({"a": -5.0, "b": 1.0}, "t")


def test_an_open_page_hears_of_report_label_and_words(tmp_path: Path) -> None:
    """They come without a round; so they are part of the version."""
    id = stored(tmp_path, 3)
    found = list[str]()
    with served(tmp_path) as port:
        for change in (
            lambda: None,
            lambda: (tmp_path / id / "report.html").write_text("x"),
            lambda: (tmp_path / id / about.NAME).write_text("{}"),
            lambda: changed(tmp_path, db.runs, name="called"),
        ):
            change()
            found += re.findall('data-version="([^"]*)"', get(port, f"/runs/{id}")[2])
        assert len(set(found)) == 4
        assert heard(port, f"/runs/{id}/events?after={found[-1]}", {}) == "retry: 1000\n\n"


def test_rows_with_one_key_are_all_kept(reader: Reader, tmp_path: Path) -> None:
    stored(tmp_path, 3)
    table = "<table><tr data-key=q><td>%d<tr data-key=q><td>%d<tr data-key=q><td>%d</table>"
    with served(tmp_path) as port:
        page = reader.open(port)
        page.evaluate(f"document.body.innerHTML = `{table % (1, 2, 3)}{table % (4, 5, 6)}`")
        page.evaluate("renew(...document.querySelectorAll('table'))")
        assert page.inner_text("table >> nth=0").split() == ["4", "5", "6"]


def test_two_who_look_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Who looks holds nothing; who holds is seen by all."""
    path = tmp_path / "lock"
    path.touch()
    with open(path, "a+") as looking:
        files._lock(looking, shared=True)
        assert not files.held(path)
    holding = files.hold(path)
    assert holding is not None and files.held(path)
    holding.close()


# ── colours, by numbers ──────────────────────────────────────────────────────────────────────────────────────────────

EYES = {  # of whom one kind of cone is missing, on linear RGB (Machado, Oliveira and Fernandes 2009, severity 1)
    "all": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
OKLAB = (  # Ottosson 2020
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
)


def linear(colour: str) -> Any:
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """(L₁ + 0.05) / (L₂ + 0.05), of WCAG 2.2."""
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05 for colour in (one, other))
    return high / low


def seen(colour: str, eye: str) -> Any:
    """In OKLab, by eyes of a kind."""
    return OKLAB[1] @ np.cbrt(OKLAB[0] @ np.clip(np.array(EYES[eye]) @ linear(colour), 0, 1))


@pytest.mark.promise("P690")
@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_are_told_apart_by_all_eyes(scheme: int) -> None:
    """Text 4.5 to 1, lines 3 to 1 (WCAG 2.2, AA); two lines of one plot lie 0.08 apart in OKLab, where 0.02 is just
    seen, also for those who see no red, green or blue."""
    css = (Path(svg.__file__).parent / "plain.css").read_text()
    block = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    ground = colours["ground"]
    for name in ("ink", "quiet", "accent", "warn"):
        for on in (ground, colours["soft"], colours["warn-soft"]):
            assert contrast(colours[name], on) >= 4.5, (name, on)
    lines = [colours[f"s{i}"] for i in range(svg.COLOURS)]
    assert all(contrast(one, ground) >= 3 for one in lines)
    for eye in EYES:
        for one, other in itertools.combinations(lines, 2):
            assert np.linalg.norm(seen(one, eye) - seen(other, eye)) >= 0.08, (eye, one, other)
