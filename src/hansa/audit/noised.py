"""The linear attack under noise: does a peer take part, or nobody in its place? By what its
neighbours hear, others guess a coin.

All that is heard is linear in the updates of all peers and rounds. So the attackers add it up with
the weights that leave as little as possible of the others' noise:

    score = p · U,      p = the part of 1ⱼ that lies in the rows of K

U: the updates of all peers and rounds, with their noise, along one direction; 1ⱼ: those of peer j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..app import App
from ..app.federation import delta_of
from ..app.peers import office_of
from ..graphs import Mixing
from ..messages import SessionId
from ..plan import Plan
from ..privacy import planned_privacy
from ..rand import Key
from ..spec import Vector
from .canary import LONG, Canaries
from .linear import PRECISION, SOME, Linear, training

TRIALS = 1000  # coins, each of a run of its own
MOST = 2**26  # numbers that are drawn at a time


def under_noise(app: App, found: Linear) -> Canaries | None:
    """The same for the worst peer that the linear attack found in an app, and the first that it
    hears; None where no peer adds noise of its own.
    """
    office = office_of(app)
    if office is None or not app.known_plan.encoded_spec.noise.alone:
        return None
    curious = found.found[0].who
    target = office.mixing.neighbours(curious[0])[0]
    rounds = min(found.rounds, SOME)
    return noised(
        app.known_plan, office.mixing, curious, target, rounds, delta_of(app), found.hidden
    )


def noised(
    plan: Plan,
    mixing: Mixing,
    curious: Sequence[str],
    target: str,
    rounds: int,
    delta: float,
    hidden: bool = False,
) -> Canaries:
    """What these peers show of another's ε, by all that they hear in so many rounds.

    A coin says whether the target moves the model along a direction as far as every clip lets it,
    in each round, or says nothing; what the others have learnt the attackers know, and their noise
    they do not. It goes through the plan's own pipe. hidden: each hears the sum of its neighbours
    alone. The promise is the ledger's ε for as many rounds, at δ.

    (guesses: Steinke, Nasr, Jagielski 2023; the attack: El Mrini, Cyffers, Bellet 2024)
    """
    known = training(mixing, curious, rounds, hidden)
    aim = np.zeros((rounds, len(mixing.names)))
    aim[:, mixing.place[target]] = 1.0
    weights = _within(known, aim.ravel()).reshape(aim.shape)
    rng = plan.key.child("audit", "noised").rng()
    truth = rng.random(TRIALS) < 0.5
    signs = rng.choice([-1.0, 1.0], plan.spec.blocks["delta"]) / plan.spec.blocks["delta"] ** 0.5
    scores = np.zeros(TRIALS)
    for t in range(rounds):
        for i, who in enumerate(mixing.names):
            if abs(weights[t, i]) > PRECISION:
                coins = truth if who == target else np.zeros(TRIALS, bool)
                scores += weights[t, i] * _moved(plan, t, who, coins, signs)
    audited = replace(plan, rounds=rounds)
    promise = planned_privacy(audited, len(mixing.names)).guarantee(delta)
    heard = f"what {', '.join(curious)} heard of {target} and all others"
    return Canaries(scores, truth, delta, promise, rounds, heard)


def _within(k: NDArray[np.float64], aim: NDArray[np.float64]) -> NDArray[np.float64]:
    """The part of a vector that lies in the rows of K."""
    _, sizes, rows = np.linalg.svd(k, full_matrices=False)
    rows = rows[sizes > PRECISION * sizes[0]]
    found: NDArray[np.float64] = (rows @ aim) @ rows
    return found


def _moved(plan: Plan, round: int, who: str, coins: Vector, signs: Vector) -> Vector:
    """How far a peer's update lies along a direction once it has gone through the pipe, for each
    coin [trials].
    """
    spec = plan.spec
    place = spec.slice("delta")
    found = list[Vector]()
    step = max(1, MOST // spec.size)
    for start in range(0, len(coins), step):
        some = coins[start : start + step]
        v = np.zeros((len(some), spec.size))
        v[:, place] = np.where(some[:, None], LONG, 0.0) * signs
        at = plan.context(
            round,
            SessionId(number=start),
            who,
            secret=Key.fresh(),
            examples=np.ones(len(some)),
            memo=plan.pipeline.start(),
        )
        encoded, _ = plan.pipeline.encode(v, at)
        found.append(encoded[:, place] @ signs)
    return np.concatenate(found)
