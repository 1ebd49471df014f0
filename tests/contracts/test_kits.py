"""Kits: a newcomer's way, renewal, files that come back as they were, and what is told of those that do not."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.kits import Met, federation, kit, meet
from typer.testing import CliRunner

from hansa.cli import commands
from hansa.crypto.identity import Identity, Member, Roster
from hansa.crypto.keys import PrivateKey, SigningKey
from hansa.errors import HansaError, ProtocolError, StoreError
from hansa.kits import FILES, Kit, tls
from hansa.kits.answers import Answer, Federation
from hansa.kits.authority import Authority, fresh_key, pem_of
from hansa.kits.enrol import NEXT, add, enrol, renew
from hansa.kits.files import read_identity
from hansa.kits.names import check_name, host_and_port
from hansa.kits.possession import prove, proven
from hansa.kits.provision import read
from hansa.kits.requests import Request, public_of
from hansa.kits.words import WORDS, check_words, words
from hansa.rand import Key

DAY = 86400


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A federation; its folder is read only."""
    return federation(tmp_path_factory.mktemp("federation") / "pki")


@pytest.fixture
def own(made: Authority, tmp_path: Path) -> Authority:
    """The same, to be changed."""
    shutil.copytree(made.folder, tmp_path / "pki")
    return Authority.load(tmp_path / "pki")


def hansa(*line: str, code: int = 0) -> str:
    """What a command prints, on both ways."""
    told = CliRunner().invoke(commands, list(line))
    assert told.exit_code == code, told.output
    return told.output


# ── a newcomer's way ──


@pytest.mark.promise("P433", "P434")
def test_a_newcomer_is_enrolled_by_words_on_the_telephone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("federation.toml").write_text('name = "heart study"\naddress = "localhost:7443"\n')
    assert "the authority of heart study" in hansa("provision", "federation.toml", "--out", "pki")
    for who, role in (("server", "server"), ("north", "client")):
        told = hansa("enroll", "--name", who, "--role", role, "--out", who)
        sign = ("provision", "--sign", f"{who}/request.pem", "--pki", "pki", "--out", f"{who}.answer", "--role", role)
        assert "are not given" in hansa(*sign, code=2)
        assert not Path(f"{who}.answer").exists()
        answered = hansa(*sign, "--words", told.splitlines()[0].replace("-", " ").upper())
        whom = "to every party first" if role == "server" else "to the server."
        assert whom in answered
        assert "are not given" in hansa("kit", "add", who, f"{who}.answer", code=2)
        heard = answered.strip().rpartition(": ")[2]
        shown = hansa("kit", "add", who, f"{who}.answer", "--words", heard)
        assert f"{who}, {role} of heart study at localhost:7443" in shown
    hansa("kit", "add", "server", "pki/roster.json")
    server, north = Kit.load("server"), Kit.load("north")
    assert server.roster.serial == north.roster.serial == 3
    assert (north.who, north.role, north.federation, north.address) == (
        "north",
        "client",
        "heart study",
        "localhost:7443",
    )
    assert north.secret.hides and len(north.secret.secret) == 32
    assert meet(server.server_context(), north.client_context(), server.roster) == Met("in", "north", "north")
    assert "north, client, 1 certificates" in hansa("roster", "show", "--pki", "pki")
    told = hansa("roster", "revoke", "north", "--pki", "pki")
    assert "serial 4" in told and "north" not in told
    server = server.with_roster(Roster.decode(Path("pki/roster.json").read_bytes()))
    assert meet(server.server_context(), north.client_context(), server.roster).stage == "roster"
    hansa("kit", "add", "north", "pki/roster.json", code=2)
    assert "serial 5" in hansa("roster", "renew", "--pki", "pki")
    assert "is not on the roster" in hansa("roster", "revoke", "north", "--pki", "pki", code=2)


@pytest.mark.promise("P433")
def test_no_private_key_leaves_its_folder(tmp_path: Path) -> None:
    """What is sent holds the public halves; and who makes all kits at once says that it has seen the others."""
    request = enrol(tmp_path / "kit", "north", "client")
    identity = read_identity(tmp_path / "kit" / "identity.json")
    sent = (tmp_path / "kit" / "request.pem").read_bytes()
    inner = request.message
    assert Request.decode(sent).message == inner
    for private in (identity.signing.secret, identity.agreement.secret):
        assert private.hex().encode() not in inner and private.hex().encode() not in sent
    file = tmp_path / "federation.toml"
    file.write_text('name = "s"\naddress = "a:1"\n[[party]]\nname = "a"\nrole = "client"\n')
    assert "has seen the private keys of all" in hansa("provision", str(file), "--out", str(tmp_path / "pki"))


def test_a_simulation_and_the_command_line_need_no_kit() -> None:
    program = "import sys, hansa.cli; print([m for m in sys.modules if 'hansa.kits' in m or 'cryptography' in m])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_missing_is_said() -> None:
    program = (
        "import sys; sys.modules['cryptography'] = None; from hansa.cli import main; "
        "sys.argv = ['hansa', 'kit', 'show', 'none']; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'hansa[sites]'" in done.stderr and "Traceback" not in done.stderr


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an empty folder, from top to bottom; files that travel are copied, words are those printed last."""
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    page = re.sub(r"(?s)## A site's first ten commands\n.*?\n## ", "## ", page)  # tests/docs/test_first_commands.py
    page = re.sub(r"(?m)^\$ hansa (score|predict|export) .*\n", "", page)  # after a run: test_workers.py
    for text in re.findall(r"^```toml\n(# (\S+)\n.*?)^```", page, re.MULTILINE | re.DOTALL):
        Path(text[1]).write_text(text[0])
    heard = ""
    lines = re.findall(r"^\$ hansa (.+)$", page, re.MULTILINE)
    assert len(lines) > 8
    for line in lines:
        line_ = [heard if " " in word else word for word in shlex.split(line)]
        if "--sign" in line_:
            shutil.copy("kit/request.pem", "north.request")
        told = hansa(*line_)
        heard = [heard, *re.findall(r"(?:[a-z]+-){7}[a-z]+", told)][-1]
    assert not Authority.load(Path("pki")).roster


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "sites.md"


# ── renewal ──


@pytest.mark.promise("P431")
def test_two_certificates_count_until_the_older_ends(own: Authority, tmp_path: Path) -> None:
    """The older one ends by its own date, and leaves the roster with the renewal after."""
    then = time.time() - 364 * DAY
    request = enrol(tmp_path / "zoe", "zoe", "client")
    first, (answer,) = own.admit([request], then)
    now, _ = first.publish(first.roster), None
    older = add(tmp_path / "zoe", replace(answer, roster=now.roster).signed(own.enrolment), words_of(own))
    context = older.client_context()
    after, (second,) = now.admit([renew(tmp_path / "zoe")])
    assert Kit.load(tmp_path / "zoe").certificate == older.certificate  # until the answer is there
    newer = add(tmp_path / "zoe", Answer.decode(second.encode()))
    assert after.roster["zoe"].certificates == now.roster["zoe"].certificates + digests(newer)
    server = kit(own, "server").with_roster(after.roster)
    for dialling in (context, newer.client_context()):
        assert meet(server.server_context(), dialling, server.roster) == Met("in", "zoe", "zoe")
    newer.check(time.time() + 2 * DAY)
    with pytest.raises(ProtocolError, match="and not now"):
        older.check(time.time() + 2 * DAY)
    third, (answer,) = after.admit([renew(tmp_path / "zoe")])
    newest = add(tmp_path / "zoe", answer)
    assert third.roster["zoe"].certificates == digests(newer) + digests(newest)
    with pytest.raises(ProtocolError, match="on no line"):
        third.roster.who(older.certificate)
    assert newest.identity.member == older.identity.member


def words_of(made: Authority) -> str:
    return words(made.federation.message)


def digests(*kits: Kit) -> tuple[bytes, ...]:
    import hashlib

    return tuple(hashlib.sha256(one.certificate).digest() for one in kits)


@pytest.mark.parametrize("lost", ["the last step", "all but the certificate"])
def test_a_renewal_that_was_cut_short_is_ended_by_adding_it_again(own: Authority, lost: str) -> None:
    folder = kit(own, "north").folder
    old_key, old_roster = (folder / tls.KEY).read_bytes(), (folder / "roster.json").read_bytes()
    _, (answer,) = own.admit([renew(folder)])
    whole = add(folder, answer)
    (folder / tls.KEY).rename(folder / NEXT)
    (folder / tls.KEY).write_bytes(old_key)
    (folder / tls.KEY).chmod(0o600)
    if lost == "all but the certificate":
        (folder / "roster.json").write_bytes(old_roster)
    with pytest.raises(ProtocolError, match=r"Add the answer again"):
        Kit.load(folder)
    again = add(folder, answer)
    assert again.certificate == whole.certificate and not (folder / NEXT).exists()
    assert Kit.load(folder).roster.serial == answer.roster.serial


def test_an_answer_does_not_bring_an_older_roster_back(own: Authority) -> None:
    """Between a request and its answer the server may have handed on a newer one."""
    folder = kit(own, "north").folder
    after, (answer,) = own.admit([renew(folder)])
    later = after.revoke("mallory")
    kit(own, "north").with_roster(later.roster)
    assert add(folder, answer).roster.serial == later.roster.serial


def test_a_key_that_waits_for_its_answer_is_asked_for_again(own: Authority) -> None:
    folder = kit(own, "north").folder
    assert renew(folder).tls == renew(folder).tls


# ── forms ──


def fixed() -> Identity:
    return Identity.of("north", "client", Key.of(7))


ROSTER = """{"members": {"north": {"agreement": "AGREEMENT",
"certificates": ["0000000000000000000000000000000000000000000000000000000000000000"],
"role": "client",
"signing": "SIGNING"}},
"serial": 3,
"signature": "SIGNATURE",
"until": 1900000000}
"""


def test_a_roster_is_written_like_that() -> None:
    """Byte for byte, for a signature is of bytes."""
    member = replace(fixed().member, certificates=(bytes(32),))
    roster = Roster.signed({"north": member}, 3, SigningKey(bytes(32)), 1900000000)
    text = ROSTER.replace("AGREEMENT", member.agreement.hex()).replace("SIGNING", member.signing.hex())
    assert roster.encode().decode() == text.replace("SIGNATURE", roster.signature.hex())
    back = Roster.decode(roster.encode())
    assert back["north"].certificates == (bytes(32),) and back.until == 1900000000
    unsigned = text.replace('"signature": "SIGNATURE",\n', "")
    SigningKey(bytes(32))._key().public_key().verify(roster.signature, b"hansa roster 1\n" + unsigned.encode())


def test_a_request_is_signed_like_that() -> None:
    identity, key = fixed(), fresh_key()
    request = Request.signed(identity, key, bytes(32))
    keys = (identity.member.agreement, bytes(32), identity.member.signing, public_of(key.public_key()))
    agreement, renews, signing, tls_ = (one.hex() for one in keys)
    assert request.message.decode() == (
        f'hansa request 1\n{{"agreement":"{agreement}","renews":"{renews}","role":"client",'
        f'"signing":"{signing}","tls":"{tls_}","who":"north"}}'
    )
    back = Request.decode(request.encode())
    assert back.message == request.message and back.proofs == request.proofs and back.encode() == request.encode()


def test_an_answer_is_signed_like_that(made: Authority, tmp_path: Path) -> None:
    _, (answer,) = Authority.load(shutil.copytree(made.folder, tmp_path / "p")).admit(
        [enrol(tmp_path / "k", "zoe", "client")]
    )
    head, _, inner = answer._message.decode().partition("\n")
    value = json.loads(inner)
    assert head == "hansa answer 1" and json.dumps(value, sort_keys=True, separators=(",", ":")) == inner
    assert set(value) == {"federation", "address", "enrolment", "authority", "request", "certificate", "roster"}
    back = Answer.decode(answer.encode())
    assert back.encode() == answer.encode() and back.roster == answer.roster
    quoted = b"Dear all,\r\n\r\n" + answer.encode().replace(b"\n", b"\r\n") + b"\r\n-- \r\nthe operator\r\n"
    assert Answer.decode(quoted).encode() == answer.encode()


@pytest.mark.parametrize("kind", [Request, Answer])
@pytest.mark.parametrize("data", [b"", b"\xff", b"-----BEGIN HANSA REQUEST-----\ne30=\n", b"[" * 9])
def test_what_is_no_request_and_no_answer_is_refused(kind: Any, data: bytes) -> None:
    for label in (b"REQUEST", b"ANSWER"):
        framed = b"-----BEGIN HANSA " + label + b"-----\nW1tbWw==\n-----END HANSA " + label + b"-----\n"
        empty = framed.replace(b"W1tbWw==", b"e30=")
        for text in (data, framed, empty):
            with pytest.raises(ProtocolError, match="of hansa"):
                kind.decode(text)


@pytest.mark.promise("P433")
def test_words_are_of_64_bits_and_stay_as_they_are() -> None:
    assert len(WORDS) == 256 == len({word[:4] for word in WORDS})
    assert all(word.isascii() and word.islower() and 3 <= len(word) <= 8 for word in WORDS)
    assert words(b"") == EMPTY
    check_words(f"  {EMPTY.replace('-', ', ').upper()} ", b"", "a test")
    with pytest.raises(ProtocolError, match="are not those of a test"):
        check_words(EMPTY, b"\0", "a test")


EMPTY = "stamp-camel-village-house-rose-drum-alley-door"


@pytest.mark.parametrize("seed", range(6))
def test_a_key_to_agree_with_is_proven(seed: int) -> None:
    """For both signs of its point; XEdDSA verifies as Ed25519 does, so that a library's own check decides."""
    key, other = PrivateKey(Key.of(seed).secret), PrivateKey(Key.of(seed + 100).secret)
    proof = prove(key, b"message")
    assert proven(key.public, b"message", proof) and proof != prove(key, b"message")
    assert not proven(other.public, b"message", proof)
    assert not proven(key.public, b"massage", proof)
    assert not proven(key.public, b"message", proof[:-1])


@pytest.mark.parametrize("public", [bytes(32), (1).to_bytes(32, "little"), (2**255 - 20).to_bytes(32, "little"), b"\2"])
def test_nothing_is_proven_of_what_nobody_agrees_with(public: bytes) -> None:
    assert not proven(public, b"message", bytes(64))
    assert not proven(public, b"message", b"\1" + bytes(63))


# ── what is damaged ──


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_is_named(own: Authority, name: str) -> None:
    folder = kit(own, "north").folder
    (folder / name).unlink()
    with pytest.raises(StoreError, match=f"lacks {name}") as told:
        Kit.load(folder)
    assert told.value.why and told.value.instead


def other_kit(own: Authority) -> Path:
    return kit(own, "mallory").folder


DAMAGE: dict[str, tuple[str, Callable[[Authority, Path], bytes], str]] = {
    "a short secret": ("secret", lambda own, path: bytes(31), "holds 31 bytes"),
    "no key": (tls.KEY, lambda own, path: b"no key", "holds no private key on P-256"),
    "another key": (tls.KEY, lambda own, path: pem_of(fresh_key()), "is of another key than tls.key"),
    "no certificate": (tls.CERTIFICATE, lambda own, path: b"-----", "holds no certificate"),
    "another's certificate": (
        tls.CERTIFICATE,
        lambda own, path: (other_kit(own) / tls.CERTIFICATE).read_bytes(),
        "is of another party",
    ),
    "another authority": (
        tls.AUTHORITY,
        lambda own, path: Authority.new(path / "mine", "heart study", "a:1").federation.authority,
        "is of another authority",
    ),
    "another identity": (
        "identity.json",
        lambda own, path: Identity.fresh("north", "client").encode(),
        "is not on the roster of serial 2 with the keys",
    ),
    "no roster": ("roster.json", lambda own, path: b"{}", "no roster of hansa"),
    "no TOML": ("kit.toml", lambda own, path: b"=", "is not as hansa has written it"),
    "a key more": (
        "kit.toml",
        lambda own, path: (other_kit(own) / "kit.toml").read_bytes() + b"more = 1\n",
        "is not as hansa has written it",
    ),
    "another enrolment key": (
        "kit.toml",
        lambda own, path: f'federation = "s"\naddress = "a:1"\nenrolment = "{bytes(32).hex()}"\n'.encode(),
        "is not signed by the enrolment key",
    ),
}


@pytest.mark.promise("P435")
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_was_altered_is_refused_in_three_parts(own: Authority, tmp_path: Path, damage: str) -> None:
    name, change, words_ = DAMAGE[damage]
    folder = kit(own, "north").folder
    (folder / name).write_bytes(change(own, tmp_path))
    with pytest.raises(HansaError, match=words_) as told:
        Kit.load(folder)
    assert told.value.found and told.value.why and told.value.instead


def test_a_kit_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no folder"):
        Kit.load(tmp_path / "none")
    with pytest.raises(StoreError, match="cannot be made"):
        enrol(tmp_path, "north", "client")
    with pytest.raises(StoreError, match="cannot be made"):
        Authority.new(tmp_path, "study", "a:1")


def test_an_authority_has_its_own_key(own: Authority) -> None:
    (own.folder / "authority.key").write_bytes(pem_of(fresh_key()))
    with pytest.raises(StoreError, match=r"authority.pem is of another key"):
        Authority.load(own.folder)


def test_an_authority_that_was_read_before_publishes_nothing(own: Authority) -> None:
    """Else who was admitted meanwhile would be on no roster."""
    own.publish(own.roster)
    with pytest.raises(ProtocolError, match="has published a roster of serial 3 meanwhile"):
        own.revoke("mallory")


# ── federation.toml, names, addresses ──

HEAD = 'name = "study"\naddress = "a:1"\n'
TOML: dict[str, tuple[str, str]] = {
    "no TOML": (HEAD + "[[party]\n", "line 3"),
    "not text": ("\xff", "is not TOML"),
    "a key more": (HEAD + "nmae = 1\n", "has the key 'nmae'"),
    "no name": ('address = "a:1"\n', "has no name"),
    "no address": ('name = "study"\n', "has no address"),
    "an address without a port": ('name = "s"\naddress = "a"\n', "has the address 'a'"),
    "days that are none": (HEAD + "days = 0\n", "counts for days = 0"),
    "days without end": (HEAD + "days = 99999\n", "counts for days = 99999"),
    "days in words": (HEAD + 'days = "9"\n', "counts for days = '9'"),
    "party is a text": (HEAD + 'party = "north"\n', "has party = 'north'"),
    "a party is a number": (HEAD + "party = [1]\n", "has party = [1]"),
    "a party without a role": (HEAD + '[[party]]\nname = "a"\n', "party]] 1 has no role"),
    "a party's key more": (HEAD + '[[party]]\nname = "a"\nrole = "client"\nx = 1\n', "party]] 1 has the key 'x'"),
    "a role that is none": (HEAD + '[[party]]\nname = "a"\nrole = "king"\n', "party]] 1: a has role = 'king'"),
    "a role that is a list": (HEAD + '[[party]]\nname = "a"\nrole = ["client"]\n', "has role = "),
    "a name that is none": (HEAD + '[[party]]\nname = 1\nrole = "client"\n', "party]] 1: a party is called 1"),
    "a name twice": (HEAD + '[[party]]\nname = "a"\nrole = "client"\n' * 2, "called 'a' and 'a'"),
    "nearly a name twice": (
        HEAD + '[[party]]\nname = "a"\nrole = "client"\n[[party]]\nname = "A"\nrole = "client"\n',
        "called 'a' and 'A'",
    ),
    "a federation that is no file": ('name = "../x"\naddress = "a:1"\n', "A federation is called"),
}


@pytest.mark.parametrize("wrong", TOML)
def test_a_federation_that_cannot_be_is_refused_by_what_is_wrong(tmp_path: Path, wrong: str) -> None:
    text, words_ = TOML[wrong]
    file = tmp_path / "federation.toml"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ProtocolError) as told:
        read(file)
    assert words_ in str(told.value) and told.value.why and told.value.instead
    assert "error:" in hansa("provision", str(file), "--out", str(tmp_path / "pki"), code=2)
    assert not (tmp_path / "pki").exists()


@pytest.mark.parametrize("name", ["north", "Zürich", "heart study", "a.b", "x_1-2", "北", "a" * 64])
def test_names_that_can_be(name: str) -> None:
    check_name(name)


ADDRESSES = {
    "fl.example.org:7443": ("fl.example.org", 7443),
    "localhost:1": ("localhost", 1),
    "192.0.2.7:65535": ("192.0.2.7", 65535),
    "[2001:db8::7]:7443": ("2001:db8::7", 7443),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_that_can_be(address: str, tmp_path: Path) -> None:
    """A server's certificate is for its host, be that a name or a number."""
    assert host_and_port(address) == ADDRESSES[address]
    made = Authority.new(tmp_path / "pki", "study", address)
    pem = made.issue("server", "server", fresh_key().public_key())
    assert ADDRESSES[address][0] in str(tls.certificate_of(pem, "a test").extensions)


NO_ADDRESS = ("", ":1", "a", "a:", "a:0", "a:65536", "a:01", "A:1", "a b:1", "a/b:1", "[1.2.3.4]:1", "::1:1", "-a:1", 7)


@pytest.mark.parametrize("address", NO_ADDRESS)
def test_addresses_that_cannot_be(address: Any) -> None:
    with pytest.raises(ProtocolError, match="has the address"):
        host_and_port(address)


def test_certificates_of_a_member_are_fingerprints() -> None:
    member = fixed().member
    wrong: Any
    for wrong in ((b"short",), [bytes(32)], (bytes(32), bytes(32)), tuple(bytes([i]) * 32 for i in range(3)), ("x",)):
        with pytest.raises(ProtocolError, match="has the certificates"):
            Member(member.role, member.signing, member.agreement, wrong)
    for until in (0, 1.0, True, "x"):
        with pytest.raises(ProtocolError, match="counts until"):
            Roster.signed({}, 1, SigningKey.fresh(), until)  # type: ignore[arg-type]


def test_a_federation_checks_its_name_and_address() -> None:
    with pytest.raises(ProtocolError, match="A federation is called"):
        Federation("a\nb", "a:1", bytes(32), b"")


@pytest.mark.parametrize(
    "line",
    [
        "enroll --out kit",
        "enroll --name a --role king --out kit",
        "enroll --renew --name a --out kit",
        "provision --out pki",
        "provision --sign a --out b",
        "provision f.toml --sign a --pki b --out c",
    ],
)
def test_what_does_not_go_together_is_wrong_usage(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hansa(*line.split(), code=2)
    assert not list(tmp_path.iterdir())
