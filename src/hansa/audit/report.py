"""The report of an audit: text, plots and numbers, with the strength of each attack.

Each attack is told in words beside its numbers: in what unit it counts, what the attacker knows,
and what a guess by a coin would give.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..app import App
from ..app.compare import OUTSIDE
from ..app.peers import graph_of
from ..errors import AppError, HansaError, StoreError
from ..explain import Explanation, Section, expression
from .bounds import CONFIDENCE, area_of_a_coin, rate_between
from .canary import Canaries, canaries
from .inversion import Inversion, inversion
from .linear import Linear, linear
from .membership import LIMIT, Membership, membership
from .noised import under_noise
from .plots import canary_plot, inversion_plot, membership_plot

ATTACKS = ("canary", "membership", "inversion", "linear")
OPEN = 0.9  # the likeness from which a record counts as rebuilt
VAGUE = 0.5
PROVES = "what this proves"
OPENED = "they can solve for these values, for certain, where no noise hides them"
KEPT_SHUT = "these weights open none by linear equations; of other attacks nothing"
# its words are not for a file
DATA = "A client's data cannot be trained on; `hansa check` says whose, and why."
WARNINGS = (
    "An attack shows what can be done, never what cannot: one that fails proves nothing, since a "
    "better one may not. "
    "Its ε is a lower bound; the ledger's is an upper bound. The truth lies between.",
    "A lower bound above the ledger's ε says that noise, clip or accounting is not what the plan "
    "says. One run in twenty may say so by chance; repeat it with another --seed.",
    "The attackers know the plan, the first weights, and all data but what they guess at. Their "
    "coins and directions grow from the plan's seed, the noise from secrets that they do not know.",
    f"What an attack shows of clients and records is no part of the run. {OUTSIDE}",
)


@dataclass(frozen=True)
class AuditReport:
    """What the attacks on a plan have found; None for one that was not made, and why in `missing`.

    `print` shows it; `write` puts it into a folder.
    """

    title: str
    plan: str  # the expression that builds it
    canary: Canaries | None = None
    membership: Membership | None = None
    inversion: Inversion | None = None
    linear: Linear | None = None
    noised: Canaries | None = None  # what the linear attack shows under noise
    missing: Mapping[str, str] = field(default_factory=dict)  # attack → why it cannot be made

    @property
    def broken(self) -> bool:
        """Has an attack shown a larger ε than the ledger promises?"""
        shown = (self.canary, self.noised)
        return any(one is not None and one.broken for one in shown)

    def told(self) -> Explanation:
        """All of it as text and tables, for a terminal; `str` makes plain text of it."""
        made = (
            self.canary and _canary(self.canary),
            self.membership and _membership(self.membership),
            self.inversion and _inversion(self.inversion),
            self.linear and _linear(self.linear),
            self.noised and _noised(self.noised),
        )
        left = [Section(name, f"Not made. {why}") for name, why in self.missing.items()]
        return Explanation((*(section for section in made if section), *left), WARNINGS)

    def __str__(self) -> str:
        return f"{self.title}\n{self.plan}\n\n{self.told()}"

    def plots(self) -> dict[str, bytes]:
        """name → PNG."""
        drawn = {
            "canary": self.canary and canary_plot(self.canary),
            "membership": self.membership and membership_plot(self.membership),
            "inversion": self.inversion and inversion_plot(self.inversion),
        }
        return {name: image for name, image in drawn.items() if image}

    def numbers(self) -> dict[str, Any]:
        """All of it as JSON can hold it: title, plan, missing, and a table for each attack.

        Mean squared errors are in the record's own unit squared, and psnr in dB.
        """
        found: dict[str, Any] = {
            "title": self.title,
            "plan": self.plan,
            "missing": dict(self.missing),
        }
        if self.canary is not None:
            found["canary"] = _canary_numbers(self.canary)
        if self.membership is not None:
            found["membership"] = _membership_numbers(self.membership)
        if self.inversion is not None:
            found["inversion"] = _inversion_numbers(self.inversion)
        if self.linear is not None:
            found["linear"] = _linear_numbers(self.linear)
        if self.noised is not None:
            found["noised"] = _canary_numbers(self.noised)
        return found

    def write(self, folder: Path) -> list[Path]:
        """Write audit.txt, audit.json and a PNG for each attack into a folder; gives their paths.

        StoreError where they cannot be written.
        """
        images = {f"audit-{name}.png": image for name, image in self.plots().items()}
        numbers = json.dumps(self.numbers(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        texts = {"audit.txt": f"{self}\n", "audit.json": numbers}
        whole = {name: text.encode() for name, text in texts.items()} | images
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in whole.items():
                (folder / name).write_bytes(content)
        except OSError as error:
            raise StoreError(
                f"The audit cannot be written: {error}.",
                "Its files belong into a folder.",
                "Name another with --out.",
            ) from None
        return [folder / name for name in whole]


def audit(
    app: App,
    attacks: Sequence[str] | None = None,
    m: int | None = None,
    rounds: int | None = None,
    title: str = "Audit",
) -> AuditReport:
    """Make these attacks on an app's plan, with m canaries and over its first `rounds` rounds.

    attacks: some of "canary", "membership", "inversion", "linear"; by default all, the last for
    peers without a server alone. An attack that the app leaves no room for is named in the report,
    with the reason; AppError where none is left, or for one of another name. Each runs the plan
    anew, membership nine times.
    """
    if attacks is None:
        attacks = ATTACKS if graph_of(app.loop) is not None else ATTACKS[:-1]
    if strange := [name for name in attacks if name not in ATTACKS]:
        raise AppError(
            f"There is no attack {strange[0]!r}.",
            f"There is {', '.join(ATTACKS)}.",
            "Name some of them.",
        )
    app = app.asked()
    ways: dict[str, Any] = {
        "canary": lambda: canaries(app, m, rounds),
        "membership": lambda: membership(app, rounds=rounds),
        "inversion": lambda: inversion(app),
        "linear": lambda: linear(app, rounds),
    }
    found = dict[str, Any]()
    missing = dict[str, str]()
    for name in dict.fromkeys(attacks):
        try:
            found[name] = ways[name]()
        except HansaError as error:
            missing[name] = f"{error.found} {error.why} {error.instead}"
            if error.kind == "data":
                missing[name] = DATA
    if "linear" in found:
        found["noised"] = under_noise(app, found["linear"])
    if not found:
        raise AppError(
            "No attack could be made.",
            " ".join(missing.values()) or "None was named.",
            "Look at these reasons.",
        )
    return AuditReport(title, expression(app.known_plan), **found, missing=missing)


def _canary_numbers(found: Canaries) -> dict[str, Any]:
    """What the canary audit found, for JSON."""
    _, guesses, right = found.best
    return {
        "canaries": len(found.truth),
        "rounds": found.rounds,
        "guesses": guesses,
        "right": right,
        "epsilon_at_least": found.epsilon,
        "epsilon_promised": found.promise.epsilon,
        "delta": found.delta,
        "confidence": found.confidence,
        "epsilon_at_most_shown": found.most,
        "broken": found.broken,
        "sees": found.seen,
    }


def _membership_numbers(found: Membership) -> dict[str, Any]:
    """What membership inference found, for JSON."""
    coin, least, most = _chance(found)
    return {
        "runs": found.runs,
        "records": found.records,
        "area": found.area,
        "area_of_a_coin_at_most": coin,
        "false_positive_rate": LIMIT,
        "false_positive_rate_at_most": most,
        "true_positive_rate": found.rate,
        "true_positive_rate_at_least": least,
        "confidence": CONFIDENCE,
    }


def _inversion_numbers(found: Inversion) -> dict[str, Any]:
    """What gradient inversion found, for JSON: how like the record is what each sees of it."""
    views = [
        {
            "seen": view.name,
            "likeness": view.likeness,
            "mse": view.mse,
            "psnr": view.psnr(found.span),
        }
        for view in found.views
    ]
    return {"client": found.who, "how": found.how, "views": views}


def _linear_numbers(found: Linear) -> dict[str, Any]:
    """What the linear attack found, for JSON."""
    told = [{**asdict(one), "who": list(one.who)} for one in found.found]
    return {**asdict(found), "found": told}


def _canary(found: Canaries) -> Section:
    """What the canary audit found, in words: the ε that it shows beside the one that is promised.

    Broken is a promise only where what is shown is more.
    """
    text = (
        f"In one run of {_many(found.rounds, 'round')}, {len(found.truth)} canary clients took "
        f"part or not, each by a fair coin. The attacker knows their updates, saw {found.seen}, "
        f"and guessed at those it was surest of. {_verdict(found)}"
    )
    title = "Canary clients (Steinke, Nasr and Jagielski 2023)"
    return Section(title, text, ("", ""), _bounds(found))


def _noised(found: Canaries) -> Section:
    """What the linear attack shows under noise, in words, beside the ε that is promised."""
    text = (
        f"In {len(found.truth)} trials of {_many(found.rounds, 'round')} a peer took part or not, "
        f"by a fair coin. The attacker knows all updates but that, and put together {found.seen}, "
        f"so that least of the noise of others is left. {_verdict(found)}"
    )
    return Section("A peer's update under noise", text, ("", ""), _bounds(found))


def _verdict(found: Canaries) -> str:
    """Does what is shown contradict what is promised?"""
    if found.broken:
        return (
            "Broken: the attack shows more than the ledger promises. Look at noise, clip and "
            "accounting."
        )
    if found.promise.epsilon is None:
        return "The ledger promises nothing, so there is nothing to contradict."
    return "The attack does not contradict the ledger."


def _bounds(found: Canaries) -> tuple[tuple[str, str], ...]:
    """What is shown, what is promised, and what that proves."""
    epsilon, r, v = found.best
    return (
        ("guesses, right", f"{r}, {v}"),
        (
            f"shown, at {100 * found.confidence:g} % confidence",
            f"ε ≥ {epsilon:.3g} at δ = {found.delta:.2g}",
        ),
        ("promised, by the ledger for this run", str(found.promise)),
        ("the most that so many canaries can show", f"ε ≥ {found.most:.3g}"),
        (PROVES, _proves(found)),
    )


def _proves(found: Canaries) -> str:
    """What follows from the bounds, in words; nothing follows from an attack that fails.

    shown > promised      the promise has failed
    most < promised       so many canaries could not have refuted it
    else                  ε is what is shown, at least
    """
    shown = f"ε is {found.epsilon:.3g} at least, but for a chance of {1 - found.confidence:.2g}"
    if found.broken:
        # P706
        return f"The promise has failed: {shown}, which is more than was promised."
    if found.promise.epsilon is None:
        return f"No promise was tested. {shown[0].upper()}{shown[1:]}."
    if found.most < found.promise.epsilon:
        return (
            "Nothing about the promise: so few canaries could not refute it, whatever they show. "
            "More of them could."
        )
    if not found.epsilon:
        return "The attack has failed, which proves nothing: a better one may not."
    return f"{shown[0].upper()}{shown[1:]}; that the promise holds it does not prove."


def _membership(found: Membership) -> Section:
    """What membership inference found, in words: beside what a coin would give.

    The unit is a record, and a plan's ε is about a client; so the two are not compared.
    """
    text = (
        f"{found.runs} runs, each on a random half of every client's records; each run's final "
        f"model was attacked with the {found.runs - 1} others to compare with. {found.records} "
        "records were guessed at in each. The unit is a record, not a client."
    )
    coin, least, most = _chance(found)
    proves = (
        "The attack has failed: it finds no more members than a coin might. That proves nothing of "
        "a better one."
    )
    if found.area > coin or least > most:
        proves = "More members are found than by a coin: who has the model may learn who was there."
    sure = f"at {100 * CONFIDENCE:g} % confidence"
    rows = (
        ("area under the curve", f"{found.area:.3f} (a coin: 0.5, below {coin:.3f} {sure})"),
        (
            f"members found, with {100 * LIMIT:g} % false alarms",
            f"{100 * found.rate:.2f} %, {100 * least:.2f} % at least, {sure} (a coin: "
            f"{100 * LIMIT:g} %, below {100 * most:.2f} %)",
        ),
        (PROVES, proves),
    )
    return Section("Membership of a record (Carlini et al. 2022)", text, ("", ""), rows)


def _chance(found: Membership) -> tuple[float, float, float]:
    """(the area that a coin stays below, the rate of members found at least, the rate of false
    alarms at most).

    A record counts once, though each run guesses at it: those guesses hang together.
    """
    half = max(1, found.records // 2)
    least, _ = rate_between(found.rate, half)
    _, most = rate_between(LIMIT, half)
    return area_of_a_coin(2 * half), least, most


def _inversion(found: Inversion) -> Section:
    """What gradient inversion found, in words: a row for each that sees something of the record."""
    text = (
        f"The first record of {found.who}, computed back {found.how}, from one round at the first "
        "weights. The attacker knows its label and its range. Likeness is the correlation with the "
        "record: 1 is the record itself."
    )
    rows = tuple(
        (
            view.name,
            f"{view.likeness:.3f}",
            f"{view.mse:.3g}",
            f"{view.psnr(found.span):.1f} dB",
            _recovered(view.likeness),
        )
        for view in found.views
    )
    head = ("what is seen", "likeness", "MSE", "PSNR", PROVES)
    return Section(
        "A record from an update (Zhu et al. 2019; Geiping et al. 2020)", text, head, rows
    )


def _recovered(likeness: float) -> str:
    """What follows from how like the record the rebuilt one is."""
    if likeness >= OPEN:
        # P706
        return "who sees this can rebuild this record"
    if likeness >= VAGUE:
        return "who sees this learns something of the record"
    return "the attack has failed, which proves nothing of a better one"


def _linear(found: Linear) -> Section:
    """What the linear attack found, in words: a row for one curious peer, and for two together."""
    text = (
        f"{_many(found.rounds, 'round')} of averaging among {found.peers} peers on {found.graph}: "
        "what curious peers hear of their neighbours is a system of linear equations in the values "
        "with which all began, to seven digits. While all train, each round brings as many "
        "unknowns as there are peers; then their neighbours' first updates are certain to be open. "
        "No noise is counted in this table: ε is what noise leaves."
    )
    if found.hidden:
        text += " In this app a peer hears sums of neighbours alone."
    rows = tuple(
        (
            ", ".join(one.who),
            f"{one.opened} of {found.peers - one.colluders}",
            f"{one.summed}",
            f"{one.trained}",
            OPENED if one.opened else KEPT_SHUT,
        )
        for one in found.found
    )
    head = (
        "curious, the worst",
        "first values open",
        "by sums of neighbours",
        "first updates",
        PROVES,
    )
    return Section("Peers' first values (El Mrini, Cyffers and Bellet 2024)", text, head, rows)


def _many(n: int, word: str) -> str:
    """So many of a word: 1 round, 2 rounds."""
    return f"{n} {word}{'s' * (n != 1)}"
