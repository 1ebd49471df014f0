"""Share: one aggregator's side of a verified sum, which is the same for the server and for
helpers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ...crypto.bundle import Bundle
from ...crypto.field import Elements
from ...crypto.keys import SEALED, SIGNATURE
from ...crypto.vdaf import NONCE, State
from ...errors import ProtocolError
from .claims import Claim, Integers

TWICE = "it comes twice"
UNOPENED = "a sealed share of it does not open"
UNSIGNED = "it is not signed by the client that it is said to be of"
# what a helper may say of a report; other words of its own are not repeated
SAID = (TWICE, UNOPENED, UNSIGNED)

# who, nonce, public shares, input shares or why there are none
Report = tuple[str, bytes, list[bytes], list[bytes] | str]
Verdicts = dict[str, list[bytes]]  # who → the message by which all aggregators accept a report


def longest(parts: Sequence[Claim], helpers: int) -> dict[str, Any]:
    """What a client says, as large as it can be: every report on these claims is as large."""
    sizes = [part.sum.sizes for part in parts]
    return {
        "nonce": bytes(NONCE),
        "public": [bytes(one.public) for one in sizes],
        "leader": [bytes(one.leader) for one in sizes],
        "sealed": [[bytes(one.helper + SEALED) for one in sizes] for _ in range(helpers)],
        "signature": bytes(SIGNATURE),
    }


class Share:
    """What aggregator `who` knows in one session: reports under way, and its share of the sum of
    those that are in.
    """

    def __init__(self, parts: Sequence[Claim], who: int, key: bytes):
        self.parts = parts
        self.bundle = Bundle(tuple(part.sum for part in parts))
        self.seen: set[str] = set()  # who is in the sum
        self._who = who
        self._key = key
        self._asked = set[str]()
        self._nonces = set[bytes]()
        self._states: dict[str, list[State]] = {}
        self._valid: dict[str, list[Elements]] = {}
        self._sums: list[Elements] = []

    def prepare(self, reports: Sequence[Report]) -> dict[str, list[bytes] | str]:
        """This aggregator's part of checking reports, on all cores: verifier shares, or why there
        are none.
        """
        reply: dict[str, list[bytes] | str] = {report[0]: self._check(report) for report in reports}
        fresh = [report for report in reports if not reply[report[0]]]
        with ThreadPoolExecutor(_cores()) as pool:
            made = list(pool.map(self._prepare, fresh))
        for (who, *_), result in zip(fresh, made, strict=True):
            if isinstance(result, str):
                reply[who] = result
            else:
                self._states[who], reply[who] = result
        return reply

    def _check(self, report: Report) -> str:
        """A client has one report in a sum, and a nonce to one report; what is refused takes
        neither.
        """
        who, nonce, _, shares = report
        if isinstance(shares, str):
            return shares
        if who in self._asked or nonce in self._nonces:
            return TWICE
        self._asked.add(who)
        self._nonces.add(nonce)
        return ""

    def _prepare(self, report: Report) -> tuple[list[State], list[bytes]] | str:
        _, nonce, public, shares = report
        assert not isinstance(shares, str)
        try:
            return self.bundle.prepare(self._key, self._who, nonce, public, shares)
        except ProtocolError as error:
            return f"{error.found} {error.why}"

    def decide(
        self, reports: Sequence[str], reply: Sequence[Mapping[str, Any]]
    ) -> tuple[Verdicts, dict[str, str]]:
        """From what all aggregators say of reports: the verdicts on valid ones, and what is wrong
        with the others.
        """
        verdicts = dict[str, list[bytes]]()
        why = dict[str, str]()
        for who in reports:
            row: list[Any] = [one.get(who) for one in reply]
            if wrong := _wrong(*row):
                why[who] = wrong
                continue
            try:
                verdicts[who] = self.bundle.decide(row)
            except ProtocolError as error:
                why[who] = f"{error.found} {error.why}"
        return verdicts, why

    def finish(self, verdicts: Mapping[str, list[bytes]]) -> list[str]:
        """Whose verdict fits what this aggregator has seen; all other reports under way are
        forgotten.
        """
        self._valid = {}
        for who, messages in verdicts.items():
            if who in self._states:
                try:
                    self._valid[who] = self.bundle.finish(self._states[who], messages)
                except ProtocolError:
                    continue  # the server hears that it is missing
        self._states = {}
        return sorted(self._valid)

    def count(self, names: Sequence[str]) -> None:
        """Add the shares of those who have finished everywhere to the sum; ProtocolError for
        others.
        """
        for who in names:
            if who not in self._valid:
                raise ProtocolError(
                    f"{who} has no valid report here.",
                    "It cannot be in the sum.",
                    "Look at the server.",
                )
            out = self._valid.pop(who)
            if self._sums:
                each = zip(self.parts, self._sums, out, strict=True)
                out = [part.sum.field.add(a, b) for part, a, b in each]
            self._sums = out
            self.seen.add(who)
        self._valid = {}

    def totals(self, noise: Mapping[str, Integers]) -> list[bytes]:
        """Its share of the sum of each claim, with its own noise."""
        reply = []
        for part, total in zip(self.parts, self._sums, strict=True):
            field = part.sum.field
            if noise:
                total = field.add(
                    total, field.integers(np.concatenate([noise[name] for name in part.names]))
                )
            reply.append(field.encode(total))
        return reply


def _wrong(own: Any, *others: Any) -> str:
    """Why a report cannot be decided, in the server's words or the first helper's; or nothing."""
    if isinstance(own, str):
        return own
    return next((_words(one) for one in others if not isinstance(one, list)), "")


def _words(reply: Any) -> str:
    """What is repeated of another aggregator's words on a report."""
    if not isinstance(reply, str):
        return "an aggregator says nothing of it"
    if reply in SAID:
        return reply
    return "a helper refuses it"


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
