"""The pages say what a verified sum rests on, and promise nothing that takes a network between organisations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hansa as h

ROOT = Path(__file__).resolve().parents[2]
PLAIN, DEEP = (ROOT / "docs" / "verified" / f"for-{who}.md" for who in ("data-protection", "cryptographers"))


def said(path: Path) -> str:
    return " ".join(path.read_text("utf-8").split())


@pytest.mark.parametrize(
    "path, words",
    [
        (PLAIN, ("do not collude", "roster are real", "must not be the server's", "Enough honest hospitals")),
        (DEEP, ("one aggregator", "names real clients", "is not the server's", "clients in it are honest")),
        (ROOT / "docs/reference/crypto.md", ("one of them is honest", "the clients are real", "enough honest")),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_every_page_names_all_three_assumptions(path: Path, words: tuple[str, ...]) -> None:
    assert [word for word in words if word not in said(path)] == []
    assert "alone learns no vector" not in said(path)


def test_pages_say_what_a_liar_does_to_the_mean() -> None:
    """The numbers are those of `VerifiedSum.moved`, for C = 1 and c = 200."""
    pipe = (h.Clip(1.0), h.Weigh("examples", cap=200))
    plan = h.Plan(
        h.Softmax(4, 3), pipe=pipe, aggregator=h.VerifiedSum(), training=h.Training(report=False),
        sample=h.Everyone(quorum=3),
    )  # fmt: skip
    near, far = (plan.aggregator.moved(plan.encoded_spec, others)["delta"] for others in (2.0, 400.0))
    assert f"{near:.0f}" == "67" and "moves the mean by up to 67" in said(PLAIN)
    assert f"{far:.2f}" == "0.67" and "of 200 examples by up to 0.67" in said(PLAIN)
    assert "≤ f·C·(c + w) / (W + f·w)" in said(DEEP)


def test_the_plain_page_says_who_knows_the_sum_and_what_is_kept() -> None:
    text = re.sub(r" <!--.*?-->", "", PLAIN.read_text("utf-8"))
    rows = [line for line in text.splitlines() if line.startswith("| other hospitals |")]
    assert rows == [
        "| other hospitals | no | no, if there are enough of you | yes, from the model | yes | no, unless told |"
    ]
    assert "With two hospitals, each knows the other's update." in said(PLAIN)
    assert "## What is kept where, and for how long" in PLAIN.read_text("utf-8")
    assert not re.search(r"\b(lists?|lengths?)\b", said(PLAIN).split("```")[0])


@pytest.mark.parametrize(
    "path", ["README.md", "pyproject.toml", "mkdocs.yml", "docs/index.md", "src/hansa/__init__.py"]
)
def test_the_first_words_speak_of_a_simulation(path: str) -> None:
    first = said(ROOT / path)[:1500]
    assert "simulated" in first and "none shows" not in first
