"""Trees: boosting by many clients. What a client says is appended to the model, since trees cannot
be added up.

    F ← F + Σ (nₖ/n) Tₖ        over the clients k of a round

Tₖ are the trees that client k has grown on its own data from F, with the learning rate η in their
leaves. Functions have a mean; the numbers that describe two trees have none, so the server must see
the trees of each client.

    Plan(XgboostModel(…), Boosting(), aggregator=Ensemble(), training=Training(batch=0,
    learning_rate=0.3))

With everyone in each round that is bagging of trees; with sample=InTurn() cyclic boosting, one
client after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..algorithms.trees import Boosting
from ..errors import PlanError, refuse
from ..models import Model
from ..spec import Spec, Vector
from ..transforms import Decoder, Mean, Transform
from . import Aggregator, Channel, decoded
from .reveals import Reveals

# examples that a client may count for where Weigh has no cap; up to here floats count
MOST = 2.0**53


@dataclass(frozen=True)
class Ensemble(Aggregator):
    """The trees of all clients, side by side; nothing is added up, and the server sees each
    client's trees by name.

    What comes out is a matrix [K, size], a row for each client: its share, its trees, and the mean
    of what all report. What is no tree of the plan's model is left out, with the reason.
    """

    grows: ClassVar[bool] = True

    def plan(self, spec: Spec) -> Spec:
        """Only `Boosting` says trees."""
        if "trees" not in spec.blocks:
            raise PlanError(
                "Ensemble() has no trees to collect.",
                f"A client says {', '.join(spec.blocks)}, and Ensemble appends what is called "
                "`trees`.",
                "Write algorithm=Boosting() with an XgboostModel, or take Sum().",
            )
        return spec

    def server(
        self, channel: Channel, cohort: Sequence[str], decode: Decoder
    ) -> tuple[Mean | None, list[str]]:
        """Rows [shareₖ, Tₖ, Σ shareₖ reportₖ]."""
        encoded = decode.pipe.specs[-1]
        spec = decode.spec
        size = sum(spec.blocks[name] for name in spec.update)  # the side values follow the update
        received = dict[str, Vector]()
        weights = list[float]()
        for who, reply in channel.gather(dict.fromkeys(cohort)).items():
            v, why = decoded(reply, decode)
            if not why:
                # as trees have them: Weigh may have moved the last bits of 64
                with np.errstate(over="ignore"):
                    v[:size] = np.float32(v[:size])
                why = decode.fault(spec.unpack(v))
            weight = 1.0
            if "weight" in encoded.blocks and not why:
                weight = float(reply[encoded.slice("weight")][0])
            if weight > MOST:
                why = f"it counts for more than {MOST:g} examples"
            if why:
                channel.exclude(who, why)
            else:
                received[who] = v
                weights.append(weight)
        if not received:
            return None, []
        V = np.stack(list(received.values()))
        shares = np.array(weights) / sum(weights)
        V[:, size:] = shares @ V[:, size:]
        V[:, spec.slice("share")] *= shares[:, None]
        return (V, decode.at.memo), list(received)

    def reveals(self) -> Reveals:
        """Trees are in the clear, and those of the model go to everybody."""
        return Reveals(server="each", clients="each")

    def exposure(self) -> str:
        """What a tree tells."""
        # P8
        return (
            "Trees are no sum of vectors, so no secret sum can hide them: the server sees each "
            "client's trees by name. "
            "A threshold is a value of its data or lies next to one; a leaf tells of the few "
            "examples that reach it."
        )

    def visibility(self) -> tuple[tuple[str, str, str], ...]:
        """Trees are in the clear."""
        return (
            # P8
            (
                "server",
                "each client's new trees, by name: splits and leaves",
                "none: trees are no sum to hide in",
            ),
            # P8
            (
                "other clients",
                "all trees of all rounds, without names",
                "they may guess whose a tree is",
            ),
        )


def check(model: Model, algorithm: Any, pipe: Sequence[Transform], aggregator: Aggregator) -> None:
    """Raise PlanError where only some of a plan's pieces are made for trees."""
    boosts = isinstance(algorithm, Boosting)
    collects = aggregator.grows
    odd = [step for step in pipe if not step.keeps]
    no_sum = (
        "Trees are no vectors to add up: the mean of the numbers of two trees is no tree, masked "
        "or not."
    )
    wrong = [
        (
            model.traits.grows and not boosts,
            f"{algorithm!r} cannot train {type(model).__name__}.",
            "It moves the numbers of a model, and a model of trees grows by new ones.",
            "Write algorithm=Boosting(), aggregator=Ensemble().",
        ),
        (
            boosts and not model.traits.grows,
            f"Boosting() cannot train {type(model).__name__}.",
            "It appends trees to a model, and the numbers of this one are moved, not appended.",
            "Take an XgboostModel, or algorithm=FedAvg().",
        ),
        (
            boosts and not collects,
            f"{aggregator!r} cannot take trees.",
            f"{no_sum} So there is no secret sum and no robust rule for them.",
            "Write aggregator=Ensemble(), if the server may see each client's trees; or train "
            "another model.",
        ),
        (
            boosts and bool(odd),
            f"{', '.join(map(repr, odd))} cannot be done to trees.",
            f"{no_sum} Cut, rounded or with noise they are other trees, and no ε would hold for "
            "them.",
            "Leave only Weigh('examples') or Weigh('one') in the pipe: it says how much a client's "
            "trees count.",
        ),
    ]
    refuse(wrong)
