"""Every attack names the defence that it guards, and every defence can be taken away."""

from __future__ import annotations

import ast

import pytest
from tests.attacks.defence import Defence
from tests.attacks.defences import DEFENCES, EVERY
from tests.marked import ROOT, functions, marked

SOURCE = ROOT / "src" / "hansa"


def test_every_attack_names_its_defence() -> None:
    attacks = {
        test: marks
        for test, marks in functions().items()
        if test.startswith("tests/attacks/") and "test_defences.py" not in test
    }
    assert len(attacks) > 50
    assert not [test for test, marks in attacks.items() if not marks.get("guards") and not marks.get("control")]


def test_every_defence_is_attacked_and_every_guarded_one_is_known() -> None:
    assert marked("guards").keys() == DEFENCES.keys()
    assert len(DEFENCES) == sum(map(len, EVERY)), "two have one name"


@pytest.mark.parametrize("defence", DEFENCES.values(), ids=DEFENCES)
def test_a_defence_can_be_taken_away(defence: Defence) -> None:
    for file, old, new in defence.edits:
        source = (SOURCE / file).read_text(encoding="utf-8")
        assert source.count(old) == 1, f"{file} does not say this once: {old}"
        assert ast.dump(ast.parse(source.replace(old, new))) != ast.dump(ast.parse(source))
