"""Defences of identities: who may sign, what a signature covers, and whom a roster names."""

from __future__ import annotations

from tests.attacks.defence import Defence

REPORTS, SHARE = "aggregators/verified/reports.py", "aggregators/verified/share.py"
KEYS, IDENTITIES = "crypto/keys.py", "crypto/identity.py"
NEVER = "if False:"

IDENTITY = (
    Defence(
        "a helper checks who signed",
        REPORTS,
        "elif not self._is_signed(Head(who, nonce, public, hashes), signature):",
        "elif False:",
    ),
    Defence(
        "the server checks who signed",
        REPORTS,
        'elif not self._is_signed(Head.of(who, report), report["signature"]):',
        "elif False:",
    ),
    Defence(
        "a signature is checked",
        KEYS,
        "# the latter for what is no key\n        return False\n",
        "# the latter for what is no key\n        return True\n",
    ),
    Defence(
        "a signature is that of the client named",
        REPORTS,
        "member is not None and verify(member.signing, self._message(head), signature)",
        "any(verify(one.signing, self._message(head), signature) for one in self.roster.values())",
    ),
    Defence("only clients sign reports", REPORTS, "if found is None or found.role != role:", "if found is None:"),
    Defence(
        "a signature covers all of a report",
        REPORTS,
        "dumps((DOMAIN, self.binding, head.who, head.nonce, head.public, head.hashes))",
        "dumps((DOMAIN, self.binding, head.who))",
    ),
    Defence("a helper hashes its own share", REPORTS, "_hash(sealed), *hashes[me", "*hashes[me : me + 1], *hashes[me"),
    Defence(
        "a signature is of its session",
        REPORTS,
        "dumps((DOMAIN, self.binding, head.who, head.nonce",
        "dumps((DOMAIN, head.who, head.nonce",
        also=(("dumps((self.binding, who, nonce", "dumps((who, nonce"),),
    ),
    Defence(
        "a cohort is of clients",
        REPORTS,
        'if strangers := [name for name in cohort if self.member(name, "client") is None]:',
        "if strangers := []:",
    ),
    Defence(
        "what is refused takes nothing of others",
        SHARE,
        "        if isinstance(shares, str):\n            return shares\n",
        "",
        also=(('        return ""\n', '        return shares if isinstance(shares, str) else ""\n'),),
    ),
    Defence("a roster is signed", IDENTITIES, "if not verify(enrolment, self._message, self.signature):", NEVER),
    Defence("an old roster is refused", IDENTITIES, "if self.serial < held:", NEVER),
    Defence("a key is one member's", IDENTITIES, "if len(set(keys)) < len(keys):", NEVER),
    Defence("a roster is written in one way", IDENTITIES, "whole = found.encode() == data", "whole = True"),
    Defence(
        "who is not hansa's own speaks for no party",
        "transforms/__init__.py",
        "return Session(self.round, self.common, self.repeats, drawn=self.drawn, task=self.task)",
        'return replace(self, own=Key(b""))',
    ),
    Defence("a private key does not print", KEYS, "secret: bytes = field(repr=False)", "secret: bytes"),
)
