"""Defences of kits: who comes in, what a certificate says, which requests and answers count."""

from __future__ import annotations

from tests.attacks.defence import Defence

TLS, KIT, AUTHORITY = "kits/tls.py", "kits/__init__.py", "kits/authority.py"
IDENTITIES, REQUESTS, NAMES = "crypto/identity.py", "kits/requests.py", "kits/names.py"
NEVER = "if False:"

KITS = (
    Defence(
        "both sides show a certificate",
        TLS,
        "    found.verify_mode = ssl.CERT_REQUIRED\n",
        "    found.check_hostname = False\n    found.verify_mode = ssl.CERT_NONE\n",
    ),
    Defence("TLS 1.3 alone", TLS, "    found.minimum_version = ssl.TLSVersion.TLSv1_3\n", ""),
    Defence(
        "certificates say who dials and who is dialled",
        AUTHORITY,
        "x509.ExtendedKeyUsage(uses.get(role, [Usage.CLIENT_AUTH]))",
        "x509.ExtendedKeyUsage([Usage.SERVER_AUTH, Usage.CLIENT_AUTH])",
        also=(("        if role in uses:\n", "        if True:\n"),),
    ),
    Defence(
        "a party issues no certificates",
        AUTHORITY,
        "x509.BasicConstraints(False, None)",
        "x509.BasicConstraints(True, None)",
        also=(
            ("x509.BasicConstraints(True, 0)", "x509.BasicConstraints(True, None)"),
            ("key_cert_sign=signs", "key_cert_sign=True"),
        ),
    ),
    Defence("no handshake is skipped", TLS, "found.num_tickets = 0", "found.num_tickets = 2"),
    Defence(
        "a certificate is known by its fingerprint",
        IDENTITIES,
        "who = self._holders.get(hashlib.sha256(der).digest())",
        "who = named(der)[0]",
    ),
    Defence("a certificate has its holder's name", IDENTITIES, "if named(der) != (who, self[who].role):", NEVER),
    Defence(
        "a certificate is one member's",
        IDENTITIES,
        "if len(self._holders) < sum(len(one.certificates) for one in self.values()):",
        NEVER,
    ),
    Defence(
        "a signature covers ends and certificates",
        IDENTITIES,
        "return DOMAIN + _text(self._value)",
        'return DOMAIN + _text({"serial": self.serial, "members": sorted(self)})',
    ),
    Defence("a roster expires", IDENTITIES, "if (time.time() if now is None else now) >= self.until:", NEVER),
    Defence(
        "a kit knows the serial in its folder",
        KIT,
        "held = read_roster(self.folder / ROSTER, self.enrolment, now=0)",
        "held = self.roster",
    ),
    Defence(
        "there is one roster of a serial",
        KIT,
        "if newer.serial == held.serial and newer.encode() != held.encode():",
        NEVER,
    ),
    Defence(
        "a request proves its key to sign with",
        REQUESTS,
        "verify(self.member.signing, message, signing)",
        "True",
        only="to sign with",
    ),
    Defence(
        "a request proves its key to agree with",
        REQUESTS,
        "proven(self.member.agreement, message, agreement)",
        "True",
        only="to agree with",
    ),
    Defence(
        "a request proves the key of its certificate",
        REQUESTS,
        "_signed_by(self.tls, message, tls)",
        "True",
        only="of its certificate",
    ),
    Defence("a role is the operator's word", REQUESTS, "if self.member.role != role:", NEVER),
    Defence(
        "a request is of one name",
        REQUESTS,
        "return DOMAIN + canonical(self._value)",
        'return DOMAIN + canonical({**self._value, "who": ""})',
    ),
    Defence(
        "a member is renewed with its own keys", AUTHORITY, "if held is not None and held != request.member:", NEVER
    ),
    Defence("a request is answered once", AUTHORITY, "if request.renews != newest:", NEVER),
    Defence("words are compared", "kits/words.py", "if not hmac.compare_digest(heard, words(data)):", NEVER),
    Defence("a party has the name of a file", NAMES, "if not isinstance(name, str) or not _is_name(name):", NEVER),
    Defence("names differ in more than their case", NAMES, "if _plain(other) == _plain(name):", NEVER),
    Defence(
        "an answer is signed",
        "kits/answers.py",
        "if not verify(self.federation.enrolment, self._message, self.signature):",
        NEVER,
    ),
    Defence(
        "a kit stays in its federation",
        "kits/enrol.py",
        "if (said.name, said.enrolment, said.authority) != (name, enrolment, authority):",
        NEVER,
    ),
    Defence(
        "an answer is to one request",
        "kits/enrol.py",
        "answer.request != request.digest or request.member != identity.member or key is None",
        "False",
    ),
    Defence(
        "a kit's folder is its owner's",
        KIT,
        'if os.name == "posix" and (about.st_uid != os.geteuid() or about.st_mode & 0o077):',
        NEVER,
    ),
)
