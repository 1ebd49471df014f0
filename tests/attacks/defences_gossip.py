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
    Defence(
        "who hides among neighbours says its model to none",
        "parties/peer.py",
        "    if rule.hides:\n",
        "    if False:\n",
    ),
    Defence(
        "each neighbourhood has a binding of its own",
        "aggregators/neighbourhoods.py",
        "fingerprint((TASK, session.task, centre))",
        "session.task",
    ),
    Defence("a sum of neighbours is over four", "aggregators/neighbourhoods.py", "quorum=FEWEST + light", "quorum=1"),
    Defence(
        "who keeps a neighbourhood without a sum is named",
        "loops/neighbourhoods.py",
        "        _name(channel, centre, cell)\n",
        "",
    ),
    Defence(
        "NaN is in no hidden sum of neighbours",
        "aggregators/neighbourhoods.py",
        "        if not np.isfinite(v).all():\n",
        "        if False:\n",
    ),
    Defence(
        "who weighs next to nothing hides nobody",
        "aggregators/neighbourhoods.py",
        "    return sum(not weight or weight < half for weight in others)\n",
        "    return 0\n",
    ),
    Defence(
        "what lies furthest is dropped", "aggregators/trimming.py", "kept = heard[b : len(heard) - b]", "kept = heard"
    ),
    Defence("what a neighbour says is clipped", "aggregators/clipping.py", "    if length <= tau:\n", "    if True:\n"),
)
