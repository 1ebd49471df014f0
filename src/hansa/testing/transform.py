"""What a transform promises.

    the law       decode(Σ encode(vᵢ)) = Σ vᵢ, or the mean where it weighs, up to what it declares
    encode()      a function of its arguments, which modifies none, for a vector or many at a time
    the bounds    no vector that it encodes goes beyond what plan() declares
    plan()        a function that leaves the spec alone that it is given
    learn()       plain values, a function of its arguments
    remember()    plain values that are finite and do not grow, a function of its arguments; what a
                  client remembers is nowhere else, and bounds hold whatever it is
    itself        its repr builds it, explain() says in words what it does, nothing in it changes

Where encode() draws, the law holds on average: it is tried with KEYS keys, and the average may lie
SIGMAS standard errors from nothing. A transform that adds noise says how much in plan().
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..codec import length as size_of
from ..data import Examples
from ..errors import PlanError
from ..spec import Spec, Vector
from ..sums import Total
from ..transforms import Context, Encoded, Pipe, Session, Transform
from ..transforms.scale import norm
from .asserts import KEY, check_repr, equal, is_plain, require

KEYS = 64  # draws over which random errors are averaged
ROUNDS = 32  # of a client, for a transform that remembers
# for a transform that reads a client's
EXAMPLES = Examples.of((np.eye(4, 2), np.array([0, 0, 0, 1])))
SIGMAS = 6.0  # how far such an average may lie from nothing


def check_transform(
    transform: Transform, spec: Spec | None = None, error: float = 0.0, length: float | None = None
) -> None:
    """Hold a transform to its law and to its plan().

        decode(Σ encode(vᵢ)) = Σ vᵢ,    or = (1/n)·Σ vᵢ where it weighs

    spec     what enters; else all that plan() accepts of: without bounds, with bounds, with bounds
             and weighed
    error    ‖error‖₂ that one client may add to a block, beside what the block's bound grows by; 0
             means unbiased
    length   ‖vᵢ‖₂ of a block up to which the law must hold; else half of the smallest bound, at
             most ½

    AssertionError names the first promise that is broken.
    """
    name = repr(transform)
    check_repr(transform)
    for entering in _planned(transform, spec):
        pipe = Pipe.of((transform,), entering)
        require(
            transform.explain(pipe.specs[0]).strip(),
            f"{name}: explain() must say in words what it does.",
        )
        memo = pipe.start()
        noisy = pipe.specs[1].noise.multiplier > entering.noise.multiplier
        fixed = _encodes(pipe, memo)
        _law(pipe, memo, error, length, fixed)
        bounded = fixed or not noisy  # they hold before noise
        if transform.remembers:
            _remembered(pipe, memo, bounded)
        if not bounded:
            continue
        for known in (memo, _learnt(pipe, memo)):
            for scale in (0.0, 1e-3, 1.0, 1e3):
                _bounded(pipe, known, scale)
    require(
        repr(transform) == name,
        f"{name}: it changed while it was used; what it learns belongs into learn().",
    )


def _planned(transform: Transform, spec: Spec | None) -> list[Spec]:
    """The specs to try that the transform accepts: at least one, or AssertionError.

    A transform may need bounds, or refuse what is weighed already; what it refuses is not tried.
    """
    loose = Spec(
        {"delta": 6, "statistics": 3, "control": 4}, kinds={"statistics": "statistics"}
    ).with_side("loss")
    bounded = loose.replace(bounds=dict.fromkeys(loose.blocks, 1.0))
    accepted = []
    sided = [bounded.replace(lows={"loss": low}) for low in (0.5, -0.5)]
    tried = [loose, bounded, bounded.replace(weighed=True), *sided]
    if spec is not None:
        tried = [spec]
    for entering in tried:
        before = repr(entering)
        try:
            out = transform.plan(entering)
            again = transform.plan(entering)
        except PlanError as reason:
            refused = reason
            continue
        require(isinstance(out, Spec), f"{transform!r}: plan() must return a Spec, not {out!r}.")
        require(
            repr(entering) == before,
            f"{transform!r}: plan() changes the spec it is given; return spec.replace(…).",
        )
        require(
            out == again, f"{transform!r}: plan() gives something else when it is called again."
        )
        accepted.append(entering)
    if not accepted:
        raise AssertionError(
            f"{transform!r}: plan() accepts none of the specs tried; give one by spec=…\n  "
            f"{refused}"
        )
    return accepted


def _vectors(spec: Spec, n: int, length: float | Vector) -> Vector:
    """n vectors [n, size] whose blocks have this norm, as far as their bounds allow.

    length: a number, or [n, 1]
    """
    V = KEY.child("vectors").normal((n, spec.size))
    for name in spec.blocks:
        part = V[:, spec.slice(name)]
        part *= np.minimum(length, spec.bounds.get(name, math.inf)) / norm(part)
        np.maximum(part, spec.lows.get(name, -math.inf), out=part)
    return V


def party(pipe: Pipe, memo: Any, *path: object, examples: Any = 3, n: int = 1) -> Context:
    """Where in a run a party is who draws from the key at this path, whose last part is its name.

    memo: what the transforms of the pipe know. n: vectors in the sum.
    """
    key = KEY.child(*path)
    who = str(path[-1])
    return Context(Session(0), key, pipe.specs[0], who, examples, n, n, memo, data=EXAMPLES)


def encoded_sum(pipe: Pipe, memo: Any, V: Vector, *path: object) -> Vector:
    """Σ encode(vᵢ) of the rows of V [n, size], each by a party of its own below this path."""
    total = Total()
    for i, v in enumerate(V):
        total.add(pipe.encode(v, party(pipe, memo, *path, i))[0])
    return total.value()


def decoded_sum(pipe: Pipe, memo: Any, V: Vector, *path: object) -> Vector:
    """decode(Σ encode(vᵢ)) [size]; decode() gives as many numbers as came in, and modifies none."""
    transform = pipe.transforms[-1]
    size = pipe.specs[0].size
    value = encoded_sum(pipe, memo, V, *path)
    before = value.copy()
    decoded, _ = pipe.decode(value, party(pipe, memo, *path, "server", n=len(V)))
    require(
        np.shape(decoded) == (size,),
        f"{transform!r}: decode() gives shape {np.shape(decoded)}, and {size} numbers came in.",
    )
    require((value == before).all(), f"{transform!r}: decode() modifies its input; work on a copy.")
    return decoded


def _encodes(pipe: Pipe, memo: Any) -> bool:
    """encode() is a function, of rows and of a matrix alike; is it the same for all keys?

    Only where it is can a matrix be compared with its rows: there a draw is for all of them.
    """
    transform = pipe.transforms[0]
    spec, out = pipe.specs
    V = _vectors(spec, 5, np.logspace(-2, 2, 5)[:, None])
    examples = np.arange(1, 6)
    before = V.copy()

    def by_row(key: str) -> list[Vector]:
        """Each vector encoded by itself, with draws from this key."""
        return [
            pipe.encode(v, party(pipe, memo, key, examples=e))[0]
            for v, e in zip(V, examples, strict=True)
        ]

    rows = by_row("a")
    again = by_row("a")
    others = [by_row(f"another, {i}") for i in range(8)]
    require(equal(V, before), f"{transform!r}: encode() modifies its input; work on a copy.")
    require(
        rows[0].dtype == out.word,
        f"{transform!r}: encode() gives {rows[0].dtype}; such {out.space} vectors are {out.word}.",
    )
    require(
        rows[0].shape == (out.size,),
        f"{transform!r}: encode() gives shape {rows[0].shape}, and plan() declares {out.size} "
        "numbers.",
    )
    require(
        equal(rows, again),
        f"{transform!r}: encode() is not a function of its arguments; draw from at.key.",
    )
    matrix, _ = pipe.encode(V, party(pipe, memo, "a", examples=examples))
    require(equal(V, before), f"{transform!r}: encode() modifies its input; work on a copy.")
    require(
        matrix.shape == (5, out.size),
        f"{transform!r}: encode() of [n, size] must give [n, size]; use the last axis.",
    )
    fixed = all(equal(rows, other) for other in others)  # a single one may round alike by chance
    if fixed:
        alike = np.allclose(matrix, np.stack(rows), rtol=1e-12, atol=0)
        require(
            alike,
            f"{transform!r}: encode() of a matrix differs from row by row; reduce over the last "
            "axis only.",
        )
    return fixed


def _law(pipe: Pipe, memo: Any, error: float, length: float | None, fixed: bool) -> None:
    """decode(Σ encode(vᵢ)) = Σ vᵢ: in every sum, and where encode draws, on average over keys.

        ‖E‖₂ ≤ n·(growth of the bound + error),    |mean of E| ≤ n·error + SIGMAS·σ/√KEYS

    E: what is decoded, less the sum. Where noise is declared only the mean is looked at.
    """
    transform = pipe.transforms[0]
    spec, out = pipe.specs
    n = 5
    shortest = min((1.0, *spec.bounds.values(), *out.bounds.values())) / 2
    V = _vectors(spec, n, length or shortest / math.sqrt(len(spec.blocks)))
    mean = out.weighed and not spec.weighed
    times = n
    want = V.sum(0)
    if mean:
        times = 1
        want = V.mean(0)
    E = np.stack([decoded_sum(pipe, memo, V, key) for key in range(KEYS)]) - want
    noisy = out.noise.multiplier > spec.noise.multiplier
    tiny = 1e-9 * max(1.0, float(np.abs(V).max()))
    for name in spec.blocks:
        growth = out.bounds.get(name, math.inf) - spec.bounds.get(name, math.inf)
        if noisy or not (fixed or math.isfinite(growth)):
            continue  # how far one draw may be off is told by bounds alone
        if mean or not math.isfinite(growth):
            growth = 0.0
        # each number by a step
        growth = max(growth, math.sqrt(spec.blocks[name]) * out.noise.step.get(name, 0.0))
        worst = float(norm(E[:, spec.slice(name)]).max())
        require(
            worst <= times * (growth + error) + tiny,
            f"{transform!r}: decode(Σ encode(v)) is off by {worst:.3g} in block {name!r}; it "
            f"declares {times * (growth + error):.3g} by the growth of its bound and by `error`.",
        )
    bias = np.abs(E.mean(0))
    spread = SIGMAS * E.std(0) / math.sqrt(KEYS)
    require(
        (bias <= times * error + tiny + spread).all(),
        f"{transform!r}: decode(Σ encode(v)) is off by {bias.max():.3g} on average; if you mean "
        "that, declare `error`.",
    )
    require(spread.any() or not noisy, f"{transform!r}: plan() declares noise, and none is drawn.")


def _learnt(pipe: Pipe, memo: Any) -> Any:
    """What the transform knows after a round of five clients with long vectors.

    It must be plain values, and a function of the sum and of what was known before.
    """
    transform = pipe.transforms[0]
    at = party(pipe, memo, "server", n=5)
    value = encoded_sum(pipe, memo, _vectors(pipe.specs[0], 5, 10.0))
    _, known = pipe.decode(value, at)
    _, again = pipe.decode(value, at)
    require(
        is_plain(known),
        f"{transform!r}: learn() must give numbers, words, arrays, or dicts and lists of them: "
        f"{known!r}.",
    )
    require(equal(known, again), f"{transform!r}: learn() is not a function of its arguments.")
    return known


def _bounded(pipe: Pipe, memo: Any, scale: float) -> None:
    """Encoded vectors obey the bounds that plan() declares.

    scale: ‖v‖₂ of each block, as far as the bounds of what enters allow.
    """
    for i, v in enumerate(_vectors(pipe.specs[0], 5, scale)):
        at = party(pipe, memo, scale, i)
        _within(pipe, pipe.encode(v, at)[0], at)


def _within(pipe: Pipe, reply: Vector, at: Context) -> None:
    """An encoded vector obeys the bounds; one of integers, once it is decoded.

    ‖encode(v) of a block‖₂ ≤ bound,    a side value ≥ its low
    """
    transform = pipe.transforms[0]
    spec, out = pipe.specs
    participants = out
    if out.space == "integer":
        reply = pipe.decode(reply, at)[0]
        participants = spec
    for name, bound in out.bounds.items():
        if name in participants.blocks:
            long = float(norm(reply[participants.slice(name)])[0])
            require(
                long <= bound * (1 + 1e-9),
                f"{transform!r}: it gives a {name!r} of norm {long:.6g}; plan() declares a "
                f"bound of {bound:.6g}.",
            )
    for name, low in out.lows.items():
        if name in participants.blocks:
            least = float(reply[participants.slice(name)].min())
            require(
                least >= low - 1e-9 * abs(low),
                f"{transform!r}: it gives a {name!r} of {least:.6g}; plan() declares {low:.6g} "
                "or more.",
            )


def _remembered(pipe: Pipe, memo: Any, bounded: bool) -> None:
    """What a client remembers is a plain and finite value of its own, which ends to grow.

    bounded: do bounds hold for what is encoded?
    """
    transform = pipe.transforms[0]
    alone = [list(_rounds(pipe, memo, [who], bounded)) for who in ("anna", "bert")]
    by_turns = list(_rounds(pipe, memo, ["anna", "bert"], bounded))
    require(
        equal([*alone[0], *alone[1]], [*by_turns[::2], *by_turns[1::2]]),
        f"{transform!r}: a client's vector depends on who was encoded before; keep nothing but "
        "what remember() returns.",
    )
    kept = [remembered[0] for _, remembered in alone[0]]
    require(
        all(map(is_plain, kept)),
        f"{transform!r}: remember() must give numbers, words, arrays, or dicts and lists of them: "
        f"{kept[-1]!r}.",
    )
    require(
        all(map(_finite, kept)),
        f"{transform!r}: remember() gives NaN or infinity of vectors that are finite.",
    )
    grown = size_of(kept[-1]) - size_of(kept[ROUNDS // 2])
    require(
        grown < ROUNDS // 2,  # a number of rounds may take one more digit
        f"{transform!r}: what a client remembers grows with every round, by {grown} bytes in "
        f"{ROUNDS // 2}.",
    )


def _rounds(pipe: Pipe, memo: Any, who: Sequence[str], bounded: bool) -> Iterator[Encoded]:
    """What these clients say and keep in ROUNDS rounds, one after another in each."""
    remembered = dict[str, tuple[Any, ...]]()
    for i, v in enumerate(_vectors(pipe.specs[0], ROUNDS, 10.0)):
        for one in who:
            at = replace(party(pipe, memo, i, one), remembered=remembered.get(one))
            encoded = _function(pipe, v, at)
            if bounded:
                _within(pipe, encoded[0], at)
            remembered[one] = encoded[1]
            yield encoded


def _function(pipe: Pipe, v: Vector, at: Context) -> Encoded:
    """What is encoded and kept, where both follow from the arguments, which stay as they are."""
    transform = pipe.transforms[0]
    given = copy.deepcopy((v, at.remembered))
    bare = transform.encode(v, pipe._at(0, at))
    before = bare.copy()
    encoded = pipe.encode(v, at)
    require(
        equal(given, (v, at.remembered)) and equal(before, encoded[0]),
        f"{transform!r}: encode() or remember() modifies what it is given; work on a copy.",
    )
    require(
        equal(encoded, pipe.encode(v, at)),
        f"{transform!r}: remember() is not a function of its arguments; draw from at.key.",
    )
    return encoded


def _finite(value: Any) -> bool:
    """Is every number in a plain value finite?"""
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    if isinstance(value, float | np.ndarray | np.number):
        return bool(np.isfinite(value).all())
    return True
