"""Defences of real nodes that gossip without a server."""

from __future__ import annotations

from tests.attacks.defence import Defence

PORT, NODE, DESK, LINK, MESH, PART, GATE = (
    f"runtimes/peers/{name}.py" for name in ("port", "node", "desk", "link", "mesh", "part", "gate")
)
NODES = (
    Defence("who is not heard here is refused", PORT, "        if not self.node.hears(who):\n", "        if False:\n"),
    Defence(
        "a node looks on the roster who dials",
        PORT,
        "            who = door.named(self.node.roster, request.transport)\n",
        "            who = door.named(self.node.kit.roster, request.transport)\n",
    ),
    Defence(
        "a node says nothing to who is not its neighbour",
        LINK,
        "            self._check(socket)\n            await socket.send_str(encode(In(",
        "            await socket.send_str(encode(In(",
    ),
    Defence(
        "a node reads no more than a vector of the plan has",
        DESK,
        "        if words.blob.size > most_of(self.course.mesh.length):\n",
        "        if False:\n",
    ),
    Defence(
        "a node reads no more than was announced",
        PORT,
        "            if there + len(message.data) > blob.size:\n",
        "            if False:\n",
    ),
    Defence(
        "a node hears vectors of its plan alone",
        DESK,
        "    return np.array(found) if is_vector(found, length) else None\n",
        "    return found\n",
    ),
    Defence("a round is heard once", DESK, "        if words.round == latest:\n", "        if False:\n"),
    Defence("a round is one of the run", DESK, " or words.round >= self.course.rounds:", ":"),
    Defence("nobody skips on nonsense", NODE, "self.desk.vectors.get(who, NEVER)", "self._latest(who)"),
    Defence(
        "nobody skips while a source is in step",
        NODE,
        "for who in sources}\n        if len(there) < 2 or any(",
        "for who in sources}\n"
        "        there = {who: round for who, round in there.items() if round >= before}\n        if any(",
    ),
    Defence(
        "connections without a certificate are bounded",
        GATE,
        "                if len(self._pending) >= PENDING:\n",
        "                if False:\n",
    ),
    Defence(
        "a gate waits where no file is left",
        GATE,
        "                    await asyncio.sleep(AGAIN)\n                    continue\n",
        "                    return\n",
        ends="ClientConnectorError",
    ),
    Defence("neighbours share no spool", PORT, "Spool(self._coming / who)", "Spool(self._coming)"),
    Defence(
        "what came wrong is asked for again",
        PORT,
        "        path = await asyncio.to_thread(coming.whole, blob)\n",
        "        try:\n            path = await asyncio.to_thread(coming.whole, blob)\n"
        '        except ProtocolError:\n            return "invalid"\n',
    ),
    Defence("pieces are not empty", PORT, " or not message.data:", ":"),
    Defence(
        "what a neighbour causes is told in few lines",
        "runtimes/peers/once.py",
        "        if times == 1:\n",
        "        if times:\n",
    ),
    Defence(
        "a revoked neighbour's words are in no last model",
        "cli/peering.py",
        'work.who, mine, asked["silent"]))',
        "work.who, mine))",
    ),
    Defence(
        "nothing is owed to who is revoked",
        NODE,
        "            await self.desk.do(self._mail.forgive, self.course.run, who)\n",
        "            pass\n",
    ),
    Defence(
        "one that lies about its round moves nobody",
        NODE,
        "if len(there) < 2 or any(round <= before + mesh.leads[who] for who, round in there.items()):",
        "if all(round <= before for round in there.values()):",
        also=(
            (
                "        self.desk.round = min(there.values()) + 1\n",
                "        self.desk.round = max(there.values()) + 1\n",
            ),
        ),
    ),
    Defence(
        "a run is that of all who have agreed", PORT, "        if first != In(self.node.run):\n", "        if False:\n"
    ),
    Defence(
        "an owner's policy counts at a node",
        "cli/peers.py",
        "        party.check()\n        runs.check(party)\n",
        "",
        also=(
            (
                "            self.allow.check(self.plan, self.who, before=self.before)\n            told =",
                "            told =",
                "runtimes/sites/agent.py",
            ),
            (
                "                    self.allow.check(self.plan, self.who, n, self.before)\n",
                "",
                "runtimes/sites/agent.py",
            ),
        ),
    ),
    Defence("who has left takes no part", PART, "    if taken is not None and taken.gone:\n", "    if False:\n"),
    Defence(
        "a node that has left counts what it has said",
        PART,
        "    return found.rounds if spoken is None else spoken\n",
        "    return 0\n",
    ),
    Defence("a node does not go on from a backup", PART, "    if runs.void(run):\n", "    if False:\n"),
    Defence(
        "a node without its mail begins no run again",
        PART,
        "    if taken is not None and known is None:\n",
        "    if False:\n",
        ends="AttributeError",
    ),
    Defence(
        "a worker's graph names peers of the roster",
        MESH,
        "                inside = ends.min() >= 0 and ends.max() < n\n",
        "                inside = True\n",
        ends="IndexError",
    ),
    Defence(
        "nodes refuse what needs a middle",
        MESH,
        "    refuse([*_wrong_rule(plan, rule), *_wrong_sample(plan)])\n",
        "    assert rule\n",
    ),
)
