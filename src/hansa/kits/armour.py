"""Requests and answers as text that survives an e-mail: JSON in base64, between two lines.

-----BEGIN HANSA REQUEST-----
eyJhZ3JlZW1lbnQiOiI1YmJm…
-----END HANSA REQUEST-----
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from ..crypto.identity import LARGEST
from ..errors import ProtocolError


def armoured(label: str, value: Mapping[str, Any]) -> bytes:
    """The text that `opened` reads."""
    text = base64.b64encode(canonical(value)).decode()
    lines = "\n".join(text[i : i + 64] for i in range(0, len(text), 64))
    return f"-----BEGIN HANSA {label}-----\n{lines}\n-----END HANSA {label}-----\n".encode()


def opened(label: str, data: bytes) -> Mapping[str, Any]:
    """The value of a text; what stands before and behind it, and between its letters, may vary.

    ProtocolError for what is no such text, or whose JSON is not in its one form.
    """
    begin, end = f"-----BEGIN HANSA {label}-----", f"-----END HANSA {label}-----"
    try:
        text = data[: 2 * LARGEST].decode("ascii")
        _, _, inner = text.partition(begin)
        inner, found, _ = inner.partition(end)
        plain = base64.b64decode(re.sub(r"\s", "", inner), validate=True)
        value = json.loads(plain)
        whole = bool(found) and isinstance(value, dict) and canonical(value) == plain
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise unreadable(label, len(data))
    return value  # type: ignore[no-any-return]


def canonical(value: Mapping[str, Any]) -> bytes:
    """JSON in one way only: sorted, in ASCII, without spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def unreadable(label: str, size: int) -> ProtocolError:
    """What is raised for bytes that are no such text."""
    return ProtocolError(
        f"These {size:,} bytes are no {label.lower()} of hansa.",
        f"It stands between two lines that say HANSA {label}, and is as hansa writes it.",
        "Send the file again, as an attachment.",
    )
