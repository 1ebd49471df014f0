"""The opening of a session: what binds all its proofs, and that everybody was told the same.

    opening = SHA-256(key to check with), the helpers' challenges, fingerprint(cohort)

Helpers hear the key itself first, and compare; clients hear its hash alone, since who knows the key
can prove what is false. Each helper has a challenge in it, so no proof was made before the session.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from ...codec import fingerprint
from .reports import all_of, unexpected

SECRET = 32  # bytes of the key that proofs are checked with, and of a challenge


def promised(secret: bytes, challenges: Sequence[bytes], cohort: Sequence[str]) -> dict[str, Any]:
    """The opening of a session with this key, these challenges, and this cohort."""
    return {
        "key": hashlib.sha256(secret).digest(),
        "challenges": list(challenges),
        "cohort": fingerprint(list(cohort)),
    }


def read_opening(message: Any, who: str, helpers: int) -> dict[str, Any]:
    """A message to `who` as the opening of a session with so many helpers; or ProtocolError."""
    match message:
        case {"key": key, "challenges": list(challenges), "cohort": digest, **more} if not more:
            parts = [key, digest, *challenges]
            right = all_of(parts, bytes) and {len(part) for part in parts} == {SECRET}
            if right and len(challenges) == helpers:
                return dict(message)
    raise unexpected(
        who, "the hash of a key, a challenge of each helper, and the hash of the cohort"
    )
