"""Every robust rule under every attack: accuracy on digits, beside the plain mean under as many attackers.

25 clients with 60 images each (or Dirichlet(0.3) shares of each class), softmax regression, 15 rounds, mean of 3 seeds,
which decide who holds what and who lies. The attacks are those of tests/attacks. "one gradient": a round is one step on
one image, so that honest updates are mostly noise, which is where "a little is enough" works; 100 rounds.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import sys
from dataclasses import fields

from common import ROOT, save

sys.path.append(str(ROOT))

from tests.attacks.attackers import ATTACKS, CLIENTS, accuracy, noisy

import hansa as h

SEEDS = range(3)
SHOWN = ("", *(attack for attack in ATTACKS if attack not in ("norm 1e3", "infinity", "NaN, sign-flip")))
ROWS = [  # rule, attackers
    *((h.Sum(), f) for f in (2, 5, 10, 12)),
    *((rule, f) for f in (10, 12) for rule in (h.Median(), h.TrimmedMean(f / CLIENTS), h.GeometricMedian())),
    (h.Krum(11), 11),
    (h.MultiKrum(11, 12), 11),
    (h.Bulyan(5), 5),
    (h.CentredClipping(2.0), 2),
]
NOISE = ("", "little", "little, loud")
NOISY = [(h.CentredClipping(0.5), 2) if isinstance(rule, h.CentredClipping) else (rule, f) for rule, f in ROWS]


SETTINGS = {"equal mixes": (ROWS, SHOWN), "own labels": (ROWS, SHOWN), "one gradient": (NOISY, NOISE)}


def measure(rule: h.aggregators.Aggregator, f: int, setting: str, attack: str) -> dict:
    """One cell of the table: the mean over the seeds, and each of them."""
    alpha = 0.3 if setting == "own labels" else None
    run = noisy if setting == "one gradient" else lambda *what, seed: accuracy(*what, alpha, seed)
    scores = [run(rule, attack, f if attack else 0, seed=seed) for seed in SEEDS]
    return {
        "setting": setting,
        "rule": written(rule),
        "attackers": f,
        "clients": CLIENTS,
        "attack": attack or "none",
        "accuracy": statistics.mean(scores),
        "seeds": scores,
    }


def written(rule: h.aggregators.Aggregator) -> str:
    """A rule as one would write it: without what it has by default."""
    reply = [repr(getattr(rule, field.name)) for field in fields(rule) if getattr(rule, field.name) != field.default]
    return f"{type(rule).__name__}({', '.join(reply)})"


def main() -> None:
    """Measure, print the tables of the docs, save."""
    rows = []
    for setting, (table, attacks) in SETTINGS.items():
        print(f"\n{setting}\n\n| rule | attackers | {' | '.join(attack or 'none' for attack in attacks)} |")
        print("|---|---|" + "---|" * len(attacks))
        for rule, f in table:
            cells = [measure(rule, f, setting, attack) for attack in attacks]
            rows += cells
            shown = " | ".join(f"{100 * cell['accuracy']:.0f}" for cell in cells)
            print(f"| `{written(rule)}` | {f} | {shown} |", flush=True)
    save("robust", rows)


if __name__ == "__main__":
    main()
