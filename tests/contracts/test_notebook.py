"""What notebooks show, in which every word is text; and what an audit says that it proves."""

from __future__ import annotations

from html.parser import HTMLParser
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

import hansa
from hansa.app.compare import Row
from hansa.app.comparison import Comparison
from hansa.audit.bounds import area_of_a_coin, rate_between
from hansa.audit.canary import Canaries
from hansa.audit.membership import Membership
from hansa.audit.report import AuditReport
from hansa.explain import Explanation, Section
from hansa.explain.statement import Statement
from hansa.privacy.ledger import Guarantee
from hansa.rounds import Round
from hansa.store import Store
from hansa.ui.terminal import Progress, out
from hansa.ui.watched import as_html

HOSTILE = "<script>alert(1)</script>&\x1b[2J"
DATA = {who: (np.eye(4), np.arange(4) % 2) for who in ("north", "south")}


class Tags(HTMLParser):
    def __init__(self, page: str):
        super().__init__()
        self.tags = set[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)


def hostile(folder: Any) -> dict[str, str]:
    """What a notebook shows of each kind of value, all words of which are an attack."""
    happened = Round(1, metrics={HOSTILE: 1.0}, participants=(HOSTILE,), excluded={HOSTILE: HOSTILE}, skipped=HOSTILE)
    told = Explanation((Section(HOSTILE, HOSTILE, (HOSTILE,), ((HOSTILE,),)),), (HOSTILE,))
    progress = Progress(out(), 2, [HOSTILE], [happened])
    labels = {HOSTILE: (np.eye(4), np.array([HOSTILE, "b", "b", "b"]))}
    run = Store(folder / HOSTILE.replace("/", "")[:20]).new(HOSTILE, "digest", HOSTILE, {}, 2)
    return {
        "round": happened._repr_html_(),
        "explanation": told._repr_html_(),
        "statement": Statement(told, HOSTILE, HOSTILE, HOSTILE)._repr_html_(),
        "comparison": Comparison(iter([Row(HOSTILE, 3, {HOSTILE: 0.5})]))._repr_html_(),
        "overview": hansa.overview(labels)._repr_html_(),
        "progress": as_html(progress),
        "run": run._repr_html_(),
    }


@pytest.mark.promise("P704")
@pytest.mark.guards("notebooks escape words")
def test_hostile_words_are_text_in_a_notebook(tmp_path: Any) -> None:
    for name, page in hostile(tmp_path).items():
        assert "script" not in Tags(page).tags, name
        assert "alert(1)" in page and "\x1b" not in page, name


def test_a_plan_and_its_rounds_show_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    """And progress is shown where it is asked for; the states are the same."""
    plan = hansa.Plan(hansa.Softmax(4, 2), rounds=2)
    assert plan.digest in plan._repr_html_() and "Softmax" in plan._repr_html_()
    plain = list(hansa.App(plan, DATA, test=DATA["north"]).run())
    assert capsys.readouterr().out == ""
    app = hansa.App(plan, DATA, test=DATA["north"])
    seen = list(app.run(progress=True))
    assert "round 2/2" in capsys.readouterr().out
    assert [one.x.tobytes() for one in seen] == [one.x.tobytes() for one in plain]
    assert "north, south" in seen[-1]._repr_html_() and "test_accuracy" in seen[-1]._repr_html_()
    compared = app.compare(seen[-1])
    first = next(compared)
    assert first.name == "north alone" and "all data pooled" in compared._repr_html_()
    assert compared.rows[0] is first and len(compared.rows) == 4
    assert list(compared) == list(compared) == compared.rows and next(compared, None) is None


def test_what_cannot_be_compared_is_told_and_raises_nothing() -> None:
    app = hansa.App(hansa.Plan(hansa.Softmax(4, 2), rounds=1), DATA)
    compared = app.compare(list(app.run())[-1])
    for _ in range(2):
        assert "There is nothing to compare on" in compared._repr_html_()


def canaries(shift: float, promised: float | None, why: str = "") -> str:
    """What the report says of 200 canaries; shift: how far scores of those that took part are above the others'."""
    truth = np.arange(200) < 100
    scores = np.random.default_rng(0).normal(size=200) + shift * truth
    found = Canaries(scores, truth, 1e-5, Guarantee(promised, 1e-5, why=why), 1, "the sum")
    return str(AuditReport("Audit", "Plan()", canary=found).told())


@pytest.mark.promise("P706")
def test_an_audit_says_what_it_proves() -> None:
    """What has failed, the promise or the attack; and of an attack that fails that it proves nothing."""
    assert "The promise has failed" in canaries(3.0, 0.5)
    assert "that the promise holds it does not prove" in canaries(1.0, 2.0)
    assert "so few canaries could not refute it" in canaries(3.0, 500.0)
    assert "which proves nothing" in canaries(0.0, 2.0)
    assert "No promise was tested" in canaries(3.0, None, "the plan adds no noise")


def membership(area: float, records: int) -> str:
    """What the report says of so many records, scored in 9 runs; area: of the curve, about."""
    rng = np.random.default_rng(0)
    truth = rng.random(9 * records) < 0.5
    shift = np.sqrt(2) * NormalDist().inv_cdf(area)
    scores = np.minimum(rng.normal(size=len(truth)) + shift * truth, 2.0)  # none of them is far above all others
    report = AuditReport("Audit", "Plan()", membership=Membership(scores, truth, 9, records))
    return str(report.told())


@pytest.mark.promise("P706")
def test_membership_is_told_by_all_guesses_and_with_bounds() -> None:
    """The area counts as much as the surest guesses; of few records neither shows anything."""
    assert "More members are found" in membership(0.8, 1000)
    assert "The attack has failed" in membership(0.5, 40) and "at 95 % confidence" in membership(0.5, 40)
    low, high = rate_between(0.5, 100)
    assert low == pytest.approx(0.419, abs=1e-3) and high == pytest.approx(0.581, abs=1e-3)
    assert area_of_a_coin(100) == pytest.approx(0.5 + 1.645 * np.sqrt(101 / 30_000), abs=1e-3)
