"""Agent of a node: its party, whose rounds a worker makes with the functions of the loop.

    inbox, what the node remembers  ──▶  worker: mix, train, say  ──▶  words, what it remembers

The worker has the app's code, the data, and for one round the keys of what is drawn there; no key
of the kit, and no network. It tells who hears whom, which is looked at before anybody is dialled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...aggregators.mixing import is_vector
from ...algorithms import ClientState
from ...crypto.identity import Role
from ...errors import WorkerError
from ...loops.channel import session_of
from ...messages import Request, SessionId
from ...spec import Vector
from ..sites.agent import AgentClient
from ..sites.worker import numbers
from .mesh import Mesh, mesh_of

Said = tuple[Vector, ClientState]
Inbox = Mapping[str, Any]  # what came: as `mail.inbox_of_mail` has it


@dataclass(repr=False)
class AgentPeer(AgentClient):
    """A peer whose data is read, and whose rounds are made, by a worker."""

    role: ClassVar[Role] = "peer"

    @property
    def named_run(self) -> str:
        """The run of a simulation with the same secret, where the app names one; else nothing."""
        if self.secret.hides:
            return ""
        return session_of(self.secret).run

    def mesh(self, names: Sequence[str]) -> Mesh:
        """Who hears whom; PlanError where plan, graph and these peers do not fit together."""
        told = self._asked("mesh", most=numbers(3 * len(names) ** 2), names=tuple(names))
        return mesh_of(self.who, names, told)

    def speak(self, request: Request, inbox: Inbox, state: ClientState, mesh: Mesh) -> Said:
        """What it says in a round, and what it remembers after it.

        WorkerError where that is no vector of the plan.
        """
        at = self._context(request, state, self.count, self.plan.pipeline.start())
        found = self._asked(
            "speak",
            most=numbers(4 * mesh.length),
            names=mesh.mixing.names,
            round=request.round,
            session=tuple(request.session),
            task=request.task,
            memo=at.memo,
            **inbox,
            state=state,
            turn=0,
            hides=at.key.hides,
            keys=self._dealt(request, at),
        )
        match found:
            case {"words": np.ndarray() as words, "learnt": dict(learnt)} if is_vector(
                words, mesh.length
            ):
                return words, learnt
        raise WorkerError(
            f"The worker of {self.who} has said in round {request.round + 1} what its plan does "
            "not say.",
            "A node says one vector of finite numbers.",
            "Look at the learning rate, and at the app's own classes.",
        )

    def model(self, round: int, inbox: Inbox, state: ClientState, mesh: Mesh) -> Vector:
        """Its own model [size] when so many rounds are done, and its mail is opened."""
        found = self._asked(
            "own",
            most=numbers(mesh.length),
            names=mesh.mixing.names,
            round=round,
            **inbox,
            state=state,
        )
        if not is_vector(found, self.plan.model.size):
            raise WorkerError(f"The worker of {self.who} has told no model.")
        return np.array(found)


def request_of(plan: str, run: str, round: int, who: str) -> Request:
    """A round as the loop asks for it: what a node draws in it has the same path of keys."""
    return Request(plan, round, SessionId(run, 0, round), None, {who: None})
