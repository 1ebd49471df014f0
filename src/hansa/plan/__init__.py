"""Plan: one immutable value that says what a federation does. Server and clients hold the same."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ..aggregators import Aggregator, Sum, trees
from ..algorithms import PIPE, Algorithm, ClientState, FedAvg, reports
from ..data import Examples
from ..digest import digest_of
from ..errors import Diverged, PlanError, tell
from ..known import own
from ..messages import SessionId
from ..models import NO_LOCAL, Model
from ..models.asks import Ask, AskedModel, locally, perform
from ..models.parts import check_only
from ..rand import Key
from ..sample import Amplification, Everyone, Sample, check_drawn
from ..spec import Bound, Spec, SumFacts, Vector, blocks
from ..state import State
from ..training import Training
from ..transforms import Context, Decoder, Mean, Pipe, Session, Transform, counted
from ..transforms.weigh import Weigh
from .checks import STATISTICS, check_memory, check_pieces, check_statistics, check_sum


@dataclass(frozen=True)
class Plan:
    """A model, an algorithm, the transforms around a sum, and the way the sum is taken.

    It prints as the expression that builds it. A plan that cannot mean anything raises PlanError
    when it is built.
    """

    model: Model
    algorithm: Algorithm = field(default_factory=FedAvg)
    pipe: tuple[Transform, ...] = (Weigh("examples"),)
    aggregator: Aggregator = field(default_factory=Sum)
    training: Training = field(default_factory=Training)
    sample: Sample = field(default_factory=Everyone)
    rounds: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "pipe", tuple(self.pipe) if isinstance(self.pipe, (list, tuple)) else (self.pipe,)
        )
        check_pieces(self)
        # refuses what it cannot tell apart; kept when it is first asked for, when all code is there
        digest_of(self)
        trees.check(self.model, self.algorithm, self.pipe, self.aggregator)
        if self.training.private and not self.model.private:
            raise PlanError(
                f"{type(self.model).__name__} cannot train with {self.training.private!r}.",
                "It does not give the gradient of each example, and its update would tell of them "
                "without noise.",
                "Take Softmax, TorchModel or JaxModel, or leave `private` out of the Training.",
            )
        check_only(self.model, self.training)
        self.model.plan(self.training)
        self.algorithm.plan(self.training)
        check_statistics(self.model, self.algorithm)
        check_sum(self.encoded_spec, self.sample, self.aggregator)
        check_memory(self)
        _ = self.sum_spec
        if self.sample.most and (why := self.aggregator.shortfall(self.sample.most)):
            raise PlanError(
                f"{self.aggregator!r} hears {self.sample.most} clients in a round at most.",
                why,
                "Sample more, or expect fewer attackers.",
            )

    @cached_property
    def reported(self) -> dict[str, Bound]:
        """The side values that clients report: name → bound."""
        return reports.bounds(self.model, self.algorithm, self.training)

    @cached_property
    def pipeline(self) -> Pipe:
        """The pipe with the facts that enter each transform."""
        facts = SumFacts(clients=self.sample.most, rounds=self.rounds)
        spec = Spec(self._blocks, kinds=dict.fromkeys(self._carried, STATISTICS), sum_facts=facts)
        for name, bound in (*self.algorithm.side().items(), *self.reported.items()):
            spec = spec.with_side(name, bound)
        pipe = Pipe.of(self.pipe, spec)
        amplified = self.sample.amplification if own(self.sample) else None
        shown = self.sample.quorum > 1 or not pipe.amplifiable
        if amplified is None or shown:
            return pipe
        # A mean over those who came would tell, of each client, whether it was sampled, and so
        # would a round without effect because few came; privacy rests on that too.
        specs = [one.replace(noise=replace(one.noise, share=amplified.rate)) for one in pipe.specs]
        return replace(
            pipe,
            specs=tuple(
                one.replace(sum_facts=replace(one.sum_facts, hidden=True)) for one in specs
            ),
        )

    @property
    def amplification(self) -> Amplification | None:
        """What its sample does for privacy; None where that is nothing, or is not known."""
        return self.sample.amplification if self.encoded_spec.hidden else None

    @property
    def _carried(self) -> tuple[str, ...]:
        """The block of the model's statistics, where it has any that travel."""
        return (STATISTICS,) if self.model.trainable < self.model.size else ()

    @property
    def _blocks(self) -> dict[str, int]:
        """The algorithm's blocks; behind `delta` the part of it that are statistics, as a block of
        its own.
        """
        blocks = self.algorithm.blocks(self.model.size)
        d = self.model.size
        trained = self.model.trainable
        if not self._carried:
            return blocks
        order = [
            name
            for block in blocks
            for name in ((block, STATISTICS) if block == "delta" else (block,))
        ]
        return {
            name: {"delta": trained, STATISTICS: d - trained}.get(name) or blocks[name]
            for name in order
        }

    @property
    def spec(self) -> Spec:
        """What a client says before any transform."""
        return self.pipeline.specs[0]

    @property
    def encoded_spec(self) -> Spec:
        """What is summed in the end."""
        return self.pipeline.specs[-1]

    @cached_property
    def sum_spec(self) -> Spec:
        """What is known of the sum, with what the aggregator adds to it."""
        return self.aggregator.plan(self.encoded_spec)

    @cached_property
    def digest(self) -> str:
        """A fingerprint of all that the plan says; server and clients compare it.

        It covers every field of every piece, arrays with all their bytes, and the code of classes
        and functions that neither hansa nor an installed package defines: parents, methods,
        defaults, closures, and what that code names in its own modules, to any depth. Libraries
        count by name, without their version. It does not follow imports inside functions or names
        that are computed, and an object that code refers to may count by its class alone. Bytecode
        counts, so parties whose plan holds code of its own need one minor version of Python.
        """
        return digest_of(self)

    @cached_property
    def key(self) -> Key:
        """The root of all randomness that is public: first weights, shuffles, dropout, the
        hold-out, rotations.
        """
        return Key.of(self.seed)

    @cached_property
    def hides(self) -> bool:
        """Does anybody add noise, so that something rests on secrets?"""
        return bool(self.sum_spec.noise.multiplier or self.training.private)

    @property
    def clients_draw(self) -> bool:
        """Does a client draw noise itself, so that it may answer once in a round?"""
        return bool(self.training.private) or self.encoded_spec.noise.clients

    @cached_property
    def binds(self) -> bool:
        """Does anything rest on what a party says once, so that it must never say another thing in
        its place?

        Of a stranger's piece nobody knows what it draws for.
        """
        return (
            self.hides
            or bool(self.aggregator.parties)
            or not all(map(own, (*self.pipe, self.aggregator)))
        )

    def context(
        self,
        round: int,
        session: SessionId,
        who: str | None = None,
        *,
        secret: Key,
        task: bytes = b"",
        **more: Any,
    ) -> Context:
        """Where a party, or the server where none is named, is in one session of one round of a
        run.

        `secret` is the party's own, and `task` that of the request: a hash of plan, session and
        what was broadcast. The path of what the party draws holds all of this, so no draw ever
        answers two questions.
        """
        party = ("server",) if who is None else ("client", who)
        public, common = _public(self.key, round, session.number)
        own = secret.child("run", session.run).child(*party)
        key = own.child(round, session.number, "task", task.hex())
        one = Session(round, common, public.child(*party), own, task)
        return Context(one, key, self.spec, who or "server", **more)

    def training_context(self, at: Context) -> Context:
        """The same for the algorithm, which may be anybody's: no noise but that of training follows
        from its key.

        Where that hides nothing either, draws repeat with the plan's seed.
        """
        key = at.key.child("training") if self.training.private else at.session.repeats
        return at.within(at.session.outside(), key, at.spec)

    def aggregator_context(self, at: Context) -> Context:
        """The same for a party's half of the aggregator: no noise of training or the pipe follows
        from its key.
        """
        session = at.session if self._ours else at.session.outside()
        return at.within(session, at.key.child("aggregator"), self.encoded_spec)

    @cached_property
    def _ours(self) -> bool:
        """Is the aggregator hansa's own?"""
        return own(self.aggregator)

    def cohort(self, roster: Sequence[str], at: Context) -> list[str]:
        """Who is asked in a round: drawn in secret where noise hides who, and else from the plan's
        seed.
        """
        key = at.key if self.hides else at.session.repeats
        drawn = self.sample.draw(roster, key.child("sample"), at.round)
        return check_drawn(self.sample, drawn, roster)

    def start(self) -> State:
        """The state before the first round."""
        x = np.asarray(self.model.start(self.key.child("start")), np.float64)
        memo = self.algorithm.start(x, self.key.child("algorithm"))
        return State(0, x, memo, self.pipeline.start())

    def broadcast(self, state: State) -> tuple[dict[str, Vector], tuple[Any, ...]]:
        """What every client of a round is told: the algorithm's vectors, and what the transforms
        have learnt.
        """
        return self.algorithm.broadcast(state.x, state.memo), state.transforms

    @cached_property
    def broadcast_shapes(self) -> dict[str, tuple[int, ...]]:
        """The vectors that every client of a round is told: name → shape."""
        return {name: np.shape(v) for name, v in self.broadcast(self.start())[0].items()}

    def accepts(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Do clients get vectors of these shapes? A model that grows may have any number of
        rows.
        """
        if self.model.grows:
            shapes = {
                name: tuple(n % self.model.size for n in shape) for name, shape in shapes.items()
            }
        return shapes == self.broadcast_shapes

    def decoder(self, at: Context) -> Decoder:
        """The server's half of the pipe."""
        return Decoder(self.pipeline, at, self.model.fault)

    def perform(self, asks: Sequence[Ask]) -> list[Any]:
        """What clients ask of the model: the answer to each, or the exception that it ended in."""
        return perform(self.model, asks)

    def contribute(
        self,
        broadcast: dict[str, Vector],
        client_state: ClientState,
        data: Examples,
        held: Examples | None,
        at: Context,
    ) -> Generator[Ask, Any, tuple[Vector, ClientState]]:
        """The client's half of a round: score the model on the held-out examples, train, pack,
        encode; its vector, and what it remembers.
        """
        local = client_state.get("model", NO_LOCAL)
        remembered = client_state.get(PIPE, ())
        client_state = {name: one for name, one in client_state.items() if name != PIPE}
        scores = {}
        if self.training.validation and self.training.report:
            theirs = (broadcast, client_state, held)
            scores = yield from reports.scored(self.model, self.algorithm, *theirs)
        work = self.algorithm.client(
            AskedModel(self.model),
            broadcast,
            client_state,
            data,
            self.training,
            self.training_context(at),
        )
        (parts, client_state), local = yield from locally(work, local, self.training)
        if PIPE in client_state:
            raise TypeError(
                f"{type(self.algorithm).__name__}.client() remembers something as {PIPE!r}, where "
                "what transforms remember is kept; give it another name"
            )
        if why := reports.diverged(self.model, self.algorithm, broadcast, client_state):
            tell(f"{at.who}: {why}", Diverged)
            # as before its first round: its own model is the global one. What transforms remember
            # of its updates stays, for those are of the global model, and others count on them.
            client_state = {}
            local = NO_LOCAL
        if local:
            client_state = {**client_state, "model": dict(local)}
        parts |= scores
        if self._carried:
            delta = np.ravel(parts["delta"])
            parts |= {
                "delta": delta[: self.model.trainable],
                STATISTICS: delta[self.model.trainable :],
            }
        if any(step.reads or step.remembers for step in self.pipe):
            at = replace(at, data=data, remembered=remembered)
        v, remembered = self.pipeline.encode(self.spec.pack(parts), at)
        if any(kept is not None for kept in remembered):
            client_state = {**client_state, PIPE: remembered}
        if client_state and self.amplification and not self.amplification.rate:
            raise TypeError(
                f"{type(self.algorithm).__name__} or {type(self.model).__name__} remembers "
                f"something of a client, and no ε is known for that beside {self.sample!r}; write "
                "Poisson(…), or a quorum in the sample"
            )
        return v, client_state

    def absorb(
        self,
        state: State,
        received: Mean | None,
        participants: Sequence[str],
        at: Context,
        **told: Any,
    ) -> State:
        """The server's half: step with the mean, or say why not."""
        skipped = told.pop("skipped", "") or _void(self, received, participants)
        told["hidden"] = self.encoded_spec.hidden
        if received is None or skipped:
            kept = (state.x, state.memo, state.transforms)
            there = tuple(participants)
            return State(state.round + 1, *kept, participants=there, skipped=skipped, **told)
        vector, transforms = received
        mean = self.spec.unpack(vector)
        optimizer = getattr(self.algorithm, "server", self.algorithm)
        pieces = (*self.pipe, self.aggregator, self.algorithm, optimizer)
        ours = all(map(own, pieces))  # a stranger may keep the mean
        outside = replace(counted(at, self.encoded_spec, at.n), session=at.session.outside())
        outside = replace(outside, key=at.session.repeats, overwrite=ours)
        trained = self.model.trainable
        statistics = np.empty(0)
        if self._carried:
            whole = slice(self.spec.slice("delta").start, self.spec.slice(STATISTICS).stop)
            statistics = np.maximum(state.x[trained:] + mean.pop(STATISTICS), self.model.domain)
            mean["delta"] = vector[whole]
        x, memo = self.algorithm.step(state.x, state.memo, mean, outside)
        if self._carried:
            x = x if ours else x.copy()
            x[trained:] = statistics
        noisy = bool(self.sum_spec.noise.multiplier)
        metrics = reports.means(mean, self.reported, noisy)
        told |= {"metrics": metrics, "participants": tuple(participants)}
        return State(state.round + 1, x, memo, transforms, **told)


# the block of a model's running statistics, and its kind
@lru_cache(maxsize=4)  # for it is asked once per client
def _public(key: Key, round: int, session: int) -> tuple[Key, Key]:
    """The key of a session, and the one that all of its parties share."""
    public = key.child(round, session)
    return public, public.child("all")


def _void(plan: Plan, received: Mean | None, participants: Sequence[str]) -> str:
    """Why a round changes nothing, if so; one that made the model NaN would be the end of the
    run.
    """
    few = len(set(participants)) < plan.sample.quorum
    # that a round is void would tell who was sampled
    told = few and not plan.encoded_spec.hidden
    if received is None or told:
        return f"{len(set(participants))} answered, {plan.sample.quorum} needed"
    mean = plan.spec.unpack(received[0])
    bad = [name for name, part in mean.items() if name not in plan.reported and not _finite(part)]
    return (
        f"the mean {' and '.join(bad)} holds NaN or infinity; Finite() keeps who says so out"
        if bad
        else ""
    )


def _finite(v: Vector) -> bool:
    """Is every number of a vector, or of many, finite?"""
    return all(np.isfinite(v[..., place]).all() for place in blocks(v.shape[-1]))
