"""Defences of sums under encryption: what a key hides, and what is opened of keys."""

from __future__ import annotations

from tests.attacks.defence import Defence

LATTICE, ENCRYPTED = "crypto/lattice.py", "aggregators/encrypted.py"
CLIENT, SERVER = "aggregators/hidden/client.py", "aggregators/hidden/server.py"
DENIALS = "aggregators/hidden/denials.py"
REOPENING, SPOOL = "aggregators/hidden/reopening.py", "aggregators/hidden/spool.py"
COMMITTEE, HOLDING = "aggregators/hidden/committee.py", "aggregators/hidden/holding.py"
NEVER = "if False:"

ENCRYPTION = (
    Defence("a sum of keys is short", REOPENING, "if not is_short(s, clients):", NEVER),
    Defence("an opened sum has small errors", REOPENING, "if error > way.error:", NEVER),
    Defence(
        "nobody helps with a set of which it lacks a share",
        ENCRYPTED,
        "if not shares[inside].any(axis=1).all():",
        NEVER,
    ),
    Defence(
        "help is over the agreed set alone",
        ENCRYPTED,
        "for i in np.flatnonzero(inside):",
        "for i in range(len(shares)):",
    ),
    Defence(
        "a sum of keys is opened with t signatures",
        CLIENT,
        "    _check_agreed(me, inside, agreed, told)\n    yield",
        "    yield",
    ),
    Defence(
        "a ciphertext has one encoding",
        ENCRYPTED,
        "return fits(v, packed(terms.spec, terms.n))",
        "return isinstance(v, np.ndarray) and v.size == packed(terms.spec, terms.n).octets",
    ),
    Defence("who deals rubbish is not in the sum", DENIALS, "            _remove(cell, who)\n", ""),
    Defence("who is left out is taken off the sum", DENIALS, "        cell.vectors.remove(i)\n", ""),
    Defence(
        "a wrong sum of keys may be short",
        ENCRYPTED,
        "certain: ClassVar[bool] = False",
        "certain: ClassVar[bool] = True",
    ),
    Defence(
        "a is of its session", LATTICE, "XofHmacSha256Aes128(binding, ROWS)", "XofHmacSha256Aes128(bytes(32), ROWS)"
    ),
    Defence(
        "keys come from the operating system",
        LATTICE,
        "return cls(secrets.token_bytes(SECRET))",
        "return cls(bytes(SECRET))",
    ),
    Defence(
        "errors of a session are drawn once",
        LATTICE,
        "XofHmacSha256Aes128(self.secret[SEED:], ERRORS)",
        "XofHmacSha256Aes128(secrets.token_bytes(SEED), ERRORS)",
    ),
    Defence(
        "errors have a stream of their own",
        LATTICE,
        "XofHmacSha256Aes128(self.secret[SEED:], ERRORS)",
        "XofHmacSha256Aes128(self.secret[:SEED], KEY)",
    ),
    Defence("cells share one file", SPOOL, "found = SPOOLS.get(task)", "found = None"),
    Defence("holders are of the roster", COMMITTEE, " + roster_digest(session.roster)", ""),
    Defence("holders are of the round", COMMITTEE, "DRAWN + session.drawn.secret +", "DRAWN +"),
    Defence("a cohort with holders is the plan's", HOLDING, "if tuple(names) == at.session.cohort:", "if True:"),
    Defence("who is neither asked nor a holder says nothing", HOLDING, "elif at.who in seats.holders:", "elif True:"),
    Defence(
        "holders open what t of them have signed",
        HOLDING,
        "    _check_holders_agreed(seats, agreed, told)\n    yield",
        "    yield",
    ),
    Defence(
        "holders open no sum of a few", HOLDING, "if (inside & ~view.prepared).any() or count < seats.least:", NEVER
    ),
    Defence(
        "who deals rubbish to holders is not in the sum",
        HOLDING,
        "while trusted.sum() >= t and inside.any():",
        "while False:",
    ),
    Defence(
        "a committee that colluders would hold is refused",
        ENCRYPTED,
        "if not self.holders or (risk := self.risk(rounds)) <= RISK:",
        "if risk := 1.0:",
    ),
    Defence("numbers behind the last are zeros", LATTICE, "if not _are_zeros(", "if False and ("),
    Defence("a key does not print", LATTICE, "secret: bytes = field(repr=False)", "secret: bytes"),
)
