"""What a plan means among peers: each is the server of one client, itself.

    v = [x ‖ c …]      what its server would broadcast, as one vector; this is what peers mix

FedAvg, of which only x is told, is then D-PSGD. SCAFFOLD, which tells x and c, is gradient tracking
with local steps: its step makes of c what the client has measured, zᵢ = (x − y)/(K·η), and mixing
makes the neighbours' mean of it, so that a client corrects its gradient by Σⱼ W[i, j] zⱼ − gᵢ
(K-GT: Liu, Lin, Koloskova, Stich 2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..aggregators.mixing import Averaging, Rule, rule_of
from ..algorithms import FedAvg, Scaffold
from ..errors import Fault, refuse
from ..known import own
from ..optim import Sgd
from ..sample import Everyone
from ..spec import Vector
from ..transforms.noise import GaussianNoise, LaplaceNoise
from ..transforms.scale import Clip, Finite
from ..transforms.weigh import Weigh
from . import Plan

PEER = "peer"  # in a client's memory: what it keeps of mixing
TAKES = (Weigh, Clip, Finite, GaussianNoise, LaplaceNoise)  # may stand in the pipe of a peer


def check_peers(plan: Plan) -> None:
    """Raise PlanError where a piece of the plan needs a server, or cannot be told of one peer.

    Allowed is what is known to mean the same without a server: transforms whose sum of one is what
    they are on any sum, noise that each draws in full, and two algorithms.
    """
    refuse([*_wrong_pieces(plan), *_wrong_algorithm(plan, rule_of(plan.aggregator))])


def _wrong_pieces(plan: Plan) -> Iterator[Fault]:
    """What of sample and pipe needs a server. A peer looks each round, so words come if needed."""
    noise = plan.encoded_spec.noise
    if type(plan.sample) is not Everyone:
        yield (
            True,
            f"gossip cannot ask whom {plan.sample!r} draws.",
            "Every peer has a place in the graph, in every round.",
            "Leave the sample out, or write Everyone(quorum=…).",
        )
    if noise.multiplier and not noise.alone:
        yield (
            True,
            "gossip cannot run noise that a server adds, or that all add together.",
            "No server sees a sum here, and each neighbour hears single models.",
            "Write GaussianNoise(…, by='each').",
        )
    for step in plan.pipe:
        if type(step) not in TAKES:
            yield (
                True,
                f"gossip cannot run {step!r}.",
                "A peer says its model and no update; what is done to an update for a sum, and "
                "undone on the sum, does nothing for that.",
                "Leave it out, or use `synchronous`.",
            )
        if isinstance(step, Weigh) and step != Weigh("one"):
            yield (
                True,
                f"gossip cannot run {step!r}.",
                "Weights of a graph keep the plain mean of the peers, each of which counts once.",
                "Write Weigh('one') in the pipe.",
            )


def _wrong_algorithm(plan: Plan, rule: Rule) -> Iterator[Fault]:
    """What of algorithm and model needs a server, or another rule of mixing."""
    algorithm: Any = plan.algorithm
    plain = type(algorithm) in (FedAvg, Scaffold) and own(algorithm)
    if not plain or type(algorithm.server) is not Sgd or algorithm.pull:
        yield (
            True,
            f"gossip cannot run {algorithm!r}.",
            "Of FedAvg() and Scaffold(), whose server steps by Sgd, it is known what they become "
            "without a server: D-PSGD and gradient tracking.",
            "Write FedAvg() or Scaffold(), or use `synchronous`.",
        )
    if type(algorithm) is Scaffold and not isinstance(rule, Averaging):
        yield (
            True,
            f"gossip cannot run {algorithm!r} with {plan.aggregator!r}.",
            "Gradient tracking is known for the weighted mean of neighbours.",
            "Write FedAvg(), or take Sum().",
        )
    if plan.model.traits.grows:
        yield (
            True,
            f"gossip cannot run {type(plan.model).__name__}.",
            "It grows by what each client says, and there is no mean of such models.",
            "Use `synchronous`.",
        )


def packed(broadcast: Mapping[str, Vector]) -> Vector:
    """What a server would tell, as one vector: the model first.

    [x ‖ c …]      float64, in the order in which the algorithm tells it
    """
    return np.concatenate([np.ravel(v) for v in broadcast.values()], dtype=np.float64)


def unpacked(plan: Plan, v: Vector) -> dict[str, Vector]:
    """The same by name: views of v, each as long as the plan tells it."""
    found = dict[str, Vector]()
    start = 0
    for name, shape in plan.broadcast_shapes.items():
        (length,) = shape
        found[name] = v[start : start + length]
        start += length
    return found


def size(plan: Plan) -> int:
    """How many numbers a peer mixes."""
    return sum(length for (length,) in plan.broadcast_shapes.values())


def first(plan: Plan) -> Vector:
    """The point that all peers begin with, which grows from the plan's seed."""
    state = plan.start()
    return packed(plan.algorithm.broadcast(state.x, state.memo))


def memo_of(plan: Plan, told: Mapping[str, Vector], key: Any) -> dict[str, Any]:
    """What the server of one client remembers that has told this.

    It begins anew in each round, but for what it tells: the optimizers that are allowed keep
    nothing.
    """
    begun = plan.algorithm.start(told["x"], key)
    return {**begun, **{name: v for name, v in told.items() if name != "x"}}
