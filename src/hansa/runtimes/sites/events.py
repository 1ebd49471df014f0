"""Events: what happens between sites, one line each, in one log.

    tell("sent", round=8, bytes=45_000, seconds=0.8)        round 8: sent 45 kB in 0.8 s

For people it is a line of words; as JSON its fields stand in it by name:

    run, session    the run, and its session as epoch.number
    round           from 1
    who, kind       a party of the roster; one word or a few
    bytes, seconds  as numbers, seconds to the millisecond

An event has a name and some of seven fields, and there are no others: no vector, no loss of a
client, no secret and nobody's words can be in one.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from ...errors import printable
from ...messages import SessionId

log = logging.getLogger("hansa.sites")

WORDS = {  # name → as people read it
    "attends": "attends",
    "away": "the server is not reached: {kind}",
    "still away": "the server is not reached: {kind}",
    "begins": "run {run:.8}… begins",
    "sent": "round {round}: sent {bytes}{seconds}",
    "silent": "round {round}: no answer ({kind})",
    "early": "run {run:.8}… is over before it begins here",
    "over": "round {round}: it is over",
    "counted": "round {round}: counted",
    "uncounted": "round {round}: not counted",
    "earlier": "what was said in an earlier session counted",
    "ended": "the run is over",
    "came": "{who} attends",
    "left": "{who} has left",
    "replaced": "{who} attends a second time; its first link ends",
    "changed": "{who} announced another answer to one question; the first counts",
    "foreign": "{who} speaks version {kind}",
    "rejected": "{who}: its link ends ({kind})",
    "torn": "{who}: what came is not what was announced; it is asked for again",
    "stranger": "refused: a certificate that is on no roster, from {who}",
    "heard": "round {round}: {who} sent {bytes}{seconds}",
    "lost": "round {round}: {who} is not heard ({kind})",
    "settled": "round {round}: over{seconds}",
    "gateway": "{who}, a gateway, stands before this server",
    "ungated": "{who}, a gateway, is there no more",
    "draining": "no new round begins",
    "meets": "{who} is there",
    "waits": "waits for {who}",
    "spoke": "round {round}: trained and said{seconds}",
    "told": "round {round}: {who} has {bytes}{seconds}",
    "heeds": "round {round}: heard {who}",
    "alone": "round {round}: mixed without new words of {who}",
    "behind": "the others have gone on: the next round is {round}",
    "refused": "refused: {who} says {kind}",
    "unheard": "{who} does not take what is said: {kind}",
    "unreached": "{who} is not reached: {kind}",
    "elsewhere": "{who} is in another run: of another app, graph, roster or number",
    "again": "{who}, {kind}",
    "no neighbour": "refused: {who} is on the roster, and is not heard here",
}
DETAILS = {
    "still away",
    "heard",
    "settled",
    "told",
    "heeds",
}  # told where somebody wants to know more
FAULTS = {"changed", "foreign", "replaced", "rejected", "torn", "stranger",
          "refused", "unheard", "elsewhere", "again", "no neighbour"}  # fmt: skip
UNITS = ("B", "kB", "MB", "GB", "TB")


class Asked(NamedTuple):
    """One question: of which session, to whom, in which turn."""

    session: SessionId
    who: str
    turn: int


def tell(
    name: str,
    *,
    run: str = "",
    session: SessionId | None = None,
    round: int | None = None,
    who: str = "",
    kind: str = "",
    bytes: int | None = None,
    seconds: float | None = None,
) -> None:
    """Write an event down.

    name: one of WORDS. session: of a run, which is told with it. round: from 0, as messages have
    it; a log counts from 1. who, kind: a party's name, and one word or a few that no party chooses.
    """
    fields: dict[str, Any] = {"run": run, "who": who, "kind": kind}
    if session is not None:
        fields |= {"run": session.run, "session": f"{session.epoch}.{session.number}"}
    if round is not None:
        fields["round"] = round + 1
    words = WORDS[name].format_map(
        {**fields, "bytes": size(bytes or 0), "seconds": _lasting(seconds)}
    )
    if bytes is not None:
        fields["bytes"] = bytes
    if seconds is not None:
        fields["seconds"] = float(f"{seconds:.3f}")
    level = logging.INFO
    if name in FAULTS:
        level = logging.WARNING
    if name in DETAILS:
        level = logging.DEBUG
    told = {field: value for field, value in fields.items() if value != ""}
    log.log(level, "%s", printable(words), extra={"event": name, "fields": told})


def size(bytes: int) -> str:
    """45 kB: a number of bytes in the largest unit of which there is one."""
    number = float(bytes)
    unit = 0
    while number >= 999.5 and unit < len(UNITS) - 1:
        number /= 1000
        unit += 1
    return f"{number:.3g} {UNITS[unit]}"


def _lasting(seconds: float | None) -> str:
    """How long it took, behind other words."""
    if seconds is None:
        return ""
    return f" in {seconds:.1f} s"
