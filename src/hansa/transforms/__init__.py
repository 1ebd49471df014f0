"""Transforms: what happens to a vector between a client and the sum, and back.

A transform is a pair of maps around a sum. On each client `encode`, in order; on the server, once,
on the sum, `decode`, in reverse order. The one law is

    decode(Σᵢ encode(vᵢ)) = Σᵢ vᵢ        up to the error that the transform declares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..crypto.identity import Identity, Member
from ..data import Examples
from ..known import own
from ..rand import Key
from ..spec import Spec, Vector
from .curves import Gaussian, Mechanism
from .staleness import slowed


@dataclass(frozen=True)
class Session:
    """One conversation of the server with its parties, as one of them knows it."""

    round: int
    common: Key = Key(b"")  # the same for all parties: public
    # of this party, and grown from the plan's seed: shuffles, dropout; public
    repeats: Key = Key(b"")
    own: Key = Key(b"")  # of this party, the same in all sessions of a run: secret
    # the same for all parties, and in all sessions of the round, which a server may number as it
    # likes: public
    drawn: Key = Key(b"")
    task: bytes = b""  # SHA-256 of plan, session and model, as this party was told them
    roster: Mapping[str, Member] = field(default_factory=dict, repr=False)  # whom this party knows
    identity: Identity | None = None  # of this party, where others know it by its keys: secret
    cohort: tuple[str, ...] = ()  # who is asked, sorted, where the party can tell by itself

    def outside(self) -> Session:
        """The same for who is not to know the party's secrets: those of its noise and its name."""
        # a population's roster has its secret
        return Session(self.round, self.common, self.repeats, drawn=self.drawn, task=self.task)


@dataclass(frozen=True)
class Context:
    """Where in a run a piece of code is: the session, the client, its key, its spec.

    `key` is secret: it grows from what this party alone knows, and no other piece's follows from
    it. Training alone draws from one that everybody can grow again, where it hides nothing.
    """

    session: Session
    key: Key
    spec: Spec  # what enters this piece of code
    who: str = "server"
    examples: Any = 1  # of this client; an array when many clients are encoded at once
    # vectors in the sum, or as many as are expected where that is a secret; known to the server
    # only
    n: int = 1
    population: int = 1  # clients in the roster; known to the server only
    memo: Any = None  # what the transform has learnt; public, sent to clients with the model
    overwrite: bool = False  # may `decode` and `step` write into what they are given?
    # of this client, for a transform that `reads`
    data: Examples | None = field(default=None, repr=False)
    # what this client has kept of the transform; None in its first round
    remembered: Any = field(default=None, repr=False)

    def enrolled(self, roster: Mapping[str, Member], identity: Identity | None = None) -> Context:
        """The same, where the party knows others by this roster, and has this identity itself."""
        if not roster and identity is None:
            return self
        return replace(self, session=replace(self.session, roster=roster, identity=identity))

    def within(self, session: Session, key: Key, spec: Spec) -> Context:
        """The same for another piece of code, which has this key, and takes this spec."""
        # spelt out, for it runs several times per client, and `replace` takes three times as long
        here = self.who, self.examples, self.n, self.population, self.memo, self.overwrite
        return Context(session, key, spec, *here)

    @property
    def round(self) -> int:
        """Rounds done before this one."""
        return self.session.round

    @property
    def common(self) -> Key:
        """The key that all parties of the session share: public."""
        return self.session.common


class Transform:
    """A pair of maps around a sum; override only what differs from doing nothing."""

    # is one vector, encoded and decoded alone, what it was, to the last bits of each number?
    keeps: ClassVar[bool] = False
    reads: ClassVar[bool] = False  # does `encode` look at the client's examples, in `at.data`?

    def plan(self, spec: Spec) -> Spec:
        """Read, refuse or refine what is known of the vector."""
        return spec

    def encode(self, v: Vector, at: Context) -> Vector:
        """A client's vector [size], or those of many clients [n, size], on the way to the sum."""
        return v

    @property
    def remembers(self) -> bool:
        """Does a client keep something of it from round to round? So it does where `remember` is
        written.
        """
        return type(self).remember is not Transform.remember

    def remember(self, v: Vector, encoded: Vector, at: Context) -> Any:
        """What a client keeps until it is asked again, of the vector that `encode` got and of what
        it gave; `at.remembered` is what it kept before.

        It counts with the round in whose sum the vector is, and else the client keeps what it had.
        """
        return None

    def decode(self, total: Vector, at: Context) -> Vector:
        """The sum of `at.n` encoded vectors on the way back."""
        return total

    def start(self) -> Any:
        """What the transform knows before the first round; None for one that never learns."""
        return None

    def learn(self, total: Vector, at: Context) -> Any:
        """What it knows after a round, from the sum that `decode` gets next; `at.memo` is what it
        knew.

        Where `at.overwrite`, it keeps no part of that sum.
        """
        return at.memo

    def privacy(self, spec: Spec, n: int) -> Mechanism | None:
        """What its noise in a sum of n vectors gives away about a client; None where it states
        nothing, and there is no ε.

        `spec` is what leaves it; one client changes block k of the sum by spec.sum_facts.bounds[k]
        at most.
        """
        return None

    def describe(self) -> str:
        """Of noise: what is drawn, and by whom."""
        return f"drawn as {type(self).__name__} does"

    def explain(self, spec: Spec) -> str:
        """One clause on what it does to the vector of `spec`, for a reader who knows no code."""
        first = (type(self).__doc__ or "").split("\n\n")[0]
        return " ".join(first.split(":  ")[0].split()).rstrip(".:")


Mean = tuple[Vector, tuple[Any, ...]]  # a decoded sum, and what the transforms have learnt from it
# an encoded vector, and what its client keeps of each transform
Encoded = tuple[Vector, tuple[Any, ...]]


@dataclass(frozen=True)
class Pipe:
    """Transforms in order, with the spec that enters each; `specs[-1]` is what goes on the wire."""

    transforms: tuple[Transform, ...]
    specs: tuple[Spec, ...]

    @classmethod
    def of(cls, transforms: tuple[Transform, ...], spec: Spec) -> Pipe:
        """Pass the facts through all transforms."""
        # Twice, for what stands early must know of what stands late: noise covers what rounding and
        # weighing let one client change, and rounding leaves room for noise.
        for _ in range(2):
            specs = [spec]
            for transform in transforms:
                specs.append(transform.plan(specs[-1]))
            encoded = replace(specs[-1].sum_facts, bounds=specs[-1].bounds, noise=specs[-1].noise)
            spec = spec.replace(sum_facts=encoded)
        return cls(transforms, tuple(one.replace(sum_facts=encoded) for one in specs))

    @cached_property
    def looks(self) -> bool:
        """Does a transform look at the client's examples, or at what it has kept?"""
        return any(one.reads or one.remembers for one in self.transforms)

    @property
    def noise(self) -> int | None:
        """Which transform adds the noise; None where none does."""
        return next((i for i, one in enumerate(self.specs[1:]) if one.noise.multiplier), None)

    @property
    def amplifiable(self) -> bool:
        """Is the noise one whose amplification by sampling is known? Noise by clients is there
        because the server is not trusted, and the server samples.
        """
        place = self.noise
        if place is None or not self.specs[-1].noise.server or not own(self.transforms[place]):
            return False
        return isinstance(self.transforms[place].privacy(self.specs[place + 1], 1), Gaussian)

    @property
    def _slows(self) -> int:
        """Before which transform a vector is slowed: the first that rounds it, or adds noise; else
        behind all.
        """
        late = (one.space == "integer" or bool(one.noise.multiplier) for one in self.specs[1:])
        return next((i for i, is_late in enumerate(late) if is_late), len(self.transforms))

    def start(self) -> tuple[Any, ...]:
        """What the transforms know before the first round."""
        return tuple(transform.start() for transform in self.transforms)

    def encode(self, v: Vector, at: Context, staleness: int = 0) -> Encoded:
        """The client's half: the encoded vector, and what the client keeps of each transform.

        `at.remembered` is what it kept before, in the same order; or nothing. Of the vectors of
        many clients [n, size] nothing is kept, and TypeError says so where something was.
        staleness: how many rounds ago the client got its model. What has been clipped is slowed by
        it, and noise is not.
        """
        alone = v.ndim == 1
        if at.remembered and not alone:
            raise TypeError(f"{len(v)} vectors cannot be encoded with what one client remembers")
        kept: list[Any] = [None] * len(self.transforms)
        for i, transform in enumerate(self.transforms):
            here = self._at(i, at)
            if staleness and i == self._slows:
                v = slowed(v, self.specs[i], staleness)
            before = v
            v = transform.encode(before, here)
            if alone and transform.remembers:
                kept[i] = transform.remember(before, v, here)
        return v, tuple(kept)

    def decode(self, total: Vector, at: Context) -> Mean:
        """The server's half: the decoded sum, and what the transforms have learnt from it."""
        memo = list(at.memo)
        for i in reversed(range(len(self.transforms))):
            here = self._at(i, at)
            memo[i] = self.transforms[i].learn(total, here)
            total = self.transforms[i].decode(total, here)
            if at.overwrite and not here.overwrite:  # what a stranger gives may be what it has kept
                total = np.array(total)
        return total, tuple(memo)

    @cached_property
    def _own(self) -> tuple[bool, ...]:
        return tuple(map(own, self.transforms))

    def _at(self, i: int, at: Context) -> Context:
        # spelt out, for this runs once per client and transform, and `replace` takes three times as
        # long
        key = at.key.child("pipe", i)
        session = at.session if self._own[i] else at.session.outside()
        here = self.specs[i], at.who, at.examples, at.n, at.population, at.memo[i]
        data = at.data if self.transforms[i].reads else None
        remembered = at.remembered[i] if at.remembered else None
        return Context(session, key, *here, at.overwrite and self._own[i], data, remembered)


@dataclass(frozen=True)
class Decoder:
    """The server's half of a pipe in one round: a function of a sum and the number of vectors in
    it.
    """

    pipe: Pipe
    at: Context
    # the model's: why nobody can honestly say this
    fault: Callable[[dict[str, Vector]], str] = lambda parts: ""

    @property
    def spec(self) -> Spec:
        """What comes out: the vector as the algorithm knows it."""
        return self.pipe.specs[0]

    def __call__(self, total: Vector, n: int, overwrite: bool = False) -> Mean:
        """The decoded mean of `n` vectors that add up to `total`, which may be given away."""
        at = counted(self.at, self.pipe.specs[-1], n)
        return self.pipe.decode(total, replace(at, overwrite=overwrite))


def counted(at: Context, encoded: Spec, n: int) -> Context:
    """`at`, with n vectors in the sum; or with as many as are expected, where that n is a
    secret.
    """
    if encoded.hidden:
        n = encoded.sum_facts.clients
        if encoded.noise.share:
            n = max(1, round(encoded.noise.share * at.population))
    return replace(at, n=n)
