"""Every attack names the defence that it guards, and every defence can be taken away."""

from __future__ import annotations

import ast

import pytest
from tests.attacks.defence import Defence
from tests.attacks.defences import AGGREGATORS, DEFENCES, LIARS, PRIVACY, PROOFS, ROUNDS
from tests.attacks.defences_noise import HIDING
from tests.attacks.defences_rest import REST
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
    parts = (PROOFS, AGGREGATORS, ROUNDS, PRIVACY, LIARS, HIDING, REST)
    assert len(DEFENCES) == sum(map(len, parts)), "two have one name"


@pytest.mark.parametrize("defence", DEFENCES.values(), ids=DEFENCES)
def test_a_defence_can_be_taken_away(defence: Defence) -> None:
    source = (SOURCE / defence.file).read_text(encoding="utf-8")
    without = source
    for old, new in defence.edits:
        assert source.count(old) == 1, f"{defence.file} does not say this once: {old}"
        without = without.replace(old, new)
    assert ast.dump(ast.parse(without)) != ast.dump(ast.parse(source))
