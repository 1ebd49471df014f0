"""A client of a verified sum: it hears the opening, and says one report.

report = nonce, public shares, the server's shares, each helper's shares sealed, signature
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...crypto import vdaf
from ...crypto.bundle import Bundle
from ...crypto.identity import Identity
from ...spec import Vector
from ...transforms import Context
from .. import Contribute, Conversation
from .opening import read_opening
from .reports import Reports, identified
from .terms import Terms


def speak(terms: Terms, contribute: Contribute, at: Context) -> Conversation:
    """A client's side: hear what to bind the proofs to; say shares of the vector, proven and
    signed.

    ProtocolError where it has no identity, or knows no key of a helper; DataError where its vector
    is not within the bounds that it would prove.
    """
    identity = identified(at)
    opening = read_opening((yield), at.who, len(terms.helpers))
    reports = Reports.of(at.session, opening, terms.helpers)
    reports.check_helpers(at.who)
    # under no name, for a conversation rests until the session is over, and so would the vector
    yield report(terms, (yield from contribute()), reports, identity, at)


def report(
    terms: Terms, v: Vector, reports: Reports, identity: Identity, at: Context
) -> dict[str, Any]:
    """What a client says of its encoded vector v: shares of its integers, and proofs on them."""
    parts = terms.claims(reports.binding)
    blocks = at.spec.unpack(v)
    values = []
    for i, part in enumerate(parts):
        x = part.round(np.concatenate([blocks[name] for name in part.names]), at.key.child(i))
        values.append(part.measurement(x))
    nonce = vdaf.nonce()
    public, (leader, *others) = Bundle(tuple(part.sum for part in parts)).shard(values, nonce)
    sealed = reports.sealed(at.who, nonce, public, others)
    return reports.signed(
        {"nonce": nonce, "public": public, "leader": leader, "sealed": sealed}, identity
    )
