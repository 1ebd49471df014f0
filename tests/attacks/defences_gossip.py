"""Defences of peers that learn without a server."""

from __future__ import annotations

from tests.attacks.defence import Defence

GOSSIP = (
    Defence(
        "a client whose plan needs a server says no model",
        "parties/peer.py",
        "        peers.check_peers(plan)\n",
        "        pass\n",
    ),
    Defence(
        "who says NaN is not heard", "aggregators/mixing.py", "if who != me and is_vector(v, size)}", "if who != me}"
    ),
    Defence("what a neighbour says is clipped", "aggregators/clipping.py", "    if length <= tau:\n", "    if True:\n"),
)
