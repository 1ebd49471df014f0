"""Once: what others cause in the log, in few lines however often they cause it."""

from __future__ import annotations

from collections import Counter

from ..sites.events import tell

ENDLESS = {"stranger"}  # told of addresses, which have no end: one event, whichever it is


class Once:
    """Tells the first of each event, and the tenth, the hundredth, and so on with how many."""

    def __init__(self) -> None:
        self._times = Counter[tuple[str, str, str]]()

    def tell(self, name: str, *, who: str, kind: str = "") -> None:
        """Write an event down, if it is time; one event is the same name, party and kind."""
        event = (name, "" if name in ENDLESS else who, kind)
        self._times[event] += 1
        times = self._times[event]
        if times == 1:
            tell(name, who=who, kind=kind)
        elif str(times).strip("0") == "1":
            tell("again", who=who, kind=f"{times:,} times: {kind or name}")
