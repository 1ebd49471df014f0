"""What a person sees: live progress in the terminal, the report of a run, the live page. Readers of
states only.

live       follow a run to its end, then compare, draw and write
terminal   the live view, and tables
errors     errors of one paragraph, and bugs
report     one HTML file
page       runs in a browser, while they go on
svg        plots of a page, and the numbers behind them
figures    which plots a run has
about      what is known of a run when it begins
plots      plots as PNG, where no page is
profile    where a round's time goes

Here is what they share: which of a round's words may be shown, and how scores are told. A score is
seen by up to three sides, and each place names the side that it shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ..errors import printable
from ..metrics import DEFINED
from ..privacy.ledger import taken_on_trust
from ..rounds import BEGUN, NAMED, Round

HIDDEN = "who took part is a secret that ε rests on"

# The same score may be taken on the test data, on what clients kept from training, and while they
# trained.
SIDES = {
    "test_": "the central test",
    "val_": "the clients' validation",
    "personal_": "the clients' own models, on their validation",
    "": "training examples",
}
OWN = "personal_"  # not another witness of the global model: a score of others


def shown(one: Round) -> Round:
    """A round for screens: its words command no terminal, and a secret sample is nobody's.

    Names of clients and reasons come from clients, and may hold what a terminal obeys.
    """
    if one.hidden:
        one = replace(one, participants=(), excluded={})
    there = tuple(map(printable, one.participants))
    excluded = {printable(who): printable(why) for who, why in one.excluded.items()}
    skipped = printable(one.skipped)
    return replace(one, participants=there, excluded=excluded, skipped=skipped)


def scores(metrics: Mapping[str, float]) -> dict[str, float]:
    """Each score of the global model once, from the best witness: central test, clients'
    validation, training; the loss first.

    metrics: as `Round.witnessed` has them, test_… and val_… by their sides. For how many clients a
    score is defined stands beside the score that they have seen, and beside no other's.
    """
    found: dict[str, float] = {}
    seen: dict[str, str] = {}  # score → its witness
    for side in SIDES:
        for name in metrics:
            if _side(name) == side != OWN and not name.endswith(DEFINED):
                seen.setdefault(_bare(name, side), side)
    for name, value in metrics.items():
        side = _side(name)
        bare = _bare(name, side)
        if side != OWN and seen.get(bare.removesuffix(f"_{DEFINED}"), side) == side:
            found[bare] = value
    return dict(sorted(found.items(), key=lambda pair: pair[0] != "loss"))


def own_scores(metrics: Mapping[str, float]) -> dict[str, float]:
    """The scores of the clients' own models, on their validation, where they have some.

    Each is called "own …": beside one of the global model it is a score of something else.
    """
    own = {name.removeprefix(OWN): value for name, value in metrics.items() if _side(name) == OWN}
    return {f"own {name}": value for name, value in own.items()}


def all_scores(metrics: Mapping[str, float]) -> dict[str, float]:
    """Those of the global model, then those of the clients' own."""
    return scores(metrics) | own_scores(metrics)


def witness(metrics: Mapping[str, float]) -> str:
    """On what the scores of a round were taken: the best side that has seen any."""
    return next((words for side, words in SIDES.items() if side in map(_side, metrics)), "")


def private(one: Round, stated: Sequence[str] = ()) -> str:
    """What has been given away, where it is known: ε, its δ, of whom; against whom it does not
    hold; and on whose word it rests, for noise that is `stated`.
    """
    found = "; ".join(
        f"ε {spent.epsilon:.3g} at δ {spent.delta:.2g} for each {unit}"
        for unit, spent in one.spent.items()
    )
    if found and one.named:
        found += f" ({NAMED})"
    if found and stated:
        found += f", {taken_on_trust(stated)}"
    return found


def _bare(name: str, side: str) -> str:
    """The name of a score, whoever saw it; the share with scores at all is called "scored"."""
    bare = name.removeprefix(side)
    return "scored" if bare == DEFINED else bare


@lru_cache
def _side(name: str) -> str:
    """Whose score this is: a key of SIDES, by what its name begins with."""
    return next(side for side in SIDES if name.startswith(side))


def curves(rounds: Sequence[Round]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """score → who saw it (a side) → [(round, value)], the best witness first; values that are not
    finite are left out.

    Kept examples score the models that a round begins with, which are those of the round before.
    """
    lines: dict[str, dict[str, list[tuple[int, float]]]] = {side: {} for side in SIDES}
    for one in rounds:
        for name, value in one.witnessed.items():
            if math.isfinite(value) and not name.endswith(DEFINED):
                side = _side(name)
                line = lines[side].setdefault(name.removeprefix(side), [])
                line.append((one.round - (side in BEGUN), value))
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for side, named in lines.items():
        for score, line in named.items():
            found.setdefault(score, {})[side] = line
    return dict(sorted(found.items(), key=lambda pair: pair[0] != "loss"))


def figure(name: str, value: float, step: float = 0.0) -> str:
    """A score as people write it: accuracies and shares in percent, what is below 1 with three
    decimals, what would be 0 so with two figures, a dash for what is not defined.

    step: more figures where two that lie so far apart would look the same.
    """
    if math.isnan(value):
        return "–"
    if name.endswith(("accuracy", DEFINED, "scored")):
        return _finer(f"{100 * value:.1f}", 100 * value, 100 * step, 0.1) + " %"
    if abs(value) >= 1:
        return _finer(f"{value:.4g}", value, step, 0.0)
    if 0 < abs(value) < 0.0005:
        return _finer(f"{value:.2g}", value, step, 0.1 * abs(value))
    return _finer(f"{value:.3f}", value, step, 0.001)


def _finer(text: str, value: float, step: float, least: float) -> str:
    """A number in words that tell it from one a step away; `text` where that does, which tells
    differences of `least`.
    """
    if not 0 < step < max(least, 1e-3 * abs(value)) or not math.isfinite(value):
        return text
    if not value:
        return "0"
    figures = math.floor(math.log10(abs(value))) - math.floor(math.log10(step)) + 1
    return f"{value:.{max(1, figures)}g}"


def passes(times: float) -> str:
    """How often a training goes over its examples; nothing where nobody knows."""
    if math.isnan(times):
        return ""
    return f"{times:.3g}"


def names(words: Iterable[str], most: int = 6) -> str:
    """A, B and C; or how many clients, where there are more than `most`; "nobody" for none."""
    listed = list(words)
    if not listed:
        return "nobody"
    if len(listed) > most:
        return f"{len(listed)} clients"
    if len(listed) > 1:
        return f"{', '.join(listed[:-1])} and {listed[-1]}"
    return listed[0]


def template(name: str) -> Any:
    """A page of this folder, into which every text goes escaped; what it lacks is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    tidy: Any = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    return Environment(loader=PackageLoader("hansa", "ui"), autoescape=True, **tidy).get_template(
        name
    )
