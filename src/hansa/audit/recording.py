"""What an attack writes down of a round: what is published, and what each client says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..messages import Message, Reply, Request
from ..parties.client import Client
from ..plan import Plan
from ..runtimes.inprocess import InProcess
from ..spec import Vector
from ..transforms import Context, Transform


@dataclass(frozen=True)
class RecordMean(Transform):
    """Remember the mean as it was decoded last.

    That is all that is published of a round, whatever the server makes of it.
    """

    def learn(self, total: Vector, at: Context) -> Vector:
        """The mean."""
        return total.copy()  # what is given may be overwritten later


class RecordingRuntime(InProcess):
    """All clients in this process, and what each has said in this round, by name."""

    def __init__(self, clients: Iterable[Client], seed: int):
        super().__init__(clients, seed=seed)
        self.said = dict[str, Vector]()

    def send(self, message: Message) -> None:
        """Ask that each be heard alone."""
        if isinstance(message, Request):
            self.said = {}
            message = replace(message, fold=False)
        super().send(message)

    def receive(self) -> Reply:
        """The next reply; it is noted."""
        reply = super().receive()
        if self.clients.plan.encoded_spec.fits(reply.body):
            self.said[reply.who[0]] = reply.body
        return reply


def noise_at(plan: Plan) -> int:
    """Where in the pipe the noise comes; its length where there is none."""
    place = plan.pipeline.noise
    return len(plan.pipe) if place is None else place


def without_server_noise(plan: Plan) -> Plan:
    """The plan as its server sees a sum: before it adds its own noise."""
    if not plan.encoded_spec.noise.server:
        return plan
    i = noise_at(plan)
    return replace(plan, pipe=plan.pipe[:i] + plan.pipe[i + 1 :])
