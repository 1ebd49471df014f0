"""Kits under attack: certificates that are another's or nobody's, requests and answers that were changed, old rosters.

Handshakes are real ones, of Python's ssl on the loopback.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from tests.kits import Met, federation, kit, meet
from typer.testing import CliRunner

from hansa.cli import commands
from hansa.crypto.identity import Identity, Member, Roster
from hansa.crypto.keys import SigningKey
from hansa.errors import ProtocolError, StoreError
from hansa.kits import Kit, tls
from hansa.kits.answers import Answer
from hansa.kits.authority import Authority, fresh_key, pem_of
from hansa.kits.enrol import add, enrol
from hansa.kits.enrol import renew as renewed
from hansa.kits.files import read_identity
from hansa.kits.possession import prove
from hansa.kits.provision import read
from hansa.kits.requests import Request, public_of
from hansa.kits.words import words

YEARS = 2 * 365 * 86400


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A federation; its folder is read only."""
    return federation(tmp_path_factory.mktemp("federation") / "pki")


@pytest.fixture
def own(made: Authority, tmp_path: Path) -> Authority:
    """The same, to be changed."""
    shutil.copytree(made.folder, tmp_path / "pki")
    return Authority.load(tmp_path / "pki")


def posing(folder: Path, made: Authority, certificate: bytes, key: Any) -> Path:
    """A folder with what somebody shows in a handshake, in the place of a kit."""
    folder.mkdir()
    (folder / tls.AUTHORITY).write_bytes(made.federation.authority)
    (folder / tls.CERTIFICATE).write_bytes(certificate)
    (folder / tls.KEY).write_bytes(pem_of(key))
    return folder


def digest(pem: bytes) -> bytes:
    return hashlib.sha256(tls.der_of(tls.certificate_of(pem, "a test"))).digest()


def listed(made: Authority, who: str, *certificates: bytes) -> Roster:
    """The roster, where the member has these certificates beside."""
    one = made.roster[who]
    members = {**made.roster, who: replace(one, certificates=tuple(map(digest, certificates)))}
    return Roster.signed(members, made.roster.serial + 1, made.enrolment, made.roster.until)


# ── handshakes ──


@pytest.mark.promise("P430")
@pytest.mark.control("without these all attacks below would fail for want of a network")
@pytest.mark.parametrize("who", ["north", "mallory", "auditor"])
def test_who_is_on_the_roster_comes_in_under_its_name(made: Authority, who: str) -> None:
    server, party = kit(made, "server"), kit(made, who)
    met = meet(server.server_context(), party.client_context(), server.roster)
    assert met == Met("in", who, who)


@pytest.mark.promise("P430")
@pytest.mark.guards("both sides show a certificate")
@pytest.mark.parametrize("shown", ["none", "of another authority", "expired", "not yet"])
def test_who_shows_no_certificate_that_counts_gets_no_further(made: Authority, tmp_path: Path, shown: str) -> None:
    key = fresh_key()
    if shown == "none":
        dialling = ssl.create_default_context(cafile=made.folder / tls.AUTHORITY)
    else:
        issuer = made
        if shown == "of another authority":
            issuer = Authority.new(tmp_path / "other", "heart study", "localhost:7443")
        moment = {"expired": time.time() - YEARS, "not yet": time.time() + YEARS}.get(shown)
        pem = issuer.issue("north", "client", key.public_key(), moment)
        dialling = tls.client_context(posing(tmp_path / "posing", made, pem, key))
    server = kit(made, "server")
    assert meet(server.server_context(), dialling, server.roster) == Met("handshake")


@pytest.mark.promise("P430")
@pytest.mark.guards("TLS 1.3 alone")
@pytest.mark.parametrize("old", ["client", "server"])
def test_nobody_speaks_an_older_tls(made: Authority, old: str) -> None:
    server, party = kit(made, "server"), kit(made, "north")
    listening, dialling = server.server_context(), party.client_context()
    older = {"client": dialling, "server": listening}[old]
    older.minimum_version = older.maximum_version = ssl.TLSVersion.TLSv1_2
    assert meet(listening, dialling, server.roster) == Met("handshake")


@pytest.mark.promise("P430")
@pytest.mark.guards("certificates say who dials and who is dialled")
@pytest.mark.parametrize(("listens", "dials"), [("mallory", "north"), ("server", "server")])
def test_a_clients_certificate_is_no_servers_and_the_other_way_round(made: Authority, listens: str, dials: str) -> None:
    listening, dialling = kit(made, listens).server_context(), kit(made, dials).client_context()
    assert meet(listening, dialling, made.roster) == Met("handshake")


@pytest.mark.promise("P430")
@pytest.mark.guards("both sides show a certificate")
def test_nobody_speaks_to_a_server_of_another_authority(made: Authority, tmp_path: Path) -> None:
    """Who can turn a party's calls to himself has a certificate for the name of the host, from somewhere."""
    key = fresh_key()
    other = Authority.new(tmp_path / "other", "heart study", "localhost:7443")
    pem = other.issue("server", "server", key.public_key())
    listening = tls.server_context(posing(tmp_path / "posing", made, pem, key))
    assert meet(listening, kit(made, "north").client_context(), made.roster) == Met("handshake")


@pytest.mark.promise("P430")
@pytest.mark.guards("both sides show a certificate")
def test_a_servers_certificate_is_for_its_host_alone(made: Authority) -> None:
    server, party = kit(made, "server"), kit(made, "north")
    met = meet(server.server_context(), party.client_context(), made.roster, host="example.org")
    assert met == Met("handshake")


@pytest.mark.promise("P430")
@pytest.mark.guards("a party issues no certificates")
def test_a_party_issues_no_certificates(made: Authority, tmp_path: Path) -> None:
    """With its own key mallory signs a certificate in the name of north."""
    mallory = kit(made, "mallory")
    key = fresh_key()
    own_key = tls.private_key(mallory.folder / tls.KEY)
    own_pem = (mallory.folder / tls.CERTIFICATE).read_bytes()
    forger = replace(made, key=own_key, federation=replace(made.federation, authority=own_pem))
    chain = forger.issue("north", "client", key.public_key()) + own_pem
    dialling = tls.client_context(posing(tmp_path / "posing", made, chain, key))
    assert meet(kit(made, "server").server_context(), dialling, made.roster) == Met("handshake")


@pytest.mark.promise("P430")
@pytest.mark.guards("no handshake is skipped")
def test_no_ticket_takes_the_place_of_a_certificate(made: Authority) -> None:
    """What was verified once would be believed for as long as the ticket counts."""
    server, party = kit(made, "server"), kit(made, "north")
    context = party.client_context()
    tickets = list[bool]()
    wrap = context.wrap_socket

    def remember(*arguments: Any, **named: Any) -> ssl.SSLSocket:
        found = wrap(*arguments, **named)
        receive = found.recv

        def recv(size: int) -> bytes:  # tickets come with the first bytes
            data = receive(size)
            tickets.append(found.session is not None and found.session.has_ticket)
            return data

        found.recv = recv  # type: ignore[assignment, method-assign]
        return found

    context.wrap_socket = remember  # type: ignore[method-assign, assignment]
    assert meet(server.server_context(), context, server.roster).stage == "in"
    assert tickets == [False]


# ── who a certificate is of ──


@pytest.mark.promise("P431")
@pytest.mark.guards("a certificate is known by its fingerprint")
def test_a_certificate_that_is_not_on_the_roster_is_nobodys(own: Authority, tmp_path: Path) -> None:
    """Even one of the authority, with the name of a member in it: north was revoked, and enrolled anew."""
    server = kit(own, "server")
    stolen = kit(own, "north")
    request = enrol(tmp_path / "north", "north", "client")
    revoked = own.revoke("north")
    again, _ = revoked.admit([request])
    met = meet(server.server_context(), stolen.client_context(), again.roster)
    assert met == Met("roster", heard="stranger")
    for roster in (again.roster, revoked.roster):
        with pytest.raises(ProtocolError, match="is on no line of the roster"):
            roster.who(stolen.certificate)
    assert own.roster.who(stolen.certificate) == "north"


@pytest.mark.promise("P431")
@pytest.mark.guards("a certificate has its holder's name")
@pytest.mark.parametrize(("name", "role"), [("north", "client"), ("mallory", "server")])
def test_a_name_in_a_certificate_is_its_holders(made: Authority, tmp_path: Path, name: str, role: str) -> None:
    """What stands in it is read by others too: by logs, by a proxy in between."""
    key = fresh_key()
    pem = made.issue(name, role, key.public_key())
    roster = listed(made, "mallory", pem)
    with pytest.raises(ProtocolError, match="another name or role in it"):
        roster.who(tls.der_of(tls.certificate_of(pem, "a test")))
    if role == "client":
        dialling = tls.client_context(posing(tmp_path / "posing", made, pem, key))
        assert meet(kit(made, "server").server_context(), dialling, roster).stage == "roster"


@pytest.mark.promise("P431")
@pytest.mark.guards("a certificate is one member's")
def test_two_members_have_no_certificate_in_common(made: Authority) -> None:
    shared = made.roster["north"].certificates
    members = {**made.roster, "mallory": replace(made.roster["mallory"], certificates=shared)}
    with pytest.raises(ProtocolError, match="one certificate twice"):
        Roster.signed(members, 9, made.enrolment)


@pytest.mark.promise("P431")
@pytest.mark.guards("a signature covers ends and certificates")
def test_nobody_changes_certificates_or_the_end_of_a_roster(made: Authority) -> None:
    roster = made.roster
    assert roster.until is not None
    mine = Member("client", roster["mallory"].signing, roster["mallory"].agreement, (bytes(32),))
    for changed in (
        replace(roster, until=roster.until + 1),
        replace(roster, until=None),
        replace(roster, members={**roster.members, "mallory": mine}),
    ):
        with pytest.raises(ProtocolError, match="is not signed by the enrolment key"):
            changed.verify(made.enrolment.public)


# ── rosters that are old ──


@pytest.mark.promise("P432")
@pytest.mark.guards("a roster expires")
def test_a_roster_that_has_expired_counts_nowhere(own: Authority) -> None:
    """Whoever keeps newer ones from a party would keep whom they revoke."""
    north = kit(own, "north")
    roster = own.roster
    assert roster.until is not None
    late = roster.until
    roster.verify(own.enrolment.public, now=late - 1)
    for use in (
        lambda: roster.verify(own.enrolment.public, now=late),
        lambda: roster.who(north.certificate, now=late),
        lambda: north.check(late),
        lambda: Kit.load(north.folder, late),
        lambda: north.with_roster(own.publish(own.roster, now=time.time() - 100 * 86400).roster),
    ):
        with pytest.raises(ProtocolError, match="has expired"):
            use()


@pytest.mark.promise("P432")
@pytest.mark.guards("an old roster is refused", "a kit knows the serial in its folder")
def test_an_older_roster_is_not_taken(own: Authority) -> None:
    """Neither by who has the newer one in memory, nor by who has it in the folder alone."""
    old = own.publish(own.roster)
    new = old.revoke("mallory")
    before = kit(own, "north")
    after = before.with_roster(new.roster)
    for party in (after, before):
        with pytest.raises(ProtocolError, match=f"has the serial {old.roster.serial}"):
            party.with_roster(old.roster)
    assert list(Kit.load(before.folder).roster) == ["auditor", "north", "server"]


@pytest.mark.promise("P432")
@pytest.mark.guards("there is one roster of a serial")
def test_two_rosters_of_one_serial_are_noticed(own: Authority) -> None:
    one = own.publish(own.roster)
    fewer = {who: member for who, member in own.roster.items() if who != "mallory"}
    other = Roster.signed(fewer, one.roster.serial, own.enrolment, one.roster.until)
    north = kit(own, "north").with_roster(one.roster)
    assert north.with_roster(one.roster).roster.serial == one.roster.serial
    with pytest.raises(ProtocolError, match="There are two rosters of serial 3"):
        north.with_roster(other)


@pytest.mark.promise("P432")
@pytest.mark.guards("a roster is signed")
def test_a_roster_of_another_key_is_not_taken(own: Authority) -> None:
    north = kit(own, "north")
    mine = Roster.signed(own.roster.members, 9, SigningKey.fresh(), own.roster.until)
    with pytest.raises(ProtocolError, match="is not signed by the enrolment key"):
        north.with_roster(mine)
    assert Kit.load(north.folder).roster.serial == own.roster.serial


# ── requests ──

KEYS = ("to sign with", "to agree with", "of its certificate")


@pytest.mark.promise("P433")
@pytest.mark.guards(
    "a request proves its key to sign with",
    "a request proves its key to agree with",
    "a request proves the key of its certificate",
)
@pytest.mark.parametrize("which", KEYS)
def test_nobody_asks_with_anothers_key(which: str) -> None:
    """All proofs are by mallory's own keys; one of the public keys is anna's."""
    anna, mallory = Identity.fresh("anna", "client"), Identity.fresh("mallory", "client")
    hers, own = fresh_key(), fresh_key()
    member, key = mallory.member, public_of(own.public_key())
    if which == "to sign with":
        member = Member("client", anna.member.signing, member.agreement)
    elif which == "to agree with":
        member = Member("client", member.signing, anna.member.agreement)
    else:
        key = public_of(hers.public_key())
    unsigned = Request("mallory", member, key)
    message = unsigned.message
    proofs = (mallory.signing.sign(message), prove(mallory.agreement, message), own.sign(message, ECDSA(SHA256())))
    request = replace(unsigned, proofs=proofs)
    with pytest.raises(ProtocolError, match=f"does not prove that it has the key {which}"):
        Request.decode(request.encode())


@pytest.mark.promise("P433")
@pytest.mark.guards("a request is of one name")
def test_nobody_puts_another_name_over_a_request() -> None:
    request = Request.signed(Identity.fresh("anna", "client"), fresh_key())
    with pytest.raises(ProtocolError, match="does not prove that it has the key"):
        replace(request, who="mallory").verify()


@pytest.mark.promise("P433")
@pytest.mark.guards("a member is renewed with its own keys")
@pytest.mark.parametrize("role", ["client", "helper"])
def test_nobody_renews_another(own: Authority, role: Any) -> None:
    """Names and fingerprints of certificates are no secret: a roster has them."""
    newest = own.roster["north"].certificates[-1]
    request = Request.signed(Identity.fresh("north", role), fresh_key(), newest)
    with pytest.raises(ProtocolError, match="with another role or other keys"):
        own.admit([request])
    assert Authority.load(own.folder).roster.serial == own.roster.serial


@pytest.mark.promise("P433")
@pytest.mark.guards("a request is answered once")
def test_a_request_is_answered_once(own: Authority, tmp_path: Path) -> None:
    """Else whoever finds an old one, and its key, is admitted again; or a newcomer needs no words."""
    north = kit(own, "north").folder
    renewal = renewed(north)
    first = Request.signed(Identity.fresh("zoe", "client"), fresh_key(), own.roster["north"].certificates[0])
    after, _ = own.admit([renewal])
    for old in (renewal, first, Request.decode((own.folder / "kits/mallory/request.pem").read_bytes())):
        with pytest.raises(ProtocolError, match="does not renew its newest certificate"):
            after.admit([old])


@pytest.mark.promise("P433")
@pytest.mark.guards("a role is the operator's word")
@pytest.mark.parametrize("role", ["server", "helper"])
def test_nobody_makes_himself_a_server(own: Authority, tmp_path: Path, role: Any) -> None:
    """The words are right: the request is that party's own."""
    request = enrol(tmp_path / "zoe", "zoe", role)
    sent = str(tmp_path / "zoe" / "request.pem")
    command = ["provision", "--sign", sent, "--pki", str(own.folder), "--out", str(tmp_path / "answer")]
    told = CliRunner().invoke(commands, [*command, "--words", words(request.message)])
    assert told.exit_code == 2 and f"asks to be a {role}, and not a client" in told.output
    assert not (tmp_path / "answer").exists()
    told = CliRunner().invoke(commands, [*command, "--words", words(request.message), "--role", role])
    assert told.exit_code == 0 and Authority.load(own.folder).roster["zoe"].role == role


@pytest.mark.promise("P433")
@pytest.mark.guards("words are compared")
@pytest.mark.parametrize("heard", ["", "of another", "one word less"])
def test_a_request_with_other_words_is_not_signed(own: Authority, tmp_path: Path, heard: str) -> None:
    """Somebody has put his own request in the place of the one that was sent."""
    theirs = enrol(tmp_path / "zoe", "zoe", "client")
    mine = enrol(tmp_path / "mine", "zoe", "client")
    right = words(theirs.message)
    given = {"": "-", "of another": right, "one word less": words(mine.message).rpartition("-")[0]}[heard]
    sent = str(tmp_path / "mine" / "request.pem")
    command = ["provision", "--sign", sent, "--pki", str(own.folder), "--out", str(tmp_path / "answer")]
    told = CliRunner().invoke(commands, [*command, "--words", given])
    assert told.exit_code == 2
    assert not (tmp_path / "answer").exists() and "zoe" not in Authority.load(own.folder).roster


NO_FILE = ("../x", ".", "..", "a/b", "a\\b", "/etc", "a\0b", "a\nb", ".hidden", "", " a", "a" * 65, "C:a", "e\u0301")


@pytest.mark.promise("P433")
@pytest.mark.guards("a party has the name of a file")
@pytest.mark.parametrize("name", NO_FILE)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "federation.toml"
    escaped = name.replace("\\", "\\\\").replace("\0", "\\u0000").replace("\n", "\\n")
    file.write_text(f'name = "study"\naddress = "a:1"\n[[party]]\nname = "{escaped}"\nrole = "client"\n')
    with pytest.raises(ProtocolError, match="a party is called") as told:
        read(file)
    assert told.value.why and told.value.instead
    with pytest.raises(ProtocolError, match="is called"):
        enrol(tmp_path / "kit", name, "client")


@pytest.mark.promise("P433")
@pytest.mark.guards("names differ in more than their case")
def test_a_name_is_not_nearly_anothers(own: Authority, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="Two parties are called 'north' and 'North'"):
        own.admit([enrol(tmp_path / "kit", "North", "client")])


# ── answers ──


@pytest.fixture
def newcomer(own: Authority, tmp_path: Path) -> tuple[Path, Answer, str]:
    """The folder of a party that has asked, its answer, and the words of its federation."""
    request = enrol(tmp_path / "zoe", "zoe", "client")
    after, (answer,) = own.admit([request])
    return tmp_path / "zoe", answer, words(after.federation.message)


@pytest.mark.promise("P434")
@pytest.mark.guards("an answer is signed")
@pytest.mark.parametrize("part", ["address", "certificate", "roster", "request"])
def test_an_answer_that_was_changed_is_refused(newcomer: tuple[Path, Answer, str], own: Authority, part: str) -> None:
    folder, answer, heard = newcomer
    other = Authority.load(own.folder).publish(answer.roster)
    pem = own.issue("zoe", "client", tls.private_key(folder / tls.KEY).public_key())
    changed: dict[str, Callable[[], Answer]] = {
        "address": lambda: replace(answer, federation=replace(answer.federation, address="evil.example:1")),
        "certificate": lambda: replace(answer, certificate=pem),
        "roster": lambda: replace(answer, roster=other.roster),
        "request": lambda: replace(answer, request=bytes(32)),
    }
    with pytest.raises(ProtocolError, match="is not signed by the enrolment key"):
        Answer.decode(changed[part]().encode())
    assert add(folder, Answer.decode(answer.encode()), heard).who == "zoe"


@pytest.mark.promise("P434")
@pytest.mark.guards("words are compared")
def test_an_answer_of_another_federation_is_refused(newcomer: tuple[Path, Answer, str], tmp_path: Path) -> None:
    """Of somebody between the two who has made one of the same name, with keys of his own."""
    folder, _, heard = newcomer
    mine = Authority.new(tmp_path / "mine", "heart study", "localhost:7443")
    _, (answer,) = mine.admit([Request.decode((folder / "request.pem").read_bytes())])
    for given in (heard, ""):
        with pytest.raises(ProtocolError, match="are not those of the federation heart study"):
            add(folder, answer, given)
    assert sorted(path.name for path in folder.iterdir()) == ["identity.json", "request.pem", "secret", "tls.key"]


@pytest.mark.promise("P434")
@pytest.mark.guards("a kit stays in its federation")
def test_a_kit_is_not_led_into_another_federation(own: Authority, tmp_path: Path) -> None:
    """With whatever words: it knows the keys."""
    north = kit(own, "north")
    mine = Authority.new(tmp_path / "mine", "heart study", "localhost:7443")
    request = Request.signed(north.identity, tls.private_key(north.folder / tls.KEY))
    (north.folder / "request.pem").write_bytes(request.encode())
    _, (answer,) = mine.admit([request])
    (north.folder / "roster.json").unlink()  # which is of another key, and would be seen
    with pytest.raises(ProtocolError, match="a federation with other keys"):
        add(north.folder, answer, words(mine.federation.message))


@pytest.mark.promise("P434")
@pytest.mark.guards("an answer is to one request")
def test_an_answer_to_another_request_is_refused(newcomer: tuple[Path, Answer, str]) -> None:
    """It would put a certificate into the folder for which there is no key."""
    folder, answer, heard = newcomer
    key = fresh_key()
    (folder / tls.KEY).write_bytes(pem_of(key))
    request = Request.signed(read_identity(folder / "identity.json"), key)
    (folder / "request.pem").write_bytes(request.encode())
    said = ""
    try:
        add(folder, answer, heard)
    except ProtocolError as error:
        said = str(error)
    assert not (folder / "kit.toml").exists() and not (folder / tls.CERTIFICATE).exists()
    assert "is not to the request of zoe" in said


# ── files ──


@pytest.mark.promise("P435")
@pytest.mark.guards("a secret that others can read is refused")
@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
@pytest.mark.parametrize("name", ["identity.json", "secret", "tls.key"])
def test_a_secret_of_a_kit_that_others_can_read_is_refused(own: Authority, name: str) -> None:
    folder = kit(own, "north").folder
    assert (folder / name).stat().st_mode & 0o777 == 0o600
    (folder / name).chmod(0o640)
    with pytest.raises(StoreError, match=f"{name} can be read by others"):
        Kit.load(folder)


@pytest.mark.promise("P435")
@pytest.mark.guards("a secret that others can read is refused")
@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
@pytest.mark.parametrize("name", ["authority.key", "enrolment.key"])
def test_a_key_of_an_authority_that_others_can_read_is_refused(own: Authority, name: str) -> None:
    (own.folder / name).chmod(0o604)
    with pytest.raises(StoreError, match=f"{name} can be read by others"):
        Authority.load(own.folder)


@pytest.mark.promise("P435")
@pytest.mark.guards("a kit's folder is its owner's")
@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
@pytest.mark.parametrize("mode", [0o750, 0o707, 0o720])
def test_a_folder_that_is_open_to_others_is_refused(own: Authority, mode: int) -> None:
    """Who may write there puts another authority into it."""
    folder = kit(own, "north").folder
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(mode)
    with pytest.raises(StoreError, match="is open to others"):
        Kit.load(folder)


@pytest.mark.promise("P435")
@pytest.mark.control("what does not print is guarded where it is defined")
def test_no_command_shows_a_secret(own: Authority) -> None:
    north = kit(own, "north")
    told = CliRunner().invoke(commands, ["kit", "show", str(north.folder)])
    assert told.exit_code == 0 and "north, client of heart study" in told.output
    secrets = [north.secret.secret, north.identity.signing.secret, north.identity.agreement.secret]
    for shown in (told.output, repr(north), repr(own)):
        assert not [one for one in secrets if one.hex() in shown or repr(one) in shown]
        assert "PRIVATE" not in shown


@pytest.mark.promise("P430")
@pytest.mark.control("dates are OpenSSL's and the kit's own business; a party learns of its own first")
def test_a_kit_with_a_certificate_that_ended_says_so(own: Authority, tmp_path: Path) -> None:
    north = kit(own, "north")
    end = datetime.fromtimestamp(north.until, UTC)
    assert end - datetime.now(UTC) > timedelta(days=364)
    with pytest.raises(ProtocolError, match=r"counts from .* and not now"):
        north.check(north.until)
