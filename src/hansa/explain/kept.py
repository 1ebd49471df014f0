"""What is kept where, and for how long.

A table of places: the client's own, the folder of the run at the server, its memory, the helpers'.
It follows from the plan (who remembers, who helps, whether a sample is secret) and from where the
clients live: of a simulation all of it lies on one machine, and the client's own beside the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..aggregators import revealed
from ..models.parts import Personal
from ..plan import Plan
from ..plan.checks import remembering
from .words import Row, Section

KEPT = "What is kept where, and for how long"
UNTIL_DELETED = "until somebody deletes the folder"
HEARD = {  # by a server that sees so much
    "nothing": "nothing but random numbers",
    "sum": "hidden vectors, or shares of them",
    "each": "each client's vector",
}
HEAD = ("where", "what", "how long")


@dataclass(frozen=True)
class Keeping:
    """How a run is kept, as far as its plan does not say.

    surveyed: is a survey asked before it? every: are the models of all rounds kept? overlapping: do
    its rounds overlap, so that what was heard waits in a file? sites: do clients live at sites of
    their own, each with a kit? peers: are they peers without a server?
    """

    surveyed: bool = False
    every: bool = False
    overlapping: bool = False
    sites: bool = False
    peers: bool = False

    @property
    def folder(self) -> str:
        """Whose folder the run's is."""
        if self.peers:
            return "who runs the simulation, in the run's folder"
        return "the server, in the run's folder"


def kept(plan: Plan, how: Keeping) -> Section:
    """Who keeps what of a run of `plan`, and until when."""
    text = (
        # P696
        "This is a simulation: all of it lies on one machine, in the folder of the run or in the "
        "memory of the program."
    )
    client = _simulated(plan)
    if how.sites:
        text = "The client's own place is the folder of its kit; what the server keeps lies there."
        client = _at_site(plan)
    rows = (*client, *_server(plan, how), *_meanwhile(plan, how))
    return Section(KEPT, text, HEAD, tuple(rows))


def _simulated(plan: Plan) -> Iterator[Row]:
    """What is kept of a client where all are simulated.

    Its memory lies in the run's folder: a run that was stopped goes on with it.
    """
    yield ("the client", "its records, where the app reads them", "as their owner keeps them")
    if words := _memory(plan):
        yield ("the client, in the run's folder", words, UNTIL_DELETED)
    yield (
        "the client, in memory",
        "a book of what was asked and answered",
        "answers until the round is settled, then hashes; as long as the program runs",
    )
    yield (
        "the run's folder",
        "32 secret bytes that noise and secret samples grow from",
        "until the run is done",
    )


def _at_site(plan: Plan) -> Iterator[Row]:
    """What is kept in a client's kit; its owner ends it with `hansa leave`, but for the digests of
    what was asked.
    """
    yield ("the client", "its records, where its owner has put them", "as their owner keeps them")
    yield (
        "the client's kit",
        "a book of what was asked and answered",
        "answers until the round is settled or the run is left, then hashes",
    )
    yield (
        "the client's kit",
        "the global model of each run, as it was told last",
        "until the run is left: hansa leave",
    )
    if words := _memory(plan):
        yield ("the client's kit", words, "until the run is left: hansa leave")
    yield (
        "the client's kit",
        "which runs it took part in, when, and what they give away",
        "as long as the kit; later runs are held against it",
    )
    yield (
        "the client's kit",
        "private keys, and the secret that its noise grows from; the approved apps",
        "as long as the kit",
    )


def _memory(plan: Plan) -> str:
    """What a client remembers from round to round, if anything."""
    pieces = [type(piece).__name__ for piece in remembering(plan)]
    words = list[str]()
    if pieces:
        words.append(f"what {', '.join(dict.fromkeys(pieces))} remembers of its earlier rounds")
    if isinstance(plan.model, Personal):
        words.append(f"its own {', '.join(plan.model.kept)}")
    if plan.model.traits.looks_back:
        words.append("the net that its last training ended with")
    return "; ".join(words)


def _server(plan: Plan, how: Keeping) -> Iterator[Row]:
    """What the folder of a run holds."""
    models = "the last two models, and the best one where the run ends early"
    if how.every:
        models = "the model after each round"
    if how.peers:
        models = f"{models}, of every peer"
    yield (how.folder, f"the plan, the settings; {models}", UNTIL_DELETED)
    took = "who took part in each round, who did not and of what kind the reason is"
    if plan.encoded_spec.hidden:
        took = "neither who took part in a round nor how many, for that is a secret"
    scores = "means of what is reported, scores on the central test, ε"
    yield (how.folder, f"{took}; {scores}", UNTIL_DELETED)
    if how.surveyed:
        yield (how.folder, "the answers of the survey", UNTIL_DELETED)
    if plan.aggregator.identified and not (plan.aggregator.parties or how.overlapping or how.peers):
        record = "names, public keys and signatures of who was asked and who is in the sum"
        yield (how.folder, f"the record: {record}", UNTIL_DELETED)


def _meanwhile(plan: Plan, how: Keeping) -> Iterator[Row]:
    """What is there only while rounds last: what the server hears, and what helpers hold.

    Where rounds overlap, or clients are at sites, the server keeps what it has heard in its store
    until the round is committed, and hears it again after a restart.
    """
    if how.peers:
        yield ("each peer, in memory", "what its neighbours say", "a round")
        return
    found = revealed(plan.aggregator).server
    heard = HEARD.get(found, "what clients say")
    where = "the server, in memory"
    if how.overlapping or how.sites:
        where = "the server, in memory and in the store"
    yield (where, f"what clients say, as it hears it: {heard}", "until its round is committed")
    if helpers := plan.aggregator.parties:
        yield (
            f"{', '.join(helpers)}, in memory",
            "shares of what clients say, who sent them, the model, and its own keys",
            "until it is asked in the next round, or stops; keys as long as it runs",
        )
