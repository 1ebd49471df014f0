"""check_vdaf_vector: a published test vector, byte for byte.

The drafts publish files with inputs, randomness and every message that must come of them, also of
reports that must be refused. Who gives the same bytes computes the same as all other
implementations, and can work with their parties.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..crypto import pine, prio3, xof
from ..crypto.field import Elements, Field128
from ..crypto.norms import Wraparound
from ..crypto.vdaf import State
from ..errors import DataError, HansaError

Vector = dict[str, Any]  # a file of test vectors

PRIO3: dict[str, Callable[[Vector], prio3.Prio3]] = {
    "Prio3Count": lambda v: prio3.prio3_count(v["shares"], context(v)),
    "Prio3Sum": lambda v: prio3.prio3_sum(v["max_measurement"], v["shares"], context(v)),
    "Prio3SumVec": lambda v: prio3.prio3_sum_vec(*sizes(v, "max_measurement")),
    "Prio3Histogram": lambda v: prio3.prio3_histogram(
        v["length"], v["chunk_length"], v["shares"], context(v)
    ),
    "Prio3MultihotCountVec": lambda v: prio3.prio3_multihot(*sizes(v, "max_weight")),
    "Prio3L1BoundSum": lambda v: prio3.prio3_l1_bound_sum(
        *sizes(v, "max_measurement", "max_value")
    ),
    "Prio3SumVecWithMultiproof": lambda v: prio3.prio3_sum_vec_multiproof(
        *sizes(v, "max_measurement")
    ),
}
OPERATIONS = (
    "shard",
    "verify_init",
    "verifier_shares_to_message",
    "verify_next",
    "aggregate",
    "unshard",
)
# of a file that lacks entries
MALFORMED = (OSError, LookupError, TypeError, ValueError, AttributeError, OverflowError)
XOFS: dict[str, Callable[[bytes, bytes, list[bytes]], xof.Xof]] = {
    "XofHmacSha256Aes128": xof.XofHmacSha256Aes128,
    "XofTurboShake128": xof.XofTurboShake128,
}


def check_vdaf_vector(path: str | Path) -> None:
    """The file's own steps, done again, give its own bytes; what must be refused is refused.

    path: a JSON file as published with draft-irtf-cfrg-vdaf (wire version 18) for Prio3 or an XOF,
    or with draft-chen-cfrg-vdaf-pine-02. It bears its published name: what stands before "_" or
    ".json" is the algorithm. DataError where the file is none.
    """
    path = Path(path)
    try:
        _check(path.stem, json.loads(path.read_text(encoding="utf-8")))
    except MALFORMED as error:
        raise DataError(
            f"{path} is no test vector: {type(error).__name__}: {error}.",
            "It cannot be read, lacks an entry, or holds one of another kind.",
            "Take the file anew from where it was published.",
        ) from error


def _check(name: str, vector: Vector) -> None:
    """Check a vector by its algorithm, which its name begins with."""
    algorithm = name.split("_")[0]
    if algorithm in XOFS:
        check_xof(algorithm, vector)
    elif algorithm in pine.DRAFT02:
        check_pine(algorithm, vector)
    elif algorithm in PRIO3:
        Replay(PRIO3[algorithm](vector), vector).run(name)
    else:
        raise AssertionError(
            f"{name} is a vector for {algorithm}; there are "
            f"{', '.join([*XOFS, *PRIO3, *pine.DRAFT02])}"
        )


def unhex(vector: Vector, *names: str) -> list[bytes]:
    """The bytes of entries that are written as hexadecimal digits."""
    return [bytes.fromhex(vector[name]) for name in names]


def context(vector: Vector) -> bytes:
    """The application context of a file."""
    return unhex(vector, "ctx")[0]


def sizes(vector: Vector, *bounds: str) -> tuple[int, int, int, int, bytes]:
    """Length, bound (under the first of its names that is there), chunk, shares and context."""
    length = next(vector[name] for name in ("length", "measurement_len") if name in vector)
    bound = next(vector[name] for name in bounds if name in vector)
    return length, bound, vector["chunk_length"], vector["shares"], context(vector)


def joined(vectors: list[str | list[str]]) -> list[str]:
    """Encoded vectors as one text of hexadecimal digits each; some files write each element."""
    return ["".join(v) for v in vectors]


def same(ours: object, theirs: object, what: str) -> None:
    """AssertionError unless the two are equal; it shows where in the protocol they differ."""
    assert ours == theirs, (
        f"{what} differs from the vector: {str(ours)[:80]} instead of {str(theirs)[:80]}"
    )


def check_xof(algorithm: str, vector: Vector) -> None:
    """A derived seed and an expanded vector are as in the file.

    XOF(seed, dst, binder) → bytes, and elements of the field of 128 bits
    """
    seed, dst, binder = unhex(vector, "seed", "dst", "binder")
    derived = XOFS[algorithm](seed, dst, [binder]).read(len(vector["derived_seed"]) // 2)
    same(derived.hex(), vector["derived_seed"], "the derived seed")
    v = xof.elements(XOFS[algorithm](seed, dst, [binder]), Field128, vector["length"])
    same(Field128.encode(v).hex(), vector["expanded_vec_field128"], "the expanded vector")


def check_pine(algorithm: str, vector: Vector) -> None:
    """Shares, messages and sums are as in the file, by the parameters that it gives.

    The drafts' files have small ones, of which hansa would not have it that they prove a norm.
    """
    wraparound = Wraparound(
        vector["num_wr_checks"], vector["num_wr_successes"], vector["alpha"], proven=False
    )
    profile = replace(
        pine.DRAFT02[algorithm],
        proofs=vector["proofs"],
        norm_proofs=vector["proofs_norm_equality"],
        wraparound=wraparound,
    )
    one = pine.Pine(
        profile,
        dimension=vector["dimension"],
        bound=vector["l2_norm_bound"],
        fraction=vector["num_frac_bits"],
        chunk=vector["chunk_length"],
        norm_chunk=vector["chunk_length_norm_equality"],
        shares=vector["shares"],
    )
    (key,) = unhex(vector, "verify_key")
    outs = [check_pine_report(one, key, report) for report in vector["prep"]]
    totals = [one.aggregate(shares) for shares in zip(*outs, strict=True)]
    same([total.hex() for total in totals], joined(vector["agg_shares"]), "an aggregate share")
    same(one.unshard(totals).tolist(), vector["agg_result"], "the result")


def check_pine_report(one: pine.Pine, key: bytes, report: Vector) -> list[Elements]:
    """The output shares of a report, when all that leads to them is as in the file.

    measurement → public share, input shares → verifier shares → message → output shares
    """
    nonce, rand = unhex(report, "nonce", "rand")
    field = one.field
    public, inputs = one.shard(np.array(report["measurement"], float), nonce, rand)
    same(public.hex(), report["public_share"], "the public share")
    same([share.hex() for share in inputs], report["input_shares"], "an input share")
    reply = [one.prepare(key, who, nonce, public, share) for who, share in enumerate(inputs)]
    same([[verifier.hex() for _, verifier in reply]], report["prep_shares"], "a verifier share")
    message = one.decide([verifier for _, verifier in reply])
    same([message.hex()], report["prep_messages"], "the verifier message")
    outs = [one.finish(state, message) for state, _ in reply]
    same(
        [field.encode(share).hex() for share in outs],
        joined(report["out_shares"]),
        "an output share",
    )
    return outs


class Replay:
    """The steps of a file, done one after the other; each method is an operation that files name.

    states, shares: what aggregators keep of a report between steps, by (report, aggregator).
    """

    def __init__(self, algorithm: prio3.Prio3, vector: Vector):
        self.algorithm = algorithm
        self.vector = vector
        self.states: dict[tuple[int, int], State] = {}
        self.shares: dict[tuple[int, int], Elements] = {}

    def run(self, name: str) -> None:
        """AssertionError names the first step that went otherwise than the file says."""
        for number, step in enumerate(self.vector["operations"]):
            refused = None
            operation = step["operation"]
            if operation not in OPERATIONS:
                raise ValueError(f"{operation!r} is no operation")
            try:
                getattr(self, operation)(step)
            except HansaError as error:
                refused = error
            where = f"{name}, step {number} ({operation})"
            assert refused is None or not step["success"], f"{where} was refused: {refused}"
            assert refused is not None or step["success"], f"{where} must be refused, and was not"

    def shard(self, step: Vector) -> None:
        """A measurement becomes a public share, and an input share for each aggregator."""
        report = self.report(step)
        nonce, rand = unhex(report, "nonce", "rand")
        public, inputs = self.algorithm.shard(report["measurement"], nonce, rand)
        same(public.hex(), report["public_share"], "the public share")
        same([share.hex() for share in inputs], report["input_shares"], "an input share")

    def verify_init(self, step: Vector) -> None:
        """An aggregator checks its share."""
        report = self.report(step)
        who = step["aggregator_id"]
        nonce, public = unhex(report, "nonce", "public_share")
        share = bytes.fromhex(report["input_shares"][who])
        (key,) = unhex(self.vector, "verify_key")
        state, verifier = self.algorithm.prepare(key, who, nonce, public, share)
        self.states[step["report_index"], who] = state
        same(verifier.hex(), report["verifier_shares"][0][who], "a verifier share")

    def verifier_shares_to_message(self, step: Vector) -> None:
        """All verifier shares become one message."""
        report = self.report(step)
        message = self.algorithm.decide(
            [bytes.fromhex(v) for v in report["verifier_shares"][step["round"]]]
        )
        same(message.hex(), report["verifier_messages"][step["round"]], "the verifier message")

    def verify_next(self, step: Vector) -> None:
        """An aggregator accepts a report."""
        report = self.report(step)
        who = step["aggregator_id"]
        message = bytes.fromhex(report["verifier_messages"][step["round"] - 1])
        out = self.algorithm.finish(self.states[step["report_index"], who], message)
        self.shares[step["report_index"], who] = out
        same(
            self.algorithm.statement.shape.field.encode(out).hex(),
            joined(report["out_shares"])[who],
            "an output share",
        )

    def aggregate(self, step: Vector) -> None:
        """An aggregator adds up its output shares."""
        who = step["aggregator_id"]
        total = self.algorithm.aggregate(
            [share for (_, i), share in sorted(self.shares.items()) if i == who]
        )
        same(total.hex(), joined(self.vector["agg_shares"])[who], "an aggregate share")

    def unshard(self, step: Vector) -> None:
        """The collector reads the sum of all measurements from the totals of all aggregators."""
        result = self.algorithm.unshard(
            [bytes.fromhex(total) for total in joined(self.vector["agg_shares"])]
        )
        same(result, self.vector["agg_result"], "the result")

    def report(self, step: Vector) -> Vector:
        """The report that a step is about."""
        found: Vector = self.vector["reports"][step["report_index"]]
        return found
