"""What an aggregator reveals to whom: values that a policy compares, and who has stated them."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, Literal, get_args

from ..errors import PlanError, number
from ..known import own

# What one party sees of clients' vectors, the least first: nothing, or nothing but random shares;
# their sum alone; each of them; nobody knows what.
Sight = Literal["nothing", "sum", "each", "unknown"]
SIGHTS: tuple[Sight, ...] = get_args(Sight)
Author = Literal["hansa", "stranger", "nobody"]  # who states it

# What a class may say anew, and its parent's statement still holds: the words about it, how many
# clients it wants, and what it makes of vectors that the statement lets it see.
WORDS = frozenset({"visibility", "exposure", "tolerance", "shortfall", "moved", "rule", "without"})
MORE: dict[Sight, str] = {  # what a party does, as a clause
    "nothing": "may see nothing",
    "sum": "may see the sum",
    "each": "may see each client's vector",
    "unknown": "may see what nobody has stated",
}
SEEN: dict[Sight, str] = {  # by a server or a helper
    "nothing": "nothing of what a client says, or nothing but random numbers",
    "sum": "the sum, and who is in it",
    "each": "each client's encoded vector, by name",
    "unknown": "what nobody has stated",
}
OTHERS: dict[Sight, str] = {  # by other clients
    "nothing": "the new model after each round",
    "sum": "the new model after each round, and the sum",
    "each": "the new model after each round, and each client's vector",
    "unknown": "the new model after each round, and what nobody has stated",
}


@dataclass(frozen=True)
class Reveals:
    """What the parties of an aggregator see of clients' vectors, beside the model that all get.

    server, helpers, clients: what each of them sees, at most, by itself; of clients, what one sees
    of the others. colluding: so many of the server and the helpers may put together what they have,
    and see no more than the one of them that sees most. by: who states it; whatever an aggregator
    writes there, `revealed` finds it out.

    Raises PlanError for what is no such statement.   (threat model; Bonawitz et al. 2017, §2)
    """

    server: Sight
    helpers: Sight = "nothing"
    clients: Sight = "nothing"
    colluding: int = 1
    by: Author = "stranger"

    def __post_init__(self) -> None:
        for name in ("server", "helpers", "clients"):
            if (sight := getattr(self, name)) not in SIGHTS:
                raise PlanError(
                    f"Reveals({name}={sight!r}) says nothing that a policy could compare.",
                    f"What a party sees is one of {', '.join(SIGHTS)}.",
                    f"Write for example Reveals({name}='sum'), or 'unknown'.",
                )
        if not number(self.colluding, whole=True) or self.colluding < 1:
            raise PlanError(
                f"Reveals(colluding={self.colluding!r}) counts no parties.",
                "One party alone always has what it has.",
                "Write colluding=1, or how many may put together what they see.",
            )

    def beyond(self, sight: Sight, colluding: int = 1) -> list[str]:
        """Who sees more than `sight` where so many collude, each with what it sees."""
        most = SIGHTS.index(sight)
        found = [
            f"{who} {MORE[seen]}"
            for who, seen in (
                ("the server", self.server),
                ("the helpers", self.helpers),
                ("other clients", self.clients),
            )
            if SIGHTS.index(seen) > most
        ]
        if not found and colluding > self.colluding and most < SIGHTS.index("each"):
            return [f"{colluding} of the server and its helpers together {MORE['each']}"]
        return found

    def visibility(self, helpers: tuple[str, ...] = ()) -> tuple[tuple[str, str, str], ...]:
        """Who sees what, under which assumption: rows in the words of these values alone."""
        others = ("other clients", OTHERS[self.clients])
        rests = "they learn of others what the model itself tells"
        rows = [
            # P9
            ("server", SEEN[self.server], self._rests(self.server)),
            # P9
            (*others, rests if self.clients == "nothing" else self._rests(self.clients)),
        ]
        if helpers:
            # P9
            rows.insert(1, (", ".join(helpers), SEEN[self.helpers], self._rests(self.helpers)))
        return tuple(rows)

    def _rests(self, sight: Sight) -> str:
        """What it rests on that a party sees no more."""
        if sight in ("nothing", "sum"):
            few = f", and that at most {self.colluding} of server and helpers collude"
            return f"that its author states what is so{few}"
        if self.by == "nobody":
            return "nobody has stated what it shows: trust its code, or nobody"
        return "none: the server must be trusted with every update"


UNSTATED = Reveals(server="each", helpers="each", clients="unknown", by="nobody")


def revealed(aggregator: Any) -> Reveals:
    """What is known of what an aggregator reveals: its class's statement, and who has made it.

    Nobody has, where no class says `reveals`, or where a class below the one that says it changes
    anything of the conversation: then the server and its helpers see every vector.
    """
    kind = next(one for one in type(aggregator).__mro__ if "reveals" in vars(one))
    if not unchanged(aggregator, kind):
        return UNSTATED
    stated = aggregator.reveals()
    if not isinstance(stated, Reveals):
        raise PlanError(
            f"{aggregator!r} reveals {stated!r}, which is no Reveals.",
            "Policies compare the values of hansa.aggregators.Reveals.",
            "Return for example Reveals(server='sum'), or leave reveals() out.",
        )
    if stated == UNSTATED:
        return UNSTATED
    return replace(stated, by="hansa" if own(aggregator) else "stranger")


def unchanged(piece: Any, kind: type) -> bool:
    """Does a piece do all that `kind` does as `kind` does it, with fields and words of its own?"""
    inherited = _work(kind)
    below = type(piece).__mro__[: type(piece).__mro__.index(kind)]
    ours = () if own(piece) else below  # what hansa's own classes change they state
    return not any(inherited & _names(one) for one in (*ours, piece))


@lru_cache(maxsize=256)  # for it is asked once per peer and round
def _work(kind: type) -> frozenset[str]:
    """The names that the work of a class hangs on, but its fields and words."""
    held = {f.name for f in fields(kind)} if is_dataclass(kind) else set()
    every = {name for one in kind.__mro__ for name in _names(one)}
    return frozenset({name for name in every if _does(name)} - held - WORDS)


def _names(one: Any) -> set[str]:
    """What stands in a class, or in an object beside what its class says."""
    return set(getattr(one, "__dict__", ()))


def _does(name: str) -> bool:
    """Is this a name that a piece's work hangs on, and none that Python writes into every class?"""
    return not name.startswith("__") or name == "__getattribute__"
