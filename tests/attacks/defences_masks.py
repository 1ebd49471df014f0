"""Defences of masks, of secrets that are shared, and of what two parties say to each other alone."""

from __future__ import annotations

from tests.attacks.defence import Defence

KEYS, CIPHER = "crypto/keys.py", "crypto/sealing.py"
STREAMS, SHARING = "crypto/masks.py", "crypto/shamir.py"
NEVER = "if False:"

MASKS = (
    Defence(
        "no secret is agreed with a point that gives everybody the same",
        KEYS,
        '            except ValueError:\n                raise ProtocolError(\n                    f"The public key of',
        "            except ValueError:\n                found[who] = bytes(32)\n                continue\n"
        '                raise ProtocolError(\n                    f"The public key of',
    ),
    Defence(
        "a pair's secret is of both names and keys",
        KEYS,
        "hkdf(secret, joined(label, a.encode(), first, b.encode(), second))",
        "hkdf(secret, joined(label))",
    ),
    Defence(
        "a pair's mask is of its session",
        STREAMS,
        "own.agree(me, others, joined(PAIR, binding))",
        "own.agree(me, others, joined(PAIR))",
    ),
    Defence(
        "a client's own mask is of its session",
        STREAMS,
        "hkdf(secret, joined(OWN, binding, who.encode()), SEED)",
        "hkdf(secret, joined(OWN), SEED)",
    ),
    Defence(
        "every bit of a seed counts",
        STREAMS,
        "Cipher(algorithms.AES128(seed[:KEY]), _mode()(seed[KEY:]))",
        "Cipher(algorithms.AES128(bytes(12) + seed[:4]), _mode()(bytes(12)))",
    ),
    Defence("a seed has one mask", STREAMS, "if len({seed for seed, _ in masks}) < len(masks):", NEVER),
    Defence("a masked vector does not tell how often it wraps", STREAMS, "        part &= most\n", ""),
    Defence(
        "a box is of its session", CIPHER, "agree(me, others, joined(PAIR, binding))", "agree(me, others, joined(PAIR))"
    ),
    Defence(
        "a box says from whom, and for whom",
        CIPHER,
        "        return joined(self.me.encode(), self.peer.encode())\n",
        '        return b""\n',
        also=(("        return joined(self.peer.encode(), self.me.encode())\n", '        return b""\n'),),
    ),
    Defence(
        "a box says what it is about",
        CIPHER,
        '    return len(about).to_bytes(8, "little") + about\n',
        '    return b""\n',
    ),
    Defence("the key of a pair does not print", CIPHER, "key: bytes = field(repr=False)", "key: bytes"),
    Defence(
        "shares lie on one polynomial", SHARING, "if not np.array_equal(values[self.pack :], shares[self.t :]):", NEVER
    ),
    Defence("no fewer than t open", SHARING, "if len(holders) < self.t:", NEVER),
    Defence("a share has one encoding", SHARING, "if (high := (shares >= Field64.p).any(axis=1)).any():", NEVER),
    Defence(
        "a shared secret has one encoding",
        SHARING,
        "if len(wide) % each or wide[:, BYTES:].any() or octets[:, size:].any():",
        "if len(wide) % each:",
    ),
    Defence("nothing rides along with shared secrets", SHARING, "if a[m:].any():", NEVER),
    Defence(
        "whose share is wrong is named for certain",
        SHARING,
        "if not enough or self._opened",
        "if False and self._opened",
    ),
)
