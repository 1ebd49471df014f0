"""Defences of proofs that a client has dealt rubbish: it is banned, nobody is framed, and nothing else is shown."""

from __future__ import annotations

from tests.attacks.defence import Defence

CLIENT, SERVER = "aggregators/hidden/client.py", "aggregators/hidden/server.py"
DENIALS, PROVING = "aggregators/hidden/denials.py", "aggregators/hidden/proving.py"
DISCLOSURE, SEALING = "crypto/disclosure.py", "crypto/sealing.py"
RECORD, CHANNEL, ARRIVING = "record.py", "loops/channel.py", "loops/arriving.py"
NEVER = "if False:"

OF_RUBBISH = (
    Defence("who denies a share is asked to prove it", DENIALS, "    if not bodies:\n", "    if bodies:\n"),
    Defence(
        "a denial without a proof bans nobody",
        DENIALS,
        "if not dealt.is_rubbish(j, who, cell.terms.members[who], bytes(row)):",
        NEVER,
        only="liars|1|2|3|zeros",
    ),
    Defence(
        "what is shown has no part of small order",
        DISCLOSURE,
        "    secret = _eight(eighth)\n",
        "    secret = eighth\n",
        also=(("EIGHTH = pow(8, -1, ORDER)", "EIGHTH = 1"),),
    ),
    Defence(
        "one number is behind a key and what is shown of it",
        DISCLOSURE,
        "if c != _challenge(_statement(one, other, shown, about), first, second):",
        NEVER,
    ),
    Defence("a message is its dealer's", PROVING, "if not self.signed:", NEVER),
    Defence(
        "a proof is of one message",
        DISCLOSURE,
        "return joined(DOMAIN, one, other, shown, about)",
        "return joined(DOMAIN, one, other, shown)",
    ),
    Defence(
        "a holder shows no share that a dealer has dealt",
        CLIENT,
        "if not dealt.signed or dealt.holds(me.place, channel):",
        "if not dealt.signed:",
    ),
    Defence(
        "a holder shows nothing that its dealer has not signed",
        CLIENT,
        "if not dealt.signed or dealt.holds(me.place, channel):",
        "if dealt.holds(me.place, channel):",
    ),
    Defence("a seal alone is nobody's word", PROVING, "if not verify(self.member.signing, self.about, own):", NEVER),
    Defence(
        "a seal signs each message in which its boxes are",
        PROVING,
        "return sealed(self.seal, self.about, seals)",
        "return True",
    ),
    Defence(
        "the keys of a seal are one",
        SEALING,
        "return agreement_of(signing) == seal[PUBLIC:] and verify(",
        "return verify(",
        only="two keys",
    ),
    Defence(
        "a public value is its client's own word",
        CLIENT,
        "known[i] = me.channels[name].said(SAID + about, bytes(boxes[i, :MAC]))",
        "known[i] = True",
    ),
    Defence(
        "who is proven to deal rubbish is out for the run",
        SERVER,
        "banned = {who: PROVEN for who in asked if before.get(who) == PROVEN}",
        "banned = dict[str, str]()",
    ),
    Defence(
        "nobody is banned by a word",
        "messages.py",
        'if self.why not in ("", *KINDS):',
        "if False:",
        also=(
            ('return isinstance(found, str) and found in ("", *KINDS)', "return isinstance(found, str)"),
            ('why: Kind | Literal[""] = ""', 'why: str = ""', "runtimes/sites/control.py"),
        ),
    ),
    Defence(
        "who is out for the run stays out while it is not asked",
        CHANNEL,
        "self.excluded = {who: why for who, why in self.before.items() if why == PROVEN}",
        "self.excluded = dict[str, str]()",
    ),
    Defence(
        "who is out for the run is so for no lesser reason",
        CHANNEL,
        "            if self.excluded.get(who) != PROVEN:\n",
        "            if True:\n",
    ),
    Defence(
        "whose value a client does not know from itself is named",
        CLIENT,
        '    return ", ".join(terms.named(members)[:5])\n',
        '    return ""\n',
    ),
    Defence("who is out for the run is not asked to be ready", ARRIVING, " | (banned & set(self.roster))", ""),
    Defence(
        "what a record says is proven is",
        "aggregators/hidden/record.py",
        "if holders or not is_proven(one, names, members, binding):",
        NEVER,
    ),
    Defence("who is out for the run is in no later line of its record", RECORD, "if there and name in banned:", NEVER),
)
