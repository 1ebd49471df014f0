"""Arrivals: who is in a cell of those who are ready, and when each of them was asked.

    τᵢ = round of the cell − round whose model client i has trained

It is told to all of a cell in the same words, and its hash is the cell's `task`: what they seal and
sign rests on it. So a server that tells one another session, model or τ than the others has no sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..codec import fingerprint
from ..errors import ProtocolError
from ..messages import LARGEST, SessionId, task_of

DOMAIN = "hansa cell of arrivals 1"
DIGEST = hashlib.sha256().digest_size

Asked = tuple[int, int, int]  # epoch and number of the session in which one was asked, and round


def arriving(aggregator: Any) -> int:
    """How many clients it adds up as soon as they are ready; 0 where a cohort is drawn."""
    return int(getattr(aggregator, "arriving", 0))


@dataclass(frozen=True)
class Arrivals:
    """A cell of clients that are ready.

    names   its members, sorted
    asked   for each of them: in which session it was asked, and in which round
    models  round → SHA-256 of what was broadcast in it, for the rounds in which they were asked
    """

    plan: str  # digest
    run: str
    round: int  # of the cell
    names: tuple[str, ...]
    asked: tuple[Asked, ...]
    models: Mapping[int, bytes]

    @cached_property
    def task(self) -> bytes:
        """SHA-256 of all of it."""
        rounds = sorted(self.models)
        models = [self.models[one] for one in rounds]
        asked = [list(one) for one in self.asked]
        told = self.plan, self.run, self.round, list(self.names), asked, rounds, models
        return fingerprint((DOMAIN, *told))

    def task_of(self, who: str) -> bytes:
        """SHA-256 of what a member was asked, and with which model, as it is said here."""
        epoch, number, round = self.asked[self.names.index(who)]
        session = SessionId(self.run, epoch, number)
        return task_of(self.plan, round, session, self.models[round])

    def rounds(self) -> list[int]:
        """Of which round the model of each member is."""
        return [round for *_, round in self.asked]

    def check(self) -> None:
        """ProtocolError where its parts do not fit together."""
        rounds = self.rounds()
        wrong = ""
        if not rounds or len(rounds) != len(self.names):
            wrong = "it names nobody, or not when each was asked"
        elif set(rounds) != self.models.keys():
            wrong = "it has models that none of them was asked with, or lacks one"
        elif not 0 <= min(rounds) <= max(rounds) <= self.round:
            wrong = "somebody was asked in a round after its own"
        if wrong:
            raise ProtocolError(
                f"A cell of {len(self.names)} clients is none: {wrong}.",
                "Who is in a cell, and how old the model of each is, is the same for all of it.",
                "Look at the server.",
            )

    def body(self) -> dict[str, Any]:
        """As it travels."""
        rounds = sorted(self.models)
        return {
            "plan": self.plan,
            "run": self.run,
            "round": self.round,
            "names": list(self.names),
            "asked": np.array(self.asked, np.int64).reshape(len(self.names), 3),
            "rounds": np.array(rounds, np.int64),
            "models": np.frombuffer(b"".join(self.models[one] for one in rounds), np.uint8),
        }

    @classmethod
    def read(cls, told: Any) -> Arrivals:
        """What was told; ProtocolError for anything else."""
        match told:
            case {
                "plan": str(plan),
                "run": str(run),
                "round": int(round),
                "names": list(names),
                "asked": np.ndarray() as asked,
                "rounds": np.ndarray() as rounds,
                "models": np.ndarray() as models,
                **more,
            } if not more and all(isinstance(who, str) for who in names):
                whole = _whole(asked, (len(names), 3)) and _whole(rounds, (len(rounds.ravel()),))
                bytes_of = models.dtype == np.uint8 and models.shape == (DIGEST * rounds.size,)
                if whole and bytes_of and names and type(round) is int and round <= LARGEST:
                    digests = [row.tobytes() for row in models.reshape(-1, DIGEST)]
                    lines = [tuple(row) for row in asked.tolist()]
                    known = dict(zip(rounds.tolist(), digests, strict=True))
                    found = cls(plan, run, round, tuple(names), tuple(lines), known)
                    found.check()
                    return found
        raise ProtocolError(
            "A client was told something else than a cell of those who are ready.",
            "",
            "Look at the server's version.",
        )

    def entry(self) -> dict[str, Any]:
        """As a line of the record holds it."""
        return {
            "run": self.run,
            "round": self.round,
            "names": list(self.names),
            "asked": [list(one) for one in self.asked],
            "models": {str(round): model.hex() for round, model in self.models.items()},
        }

    @classmethod
    def of_entry(cls, plan: str, entry: Mapping[str, Any]) -> Arrivals:
        """What a line of a plan's record says; ProtocolError where its parts do not fit."""
        models = {int(round): bytes.fromhex(model) for round, model in entry["models"].items()}
        asked = tuple((epoch, number, round) for epoch, number, round in entry["asked"])
        found = cls(plan, entry["run"], entry["round"], tuple(entry["names"]), asked, models)
        found.check()
        return found


def _whole(found: Any, shape: tuple[int, ...]) -> bool:
    """Are these whole numbers that are not negative?"""
    return bool(found.dtype == np.int64 and found.shape == shape and (found >= 0).all())
