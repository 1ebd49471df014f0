"""A server's certificate, and a gateway's, that were revoked: who dials is not taken in by who has stolen the key."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest
from tests.attacks.intruders import Liar, attending, impatient, patience
from tests.attacks.test_sites import done
from tests.attending import HOST
from tests.kits import federation, kit

from hansa.crypto.identity import Role, Roster
from hansa.crypto.keys import SigningKey
from hansa.kits.authority import Authority
from hansa.kits.files import write_roster
from hansa.runtimes.sites import link

PARTIES: dict[str, Role] = {"server": "server", "north": "client", "auditor": "helper", "gate": "gateway"}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.setattr(link, "LOOK", 0.05)
    authority = federation(tmp_path / "pki", parties=PARTIES)
    for who in PARTIES:  # they dial this machine by its number
        about = authority.folder / "kits" / who / "kit.toml"
        about.write_text(about.read_text().replace("localhost:7443", f"{HOST}:7443"))
    return authority


def way(authority: Authority, who: str, address: str) -> link.Way:
    """As `hansa join`, `helper` and `gateway` dial."""
    own = kit(authority, who)
    return link.Way(address, own.server_listed(), own.federation, host="localhost")


async def reached(one: link.Way, path: str = "/v1/attend") -> bool:
    async with link.dialled(one, path, 2**20):
        return True


@pytest.mark.promise("P588")
@pytest.mark.guards("who is dialled is on the roster")
@pytest.mark.parametrize("who", ["north", "auditor", "gate"])
def test_nobody_dials_a_server_that_was_revoked(made: Authority, who: str) -> None:
    """Its key was stolen: whoever has it stands where parties dial."""

    async def attack() -> None:
        async with Liar(kit(made, "server")) as liar:
            dialled = way(made, who, liar.address)
            assert await reached(dialled)
            kit(made, who).with_roster(made.revoke("server").roster)
            with pytest.raises(link.aiohttp.ClientConnectorCertificateError, match="on no line of the roster"):
                await reached(dialled)
            assert liar.links == 1

    done(attack())


@pytest.mark.promise("P588")
@pytest.mark.guards("a link ends with the certificate of who was dialled")
def test_an_open_link_to_a_server_that_is_revoked_ends(
    made: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, with no word of the server's; the party hears why, once, and comes back to nobody; but to a server
    that is on a newer roster.
    """
    own = kit(made, "north")

    def nobody(*about: object) -> object:
        raise AssertionError("nothing is asked")

    async def attack() -> None:
        with impatient(monkeypatch), caplog.at_level(logging.INFO, "hansa.sites"):
            async with Liar(kit(made, "server")) as liar, attending(liar, own, nobody, "localhost") as one:
                async with patience():
                    while liar.socket is None:
                        await asyncio.sleep(0.01)
                members = dict(made.roster)
                own.with_roster(made.revoke("server").roster)
                async with patience():
                    while "not on the roster" not in caplog.text:
                        await asyncio.sleep(0.01)
                await asyncio.sleep(0.3)
                assert liar.links == 1 and caplog.text.count("not on the roster") == 1
                serial, until = made.roster.serial + 2, made.roster.until
                own.with_roster(Roster.signed(members, serial, made.enrolment, until))
                async with patience():
                    while liar.links == 1 and not one.task.done():
                        await asyncio.sleep(0.01)
                assert liar.links == 2

    done(attack())


@pytest.mark.promise("P588")
@pytest.mark.guards("who is dialled is on the roster")
@pytest.mark.parametrize("what", ["has ended", "is older", "is another's"])
def test_no_server_is_dialled_by_a_roster_that_does_not_count(made: Authority, what: str) -> None:
    """Whoever keeps newer ones from a party, or can write into its kit, gains a server by none of these."""
    own = kit(made, "north")
    key, serial, until = made.enrolment, made.roster.serial + 1, made.roster.until
    newer = Roster.signed(dict(made.roster), serial, key, until)
    bad = {
        "has ended": Roster.signed(dict(made.roster), serial + 1, key, int(time.time()) - 1),
        "is older": made.roster,
        "is another's": Roster.signed(dict(made.roster), serial + 1, SigningKey.fresh(), until),
    }

    async def attack() -> None:
        async with Liar(kit(made, "server")) as liar:
            dialled = way(made, "north", liar.address)
            write_roster(own.folder / "roster.json", newer)
            assert await reached(dialled)
            write_roster(own.folder / "roster.json", bad[what])
            with pytest.raises(link.aiohttp.ClientConnectorCertificateError):
                await reached(dialled)

    done(attack())


@pytest.mark.promise("P588")
@pytest.mark.guards("a gateway takes no gateway for the server")
def test_a_gateway_takes_no_gateway_for_the_server(made: Authority) -> None:
    """One gateway's key would else be enough to hear what comes to all of them."""

    async def attack() -> None:
        async with Liar(kit(made, "gate")) as liar:
            assert await reached(way(made, "north", liar.address))
            with pytest.raises(link.aiohttp.ClientConnectorCertificateError, match="that of a gateway"):
                await reached(way(made, "gate", liar.address))

    done(attack())
