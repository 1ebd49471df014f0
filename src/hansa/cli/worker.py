"""The life of a worker: it loads an app that was approved, and does what its agent asks.

    app        load it; once, before all else
    about      which plans it has
    explain    what its survey and plan ask of a client, in words
    outline    what an agent needs to know of one of them
    data       read the client's data: how many examples there are
    train      a client's vector of one round
    encode     a vector of what was trained before, some rounds later
    score      a model, on the client's data
    predict    what a model says of each example of it
    export     a model's weights, by the names that the app gives them
    mesh, speak, own          a node's half of rounds without a server (`peering`)

It runs in a sandbox, without a key of its party's and without a network, and ends with its link.
"""

from __future__ import annotations

import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..algorithms import PIPE, ClientState
from ..algorithms.reports import personal, personal_model
from ..app import App
from ..app.first import answers_of, plan_of
from ..asks import alone
from ..codec import fingerprint
from ..config.run import Config
from ..data import Sites
from ..data.sites import Source, prepared
from ..errors import AppError, HansaError, ProtocolError, message
from ..models import NO_LOCAL, Local
from ..models.predictions import check_kept, predicted, staying
from ..parties.client import Client
from ..plan import Plan
from ..plan.client import Trained
from ..plan.outline import outlined
from ..rand import Key
from ..runtimes.allocator import keep
from ..runtimes.sites.talk import receive, send
from ..spec import Vector
from . import peering
from .dealing import Dealt, context, seeded
from .target import app_of


def live(end: int) -> None:
    """A worker's whole life, at its end of a link."""
    keep()
    link = socket.socket(fileno=end)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    warnings.formatwarning = lambda words, *_: f"{words}\n"
    work: Work | None = None
    while (found := receive(link)) is not None:
        number, asked = found
        try:
            if work is None:
                work = Work.of(asked)
                answer: Any = True
            else:
                answer = work.answer(asked)
            send(link, number, {"answer": answer})
        except HansaError as error:
            said = [error.found, error.why, error.instead]
            send(link, number, {"error": type(error).__name__, "words": said})
        except Exception as error:
            traceback.print_exc()
            what = f"The app's code failed: {type(error).__name__}: {message(error)}"
            send(link, number, {"error": "WorkerError", "words": [what, "", "Mend it."]})


@dataclass
class Work:
    """An app, and what is done with it for one party."""

    app: App
    who: str
    path: Path | None
    clients: dict[bytes, Client] = field(default_factory=dict)
    # digest of a plan → what came of a training, and what foreign code draws from
    resting: dict[str, tuple[Trained, Key]] = field(default_factory=dict)

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Work:
        """Load an app; AppError where it cannot be used at a site."""
        config = Config(**{**asked["config"], "app": asked["app"]})
        path = None if asked["data"] is None else Path(asked["data"])
        work = cls(app_of(config), asked["who"], path)
        if path is not None:
            _ = work.source
        return work

    def answer(self, asked: Mapping[str, Any]) -> Any:
        """What one question is answered with."""
        does: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "about": self.about,
            "explain": self.explain,
            "outline": self.outline,
            "data": self.data,
            "train": self.train,
            "encode": self.encode,
            "score": self.score,
            "predict": self.predict,
            "export": self.export,
            "mesh": partial(peering.mesh, self),
            "speak": partial(peering.speak, self),
            "own": partial(peering.own, self),
        }
        return does[asked["what"]](asked)

    def about(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The digests of survey and plan, where they are known, and the secret that the app
        names.
        """
        first = self.app.first
        plan = self.app.plan
        secret = self.app.secret
        return {
            "first": "" if first is None else first.digest,
            "plan": plan.digest if isinstance(plan, Plan) else "",
            "secret": b"" if secret is None else secret.secret,
            "prepares": self.app.prepare is not None,
        }

    def explain(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What it asks of this client: sections and warnings, fingerprints, ε of a run."""
        found = self.app.statement(self.who, sites=True)
        names = ("plan", "survey", "promise")
        told = {name: getattr(found, name) for name in names}
        return {**told, "explained": asdict(found.explained)}

    def outline(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What is told of a plan; PlanError where it holds what no agent runs."""
        plan, _ = self.plan(asked)
        return outlined(plan)

    def data(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """How many examples there are to train on, and their SHA-256, where that is wanted."""
        client = self.client(asked)
        digest = ""
        n = client.count
        if asked["hash"]:
            digest = client.data_hash
        return {"examples": n, "sha256": digest}

    def train(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The client's vector of one round, and what it remembers after it; of what `rests`, to be
        encoded later, nothing.
        """
        client = self.client(asked)
        plan = client.plan
        at, foreign = context(client, asked)
        does = client.trained if asked["rests"] else client.contributed
        work = does(asked["broadcast"], asked["state"], at)
        found = alone(seeded(client, work, foreign), plan.perform)
        if not asked["rests"]:
            return _said(found)
        self.resting[plan.digest] = found, foreign
        return {}

    def encode(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The client's vector of what rests, so many rounds later."""
        client = self.client(asked)
        trained, foreign = self.resting.pop(client.plan.digest)

        def work() -> Any:
            yield from ()
            return trained.encoded(asked["staleness"])

        return _said(alone(seeded(client, work(), foreign), client.plan.perform))

    def score(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """How a model does on the client's data, all of it: how many examples, and each metric."""
        client = self.client(asked)
        model = client.plan.model
        x, kept = self.model(client.plan, asked)
        examples = client.examples
        check_kept(model, kept)
        model.check(examples, self.who)
        scores = model.score(x, examples, kept)
        return {"examples": len(examples), "scores": {k: float(v) for k, v in scores.items()}}

    def predict(self, asked: Mapping[str, Any]) -> Vector:
        """What a model says of each of the client's examples [n, …]."""
        client = self.client(asked)
        model = client.plan.model
        x, kept = self.model(client.plan, asked)
        check_kept(model, kept)
        return predicted(model, x, client.examples, kept, self.who)

    def export(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The weights of a model, by name; and of what the file holds the start alone."""
        plan, _ = self.plan(asked)
        x, kept = self.model(plan, asked)
        tensors = plan.model.tensors(x, kept)
        return {
            "weights": {name: np.array(one, order="C") for name, one in tensors.items()},
            "start": [] if asked["own"] else staying(plan.model),
        }

    def model(self, plan: Plan, asked: Mapping[str, Any]) -> tuple[Vector, Local]:
        """The global model as it was told, or the client's own, and what it keeps of it; AppError
        where it has none.
        """
        state = asked["state"]
        own, kept = personal_model(plan.algorithm, asked["broadcast"], state)
        if not asked["own"]:
            return asked["broadcast"]["x"], NO_LOCAL
        theirs = personal(plan.model, plan.algorithm) or plan.model.traits.statistics
        if not theirs or not state.keys() - {PIPE}:
            raise AppError(
                f"{self.who} has no model of its own in this run.",
                "The plan trains one model, which all use; or this client has not counted yet.",
                "Leave --own out; or take part in a round first.",
            )
        return own, kept

    @property
    def source(self) -> Source:
        """Where the client's data is."""
        data = self.app.data
        if not isinstance(data, Sites):
            raise AppError(
                "The data of this app lies in its file, for a simulation.",
                "A site reads its own, from a path.",
                "Write App(data=Sites(read, 'data/*.csv')), where read(path) gives the examples.",
            )
        if self.path is None:
            raise AppError(
                f"{self.who} has no data.",
                "A client trains on what lies at a path.",
                "Name it: --data /srv/records.csv.",
            )
        return data.at(self.path)

    def client(self, asked: Mapping[str, Any]) -> Client:
        """The client of a plan; its data is read when it is needed, and once."""
        place = fingerprint((asked["plan"], asked["found"], asked["read"]))
        if place not in self.clients:
            plan, answers = self.plan(asked)
            source = self.source
            if answers is not None and self.app.prepare is not None:
                source = prepared(source, self.app.prepare, answers)
            secret = Dealt(b"", False, {f"read/{self.who}": Key(asked["read"])})
            self.clients[place] = Client(self.who, plan, source, secret=secret)
        return self.clients[place]

    def plan(self, asked: Mapping[str, Any]) -> tuple[Plan, Mapping[str, Any] | None]:
        """The plan with a digest, and what a survey found on which it or the data hangs;
        ProtocolError where the app has none.
        """
        digest = asked["plan"]
        found = asked["found"]
        first = self.app.first
        plan = self.app.plan
        answers: Mapping[str, Any] | None = None
        if first is not None and digest == first.digest:
            return first, None
        if first is not None and found is not None:
            _check_found(first, found)
            answers = answers_of(first, replace(first.start(), x=found, round=1))
            plan = plan_of(plan, answers)
        if not isinstance(plan, Plan) or plan.digest != digest:
            raise ProtocolError(
                f"The server asks for the plan {digest[:8]}…, and this app has another.",
                "Both must mean the same by what they say.",
                "Give both the same app, of the same version, and the same minor version of "
                "Python.",
            )
        return plan, answers


def _said(found: tuple[Vector, ClientState]) -> dict[str, Any]:
    """A vector, and what is remembered after it."""
    v, learnt = found
    return {"vector": v, "learnt": learnt}


def _check_found(first: Plan, found: Any) -> None:
    """ProtocolError where a survey cannot have found this."""
    wanted = first.start().x
    if isinstance(found, np.ndarray) and (found.shape, found.dtype) == (wanted.shape, wanted.dtype):
        return
    raise ProtocolError(
        "The server says that the survey has found what it cannot find.",
        f"Its answer is {wanted.size} numbers.",
        "Look at the version of hansa that the server has; ask who runs it.",
    )
