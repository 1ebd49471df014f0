"""Opening: among whom a session's cohort is drawn, and how long it lasts, whichever process carries
it on.

    left = deadline − (now − when),      between 0 and the deadline

A process that starts again has neither the roster nor the clock of the one before. Time goes on as
the machine counts it that has not been started since, whatever is done to its clock; after that
by the clock.
"""

from __future__ import annotations

import json
import time
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, Self

BOOT = Path("/proc/sys/kernel/random/boot_id")
RUNNING = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


@dataclass(frozen=True)
class Moment:
    """A time: which start of which machine, seconds since that, and seconds since 1970.

    start: 36 characters that Linux draws when it starts; "" where nothing tells starts apart.
    """

    start: str
    running: float
    clock: float

    @classmethod
    def now(cls) -> Self:
        """This moment; where a machine does not tell its starts apart, by its clock alone."""
        if RUNNING is None or not BOOT.exists():
            return cls("", 0.0, time.time())
        return cls(BOOT.read_text("ascii").strip(), time.clock_gettime(RUNNING), time.time())

    def since(self, before: Moment) -> float:
        """Seconds from then on; 0 where the clock says that this was earlier."""
        passed = self.clock - before.clock
        if self.start and self.start == before.start:
            passed = self.running - before.running
        return max(0.0, passed)


@dataclass(frozen=True)
class Opening:
    """How a session began.

    clients: whom its cohort was drawn from, or who was drawn, where each has a session of its own.
    """

    clients: tuple[str, ...]
    when: Moment = field(default_factory=Moment.now)

    def left(self, deadline: float) -> float:
        """Seconds that are left of a session: at most all that it was given, at least none.

        deadline: seconds from its first question on; may be without end.
        """
        return max(0.0, deadline - Moment.now().since(self.when))

    def row(self) -> tuple[Any, ...]:
        """As a journal holds it."""
        return (json.dumps(self.clients), *astuple(self.when))

    @classmethod
    def of(cls, clients: str, *when: Any) -> Self:
        """The opening that a row holds."""
        return cls(tuple(json.loads(clients)), Moment(*when))
