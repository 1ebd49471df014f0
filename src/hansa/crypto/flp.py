"""Fully linear proofs: a prover shows that a secret-shared vector satisfies an arithmetic circuit.

The circuit calls one gadget G, of degree 2, n times, and is affine otherwise. Wire j carries an
input of each call; the
prover lays a polynomial fⱼ through it:  fⱼ(1) = a random seed,  fⱼ(ωᵏ) = input j of call k,  ω a
P-th root of unity,
P > n a power of two. The proof is the seeds and the polynomial  g = G(f₁, …, f_L), of degree ≤ 2P −
2. All else is
linear, so verifiers who hold only shares of vector and proof can compute shares of

    v = the circuit's output, where the gadget's outputs are taken from g(ωᵏ);    fⱼ(t) for all j;
    g(t)

at a random t. The shares are added up, and the vector is accepted if v = 0 and G(f₁(t), …, f_L(t))
= g(t). A false claim survives with probability ≤ 2P/p over t, plus that of the circuit itself over
its joint randomness. (Boneh, Boyle, Corrigan-Gibbs, Gilboa, Ishai 2019, §4 and Appendix;
draft-irtf-cfrg-vdaf, section 7.3)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from ..errors import ProtocolError
from .field import COLUMNS, Elements, Field


class Gadget(Protocol):
    """A polynomial G of degree 2 in `arity` variables, that is a sum of terms in neighbouring
    variables.
    """

    @property
    def arity(self) -> int:
        """How many inputs it takes; 2 where a block of them may not be cut in the middle of a
        pair.
        """

    def rows(self, field: Field, x: Elements) -> Elements:
        """G of each row of x; a block of columns gives a summand of it."""


@dataclass(frozen=True)
class Pairs:
    """G(x) = Σⱼ x₂ⱼ·x₂ⱼ₊₁ over `count` pairs: multiplications, done in parallel."""

    count: int

    @property
    def arity(self) -> int:
        return 2 * self.count

    def rows(self, field: Field, x: Elements) -> Elements:
        return field.pair_sums(x)


@dataclass(frozen=True)
class Squares:
    """G(x) = Σⱼ xⱼ² over `count` inputs."""

    count: int

    @property
    def arity(self) -> int:
        return self.count

    def rows(self, field: Field, x: Elements) -> Elements:
        return field.square_sums(x)


@dataclass(frozen=True)
class Bit:
    """G(x) = x² − x, which is zero for bits alone."""

    @property
    def arity(self) -> int:
        return 1

    def rows(self, field: Field, x: Elements) -> Elements:
        return field.mul(x[:, 0], field.sub(x[:, 0], 1))


@dataclass(frozen=True)
class Shape:
    """How large a circuit is.

    field: where it computes. gadget: what it calls, `calls` times. inputs: the length of the vector
    x that is proven. length: that of the part of it which is summed. joint: how many random
    elements the circuit takes that prover and verifiers share. outputs: how many there are, all
    zero if x is valid.
    """

    field: Field
    gadget: Gadget
    calls: int
    inputs: int
    length: int
    joint: int = 0
    outputs: int = 1


class Circuit(Protocol):
    """A statement about a vector x: its outputs are all zero.

    Each verifier works on its share of x, and on `one`, its share of 1, by which it multiplies
    every constant.
    """

    @property
    def shape(self) -> Shape:
        """How large it is."""

    def wires(self, x: Elements, joint: Elements, one: int) -> Elements:
        """Row k ≥ 1: the inputs of call k; row 0 is left for the seeds. Shape [1 + calls,
        arity].
        """

    def output(self, gates: Elements, x: Elements, joint: Elements, one: int) -> list[int]:
        """The outputs, from the gadget's outputs in all calls."""


@dataclass(frozen=True)
class Proof:
    """How a circuit is proven.

    form: the polynomial g is sent as its "values" at the first 2P − 1 of the 2P-th roots of unity
    (VDAF from draft 15), or as its 2P − 1 "coefficients" (before).
    """

    circuit: Circuit
    form: Literal["values", "coefficients"]

    @property
    def shape(self) -> Shape:
        """The circuit's."""
        return self.circuit.shape

    @property
    def points(self) -> int:
        """P, the least power of two above the number of calls."""
        return 1 << self.shape.calls.bit_length()

    @property
    def length(self) -> int:
        """How many elements a proof has."""
        return self.shape.gadget.arity + 2 * self.points - 1

    @property
    def verifier_length(self) -> int:
        """How many elements a verifier's share has: v, all fⱼ(t), g(t)."""
        return self.shape.gadget.arity + 2

    @property
    def query_length(self) -> int:
        """How many random elements the verifiers share: a coefficient of each output if there are
        several, and t.
        """
        return 1 + (self.shape.outputs if self.shape.outputs > 1 else 0)

    def prove(self, x: Elements, seeds: Elements, joint: Elements) -> Elements:
        """The proof that x satisfies the circuit: the seeds, then g.   (draft-irtf-cfrg-vdaf,
        section 7.3.3)

        g is first known at the 2P-th roots: at the even ones from the wires themselves, at the odd
        ones from their polynomials, which are transformed one block of wires after the other.
        """
        field, gadget, n = self.shape.field, self.shape.gadget, self.points
        wires = self.circuit.wires(x, joint, 1)
        wires[0] = seeds
        g = field.zeros(2 * n)
        g[0 : 2 * len(wires) : 2] = gadget.rows(field, wires)
        for start in range(0, gadget.arity, COLUMNS):
            block = field.between(wires[:, start : start + COLUMNS], n)
            g[1::2] = field.add(g[1::2], gadget.rows(field, block))
        return np.concatenate([seeds, (g if self.form == "values" else field.inverse_ntt(g))[:-1]])

    def query(
        self, x: Elements, proof: Elements, query: Elements, joint: Elements, one: int
    ) -> Elements:
        """From shares of x and of the proof, a share of v, f₁(t), …, f_L(t), g(t).

        ProtocolError where t is one of the points themselves, which would show an input.
        (draft-irtf-cfrg-vdaf, section 7.3.4)
        """
        circuit, shape, field, n = self.circuit, self.shape, self.shape.field, self.points
        *mix, t = query.tolist()
        if pow(t, n, field.p) == 1:
            raise ProtocolError(
                "The random point of a query is a root of unity.",
                "It would show an input.",
                "Refuse this report.",
            )
        seeds, g = proof[: shape.gadget.arity], proof[shape.gadget.arity :]
        gates, at_t = self._values(g, t)
        outputs = circuit.output(gates[1 : 1 + shape.calls], x, joint, one)
        v = sum(a * b for a, b in zip(mix, outputs, strict=True)) if mix else outputs[0]
        wires = circuit.wires(x, joint, one)
        wires[0] = seeds
        f = field.combine(field.weights(n, t)[: len(wires)], wires)
        return np.concatenate([field.array([v]), f, field.array([at_t])])

    def decide(self, verifier: Elements) -> bool:
        """Is v = 0, and G(f₁(t), …, f_L(t)) = g(t)?   (draft-irtf-cfrg-vdaf, section 7.3.5)"""
        v, f, g = verifier[0], verifier[1:-1], verifier[-1]
        return bool(v == 0) and bool(self.shape.gadget.rows(self.shape.field, f[None, :])[0] == g)

    def _values(self, g: Elements, t: int) -> tuple[Elements, int]:
        """g at all P-th roots, and g(t)."""
        field, n = self.shape.field, self.points
        if self.form == "coefficients":
            # xⁿ = 1 at the n-th roots
            folded = field.add(g[:n], np.concatenate([g[n:], field.zeros(1)]))
            return field.ntt(folded), field.dot(g, field.powers(t, len(g)))
        # The value that is not sent makes the degree < 2P − 1:  Σₖ gₖ ωᵏ = 2P times coefficient 2P
        # − 1 = 0.
        ω = field.root(2 * n)
        last = -field.dot(g, field.powers(ω, len(g))) * ω  # as 1/ω²ᴾ⁻¹ = ω
        g = np.concatenate([g, field.array([last])])
        return g[0::2], field.dot(g, field.weights(2 * n, t))
