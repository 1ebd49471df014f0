"""The live page under attack: names that are markup, pages of elsewhere, other hosts, what is no page of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text as sql
from sqlalchemy import update
from tests.pages import get, served, stored
from typer.testing import CliRunner

from hansa.cli import commands
from hansa.errors import StoreError
from hansa.store import Store
from hansa.store import database as db
from hansa.ui import about, svg
from hansa.ui.page import reading

EVIL = "<script>alert(1)</script>"
HOSTILE = (EVIL, "\"'><img src=x onerror=alert(1)>", "a\u202egnp.exe", "x" * 300, "two\nlines", "</title></svg><style>")
TAGS = """
a b bdi body br button caption circle dd details div dl dt figcaption figure footer form g h1 h2 h3 head header html
img input label li line link main meta nav p path pre progress rect script section span strong summary svg table tbody
td text th thead title tr tspan ul code
"""


class Markup(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.sources = set[str](), set[str](), set[str]()
        self.text = ""
        self.loaded = list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [tag] * (tag in ("script", "img", "link", "style"))
        self.attributes |= {name for name, _ in attrs}
        self.sources |= {value or "" for name, value in attrs if name in ("src", "href", "action")}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def ids(folder: Path) -> list[str]:
    hostile = stored(folder, 5, HOSTILE, f"{EVIL}.py", {"accuracy": EVIL, "loss": "x" * 300}, EVIL, EVIL)
    store = Store(folder)
    with store.database.write() as connection:
        connection.execute(update(db.runs).where(db.runs.c.id == hostile).values(name=EVIL, note=EVIL))
    words = {"sections": [{"title": EVIL, "text": EVIL, "head": [EVIL], "rows": [[EVIL]]}], "stated": []}
    words["warnings"] = [EVIL]
    told = {"explained": words, "budget": {"epsilon": 9, "delta": 1e-6}, "workers": 0}
    (folder / hostile / about.NAME).write_text(json.dumps(told))
    return [stored(folder, 4), hostile]


@pytest.fixture(scope="module")
def port(folder: Path, ids: list[str]) -> Iterator[int]:
    with served(folder) as found:
        yield found


@pytest.mark.guards("no name is part of a page", "no name is part of a plot", "no letter turns a plot around")
@pytest.mark.promise("P688")
def test_names_are_text_on_every_page(port: int, ids: list[str]) -> None:
    """Of clients, runs, scores, reasons and states; nothing but what the templates hold is a tag."""
    plain, hostile = ids
    paths = (
        "/",
        f"/runs/{hostile}",
        f"/compare?run={plain}&run={hostile}",
        f"/?q={'%22%3E%3Cscript%3E'}",
        "/runs/none",
    )
    for path in paths:
        page = Markup(get(port, path)[2])
        assert page.tags <= set(TAGS.split()), path
        assert page.loaded == ["link"] * 3 + ["script", "img"], path
        assert not [name for name in page.attributes if name.startswith("on") or name == "style"]
        assert not [one for one in page.sources if not re.match(r"[/#?]", one)], path
        assert "\u202e" not in page.text and "</" not in page.text.replace(EVIL, "").replace("</title></svg>", "")
    shown = Markup(get(port, f"/runs/{hostile}")[2]).text
    assert EVIL in shown and "\\u202egnp.exe" in shown and "two lines" in shown and "x" * 300 not in shown
    found = svg.curves({EVIL: [(1, 0.5), (2, 0.4)], "\u202eb": [(1, 1.0)]}, EVIL, x=EVIL, limit=(EVIL, 1.0))
    found += svg.bars({EVIL: 1.0}, EVIL) + svg.strips({EVIL: [0, 1, 2, 2]}, EVIL, [EVIL] * 3)
    assert Markup(found).tags <= set(TAGS.split()) - {"script"} and "\u202e" not in found


@pytest.mark.guards("a page answers its own name alone")
@pytest.mark.promise("P686")
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.2",
        "127.0.0.1.evil.example",
        "evil@127.0.0.1",
        "10.0.0.7",
        "",
        "localhost|evil",
    ],
)
def test_no_page_that_was_bound_to_another_name_is_answered(port: int, host: str) -> None:
    assert get(port, "/", Host=host)[0] in (400, 421)
    for own in ("localhost", f"127.0.0.1:{port}", "[::1]:80", "LOCALHOST:1", "127.0.0.2"):
        assert get(port, "/", Host=own)[0] == 200


@pytest.mark.guards("a page answers no page of elsewhere")
@pytest.mark.promise("P686")
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_elsewhere_gets_nothing(port: int, site: str) -> None:
    """Not by a script, an image or a frame; a person may follow a link, and a frame shows it nowhere."""
    for mode in ("no-cors", "cors", "same-origin"):
        assert get(port, "/", Sec_Fetch_Site=site, Sec_Fetch_Mode=mode)[0] == 403
    status, headers, _ = get(port, "/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate")
    assert status == 200 and "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin" and "Access-Control-Allow-Origin" not in headers


@pytest.mark.guards("a page is read, and nothing else")
@pytest.mark.promise("P685")
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT"])
def test_nothing_but_get_is_answered(port: int, ids: list[str], method: str) -> None:
    for path in ("/", f"/runs/{ids[0]}"):
        assert get(port, path, method)[0] in (400, 405)


@pytest.mark.guards("every answer forbids what is not this page's")
@pytest.mark.promise("P687")
def test_every_answer_loads_and_runs_nothing_of_elsewhere(port: int, ids: list[str]) -> None:
    """Errors and files too."""
    for path in ("/", f"/runs/{ids[1]}", "/page.js", "/plain.css", "/nothing", "/runs/none", "/compare", "/icon.svg"):
        policy = get(port, path)[1].get("Content-Security-Policy", "")
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy and "*" not in policy and "http" not in policy
    assert "'none'" in get(port, "/", Host="evil.example")[1]["Content-Security-Policy"]


@pytest.mark.guards("a report has no origin")
@pytest.mark.promise("P687")
def test_a_report_that_is_another_file_runs_nothing(folder: Path, port: int, ids: list[str]) -> None:
    (folder / ids[0] / "report.html").write_text(EVIL)
    status, headers, text = get(port, f"/runs/{ids[0]}/report")
    assert (status, text) == (200, EVIL)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "sandbox" in policy and "script" not in policy


@pytest.mark.guards("a report is no link")
@pytest.mark.promise("P685")
def test_a_report_that_leads_elsewhere_is_none(tmp_path: Path) -> None:
    id = stored(tmp_path / "runs", 3)
    (tmp_path / "secret").write_text("s" * 32)
    (tmp_path / "runs" / id / "report.html").symlink_to(tmp_path / "secret")
    with served(tmp_path / "runs") as port:
        status, _, text = get(port, f"/runs/{id}/report")
        assert status == 404 and "s" * 32 not in text
        assert "Its report" not in get(port, f"/runs/{id}")[2]
    with pytest.raises(OSError):
        os.open(tmp_path / "runs" / id / "report.html", reading.NO_LINK)


@pytest.mark.guards("damaged words of a plan are nothing")
@pytest.mark.parametrize(
    "told",
    [
        {"budget": {"epsilon": 1e400, "delta": 1}},
        {"budget": {"epsilon": True, "delta": "\ud800"}},
        {"workers": 1e400},
        {"workers": -1},
        {"rows": [["1", "2", "3"]]},
        {"title": "\ud800\u202e\x1b"},
    ],
)
def test_damaged_words_of_a_plan_are_not_shown(folder: Path, port: int, ids: list[str], told: dict[str, Any]) -> None:
    section = {"title": "a", "text": "b", "head": ["step"], "rows": [["1"]]}
    section |= {name: told[name] for name in section if name in told}
    found = {"explained": {"sections": [section], "warnings": [], "stated": []}, "budget": None, "workers": 0}
    found |= {name: told[name] for name in found if name in told}
    (folder / ids[0] / about.NAME).write_text(json.dumps(found))
    status, _, text = get(port, f"/runs/{ids[0]}")
    assert status == 200 and ("Nobody has written it down" in text) == ("title" not in told)
    assert not {"\u202e", "\x1b"} & set(text)


@pytest.mark.guards("no setting turns a line around")
@pytest.mark.promise("P688")
def test_no_setting_turns_a_line_around(tmp_path: Path) -> None:
    id = stored(tmp_path, 3)
    store = Store(tmp_path)
    with store.database.write() as connection:
        connection.execute(
            update(db.runs).values(settings=json.dumps({"a": "b\u202ec"}), plan="P\u202e", digest="\u202e")
        )
    with served(tmp_path) as port:
        text = get(port, f"/runs/{id}")[2]
    assert text.count("\\u202e") == 3 and "\u202e" not in text


@pytest.mark.guards("who reads makes no store")
@pytest.mark.promise("P685")
def test_a_database_without_tables_stays_one(tmp_path: Path) -> None:
    """As while it is being copied back; and what is not there is not made."""
    id = stored(tmp_path, 3)
    file = tmp_path / "hansa.sqlite"
    whole = file.read_bytes()
    with served(tmp_path) as port:
        file.write_bytes(b"")
        assert get(port, "/")[0] == 503 and file.read_bytes() == b""
        file.write_bytes(whole)
        assert id in get(port, "/")[2]
    with pytest.raises(StoreError):
        Store(tmp_path / "none", new=False)
    assert not (tmp_path / "none").exists()


@pytest.mark.guards("a damaged run hides no other")
def test_a_damaged_run_hides_no_other(tmp_path: Path) -> None:
    """It says of itself that it is damaged; a store's own list, which sums are made of, is refused."""
    whole, damaged = stored(tmp_path, 3), stored(tmp_path, 4)
    store = Store(tmp_path)
    with store.database.write() as connection:
        connection.execute(sql("UPDATE rounds SET scores = '?' WHERE run = :run"), {"run": damaged})
    with pytest.raises(StoreError):
        store.runs()
    with served(tmp_path) as port:
        status, _, page = get(port, "/")
        assert status == 200 and f"/runs/{whole}" in page and page.count(">damaged<") == 1
        assert get(port, f"/runs/{damaged}")[0] == 404 and get(port, f"/runs/{whole}")[0] == 200


@pytest.mark.guards("others need the token", "who asks by a loopback name needs the token too")
@pytest.mark.promise("P686")
def test_a_page_that_others_reach_is_for_who_has_its_token(folder: Path, ids: list[str]) -> None:
    """`Host: localhost` is what anybody can write."""
    with served(folder, token="secret-of-this-server") as port:
        for path in (
            "/",
            "/events",
            f"/runs/{ids[0]}",
            "/page.js",
            "/?token=",
            "/?token=secret-of-this-serve",
            "/?token=ü",
        ):
            path = path.replace("ü", "%C3%BC")
            for host in ("localhost", "hansa.example"):
                assert get(port, path, Host=host, Cookie=f"hansa-ui-{port}=guess")[0] == 401, path
        status, headers, _ = get(port, "/?token=secret-of-this-server", Host="hansa.example")
        assert (status, headers["Location"]) == (303, "/")
        assert "HttpOnly" in headers["Set-Cookie"] and "SameSite=Lax" in headers["Set-Cookie"]
        cookie = headers["Set-Cookie"].split(";")[0]
        assert get(port, f"/runs/{ids[0]}", Host="hansa.example", Cookie=cookie)[0] == 200
        assert str(port) in cookie.split("=")[0], "another server's would take its place"
        assert get(port, "//evil.example/?token=secret-of-this-server")[1]["Location"] == "/evil.example/"


@pytest.mark.control("no path leads to a file: there is none that is read by its name")
@pytest.mark.promise("P685")
def test_no_other_file_is_served_and_none_is_changed(folder: Path, port: int, ids: list[str]) -> None:
    """Neither of a run's folder nor outside it; after all pages the store has the bytes that it had."""
    (folder / ids[0] / "secret").write_bytes(b"s" * 32)
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}
    for path in (
        f"/runs/{ids[0]}/secret",
        "/../../etc/passwd",
        "/runs/..",
        "/runs/%2e%2e/%2e%2e",
        "/runs/a%2fb",
        "/__init__.py",
    ):
        assert get(port, path)[0] == 404, path
    for path in ("/", f"/runs/{ids[0]}", f"/runs/{ids[0]}/rounds.csv", f"/compare?run={ids[0]}&run={ids[1]}"):
        status, _, text = get(port, path)
        assert status == 200 and "s" * 32 not in text
    assert before == {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.guards("a host is looked at before it is listened on")
@pytest.mark.parametrize("host", ["", "no such name", "127.0.0.1:80", "\x00", "203.0.113.9"])
def test_what_is_no_address_of_this_machine_is_told_so(host: str, tmp_path: Path) -> None:
    """And no other port is advised."""
    found = CliRunner().invoke(commands, ["ui", "--folder", str(tmp_path), "--port", "0", "--host", host])
    assert found.exit_code == 2 and "Name an address" in " ".join(found.output.split())
