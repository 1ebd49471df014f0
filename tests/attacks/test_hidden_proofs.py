"""Who deals rubbish is banned by a proof that anybody verifies; nobody is framed, and nothing else shown."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_hidden import Cheat, Circle, Craft, me_of, resigned, sealed, served, spec_of, why

import hansa as h
from hansa.aggregators import PROVEN
from hansa.aggregators.arrivals import Arrivals
from hansa.aggregators.hidden.client import Me
from hansa.aggregators.hidden.denials import UNPROVEN
from hansa.aggregators.hidden.proving import Dealt
from hansa.aggregators.hidden.terms import Terms, prepared_of, shares_of
from hansa.crypto import disclosure
from hansa.crypto.disclosure import PROOF, disclosed
from hansa.crypto.field import Field64
from hansa.crypto.identity import Identity
from hansa.crypto.keys import PUBLIC, SIGNATURE
from hansa.crypto.sealing import MAC, SEALED_WITH, TAG, shown
from hansa.crypto.shamir import uniform
from hansa.errors import StoreError
from hansa.parties import Said
from hansa.store import Store, verify
from hansa.store.run import Run

NINE = Circle(n=9)  # of whom seven open a sum
LIAR, VICTIM, OTHER = "client-04", "client-00", "client-01"
HONEST = [who for who in NINE.names if who != LIAR]


def dealing(change: Callable[[Any], Any]) -> Craft:
    """A liar that changes its first message, and signs that."""

    def craft(turn: int, answer: Any) -> Any:
        return resigned(NINE, LIAR, answer, **change(answer)) if turn == 0 else answer

    return craft


def boxes(change: Callable[[Any], None]) -> Callable[[Any], Any]:
    def changed(answer: Any) -> Any:
        found = answer["boxes"].copy()
        change(found)
        return {"boxes": found}

    return changed


def first(count: int) -> Callable[[Any], Any]:
    """Boxes for so many are noise."""

    def noise(found: Any) -> None:
        found[:count, MAC:] = np.frombuffer(secrets.token_bytes(found[:count, MAC:].size), np.uint8).reshape(count, -1)

    return boxes(noise)


def holding(value: int) -> Callable[[Any], Any]:
    """Boxes for two are well sealed, and hold these elements."""

    def changed(answer: Any) -> Any:
        width = (answer["boxes"].shape[1] - MAC - TAG) // 8
        shares = np.full((NINE.n, width), value, np.uint64)
        found = answer["boxes"].copy()
        found[:2] = sealed(me_of(NINE, LIAR), answer["public"], shares)[:2]
        return {"boxes": found}

    return changed


def with_seal(seal: bytes) -> Callable[[Any], Any]:
    """It says that it seals with this, and deals noise to two."""
    return lambda answer: {"public": answer["public"][:-SEALED_WITH] + seal, **first(2)(answer)}


def strange_seal() -> bytes:
    """Two keys that are not of one number."""
    other = Identity.fresh(LIAR, "client").seal.public
    return NINE.identities[LIAR].seal.public[:PUBLIC] + other[PUBLIC:]


RUBBISH: dict[str, Callable[[Any], Any]] = {
    "noise for two": first(2),
    "noise for all": first(9),
    "one bit": boxes(lambda found: found[1:2].__setitem__((0, -1), found[1, -1] ^ 1)),
    "no elements": holding(2**64 - 1),
    "p": holding(Field64.p),
    "zeros": holding(0),
}

SEALS: dict[str, Callable[[], bytes]] = {
    "another's seal": lambda: NINE.identities[OTHER].seal.public,
    "no seal": lambda: bytes(SEALED_WITH),
    "a seal of two keys": strange_seal,
}


# ── who lies is banned ──


@pytest.mark.promise("P590")
@pytest.mark.guards("who denies a share is asked to prove it")
@pytest.mark.parametrize("rubbish", RUBBISH)
def test_who_deals_rubbish_is_proven_to(rubbish: str) -> None:
    """However few boxes it is in."""
    total, _, cell, line = served(NINE, crafts={LIAR: dealing(RUBBISH[rubbish])})
    assert line.excluded == {LIAR: PROVEN}
    assert total is None and LIAR in why(cell) and cell.failure and not cell.failure.lacking
    assert len(line.said) == 5 and not line.said[3]  # nobody has signed who is in, nor helped


@pytest.mark.promise("P590")
@pytest.mark.guards("a seal signs each message in which its boxes are", "the keys of a seal are one")
@pytest.mark.parametrize("seal", SEALS)
def test_who_seals_with_no_seal_of_its_own_is_left_out_at_once(seal: str) -> None:
    """It closes no round; nobody is asked to show anything."""
    total, inside, cell, line = served(NINE, crafts={LIAR: dealing(with_seal(SEALS[seal]()))})
    assert inside == HONEST and np.array_equal(total, NINE.sum(HONEST))
    assert "not signed" in line.excluded[LIAR] and not cell.proven


@pytest.mark.promise("P590")
@pytest.mark.control("no defence to take away: of who says no vector, none has to come off the sum")
def test_who_deals_rubbish_and_vanishes_is_banned_and_the_sum_is_opened() -> None:
    total, inside, _, line = served(NINE, gone={LIAR: 1}, crafts={LIAR: dealing(first(1))})
    assert line.excluded == {LIAR: PROVEN}
    assert inside == HONEST and np.array_equal(total, NINE.sum(HONEST))


@pytest.mark.control("no defence to take away: an honest round has no more turns than before")
def test_where_nobody_denies_nothing_is_asked() -> None:
    _, _, cell, line = served(NINE)
    assert len(line.said) == 4 and not cell.proven and not line.excluded


@pytest.mark.promise("P590")
@pytest.mark.control("no defence to take away: all are needed, and one is proven guilty")
@pytest.mark.parametrize("n", [3, 4])
def test_where_all_shares_are_needed_rubbish_is_proven_too(n: int) -> None:
    few = Circle(n=n)
    liar = few.names[-1]
    craft = {liar: lambda turn, answer: resigned(few, liar, answer, **first(n)(answer)) if turn == 0 else answer}
    _, _, cell, line = served(few, crafts=craft)
    assert line.excluded == {liar: PROVEN} and len(cell.proven) == n - 1


# ── nobody is framed ──


def denying(*whose: int) -> Craft:
    """A liar that says it holds no share of these, and shows what it can."""

    def craft(turn: int, answer: Any) -> Any:
        if turn == 1:
            holds = answer["holds"].copy()
            holds[list(whose)] = 0
            return {**answer, "holds": holds}
        if turn == 2 and answer is None:
            return np.frombuffer(secrets.token_bytes(PROOF * len(whose)), np.uint8).reshape(-1, PROOF)
        return answer

    return craft


@pytest.mark.promise("P591")
@pytest.mark.guards("a denial without a proof bans nobody")
@pytest.mark.parametrize("liars", [1, 2, 3])
def test_three_liars_ban_no_honest_client(liars: int) -> None:
    """They deny the share of one, who is neither banned nor rests."""
    crafts = dict.fromkeys(NINE.names[-liars:], denying(0))
    total, inside, _, line = served(NINE, crafts=crafts)
    assert line.excluded == dict.fromkeys(crafts, UNPROVEN)
    if liars == 3:
        assert total is None
    else:
        assert inside == NINE.names and np.array_equal(total, NINE.sum(inside))


@pytest.mark.promise("P591")
@pytest.mark.guards("a denial without a proof bans nobody")
@pytest.mark.parametrize("said", ["nothing", "a number", "few", "zeros", "wide"])
def test_a_denial_is_proven_or_a_lie(said: str) -> None:
    words: dict[str, Any] = {
        "a number": 7,
        "few": np.zeros((0, PROOF), np.uint8),
        "zeros": np.zeros((1, PROOF), np.uint8),
        "wide": np.zeros((1, 2 * PROOF), np.uint8),
    }

    def craft(turn: int, answer: Any) -> Any:
        return words.get(said) if turn == 2 else denying(0)(turn, answer)

    total, _, _, line = served(NINE, crafts={LIAR: craft})
    assert line.excluded == {LIAR: UNPROVEN} and np.array_equal(total, NINE.sum(NINE.names))


def message(circle: Circle, who: str, **changed: Any) -> Dealt:
    """The first message of an honest client."""
    cheat = Cheat(circle)
    said = {**cheat.first[who], **changed}
    return Dealt(
        cheat.terms.binding, who, circle.roster[who], said["public"], said["boxes"], cheat.first[who]["signature"]
    )


def is_rubbish(circle: Circle, dealt: Dealt, holder: str, proof: bytes) -> bool:
    return dealt.is_rubbish(circle.terms().number(holder), holder, circle.roster[holder], proof)


def torsion() -> list[bytes]:
    """The points whose order divides eight, but zero."""
    eighth = disclosure._point(0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7, 0)
    assert eighth is not None
    points = [disclosure._times(k, eighth) for k in range(1, 8)]
    return [disclosure._encoded(point) for point in points]


def shifted(dealt: Dealt, holder: Identity, by: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An honest proof, of a point with a part of small order."""
    encoded = disclosure._encoded
    part = disclosure._decoded(by)
    assert part is not None
    calls = list[int]()

    def first_with_a_part(point: Any) -> bytes:
        calls.append(1)
        return encoded(disclosure._add(point, part)) if len(calls) == 1 else encoded(point)

    with monkeypatch.context() as patched:
        patched.setattr(disclosure, "_encoded", first_with_a_part)
        proof = disclosure.disclose(holder.agreement, dealt.seal[:PUBLIC], dealt.about)
    assert proof and disclosed(holder.agreement.public, dealt.seal[:PUBLIC], proof, dealt.about)
    return proof


@pytest.mark.promise("P591")
@pytest.mark.guards("what is shown has no part of small order")
def test_nobody_adds_a_part_of_small_order_to_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another secret an honest box would not open."""
    dealt = message(NINE, OTHER)
    holder = NINE.identities[LIAR]
    for by in torsion():
        assert not is_rubbish(NINE, dealt, LIAR, shifted(dealt, holder, by, monkeypatch))


@pytest.mark.promise("P591")
@pytest.mark.guards("one number is behind a key and what is shown of it")
def test_another_secret_than_the_two_have_proves_nothing() -> None:
    """A proof of one's own with any key: of a seal of its own, of another's key, with other numbers."""
    dealt = message(NINE, OTHER)
    own = NINE.identities[LIAR]
    strange = Identity.fresh("nobody", "client")
    of_others = disclosure.disclose(strange.agreement, dealt.seal[:PUBLIC], dealt.about)
    of_seals = disclosure.disclose(own.agreement, strange.seal.public[:PUBLIC], dealt.about)
    assert of_others and of_seals
    point = disclosure._encoded(disclosure._times(12345, disclosure.BASE))
    for proof in (of_others, of_seals, point + of_others[32:], point + bytes(64), bytes(PROOF), b""):
        assert not is_rubbish(NINE, dealt, LIAR, proof)


@pytest.mark.promise("P591")
@pytest.mark.control("an honest proof that an honest box is rubbish shows that it is none")
def test_an_honest_box_opens_with_what_is_shown() -> None:
    dealt = message(NINE, OTHER)
    proof = disclosure.disclose(NINE.identities[LIAR].agreement, dealt.seal[:PUBLIC], dealt.about)
    assert proof and not is_rubbish(NINE, dealt, LIAR, proof)


@pytest.mark.promise("P591")
@pytest.mark.guards("a message is its dealer's")
def test_nobody_is_guilty_of_what_another_has_written() -> None:
    """A server and a holder change a box that an honest client has signed; and its seal."""
    honest = message(NINE, OTHER)
    spoilt = replace(honest, boxes=honest.boxes ^ 1)
    sealed_by_none = replace(honest, public=honest.public[:-1] + b"0")
    for dealt in (spoilt, sealed_by_none):
        proof = disclosure.disclose(NINE.identities[LIAR].agreement, dealt.seal[:PUBLIC], dealt.about)
        assert proof and not is_rubbish(NINE, dealt, LIAR, proof)


@pytest.mark.promise("P591")
@pytest.mark.guards("a seal alone is nobody's word")
def test_nobody_is_guilty_of_what_another_has_sealed() -> None:
    """A server writes the whole message, under a seal that it has drawn, and a holder proves that this is rubbish."""
    honest = message(NINE, OTHER)
    seal = Identity.fresh(OTHER, "client").seal
    made_up = replace(honest, public=honest.public[:-SEALED_WITH] + seal.public)
    made_up = replace(made_up, signature=honest.signature[:SIGNATURE] + seal.sign(made_up.about))
    proof = disclosure.disclose(NINE.identities[LIAR].agreement, made_up.seal[:PUBLIC], made_up.about)
    assert proof and not is_rubbish(NINE, made_up, LIAR, proof)


# ── what is proven is proven of one message ──


def guilty(circle: Circle) -> tuple[Dealt, bytes]:
    """What a liar has dealt to the victim, and the victim's proof."""
    craft = {LIAR: lambda turn, answer: resigned(circle, LIAR, answer, **first(1)(answer)) if turn == 0 else answer}
    _, _, cell, _ = served(circle, crafts=craft)
    (one,) = cell.proven
    assert one.holder == VICTIM and is_rubbish(circle, one.dealt, VICTIM, one.shown)
    return one.dealt, one.shown


@pytest.mark.promise("P591")
@pytest.mark.guards("a proof is of one message")
def test_a_proof_of_one_session_is_none_in_another() -> None:
    """Nobody speaks for a holder: what it has shown of one message it has not shown of the next."""
    _, proof = guilty(NINE)
    then = NINE.next_session(b"the next")
    then.identities = NINE.identities  # with the same seals
    dealt, _ = guilty(then)
    assert not is_rubbish(then, dealt, VICTIM, proof)


@pytest.mark.promise("P591")
@pytest.mark.control("each has keys of its own, and a place in a message")
def test_a_proof_of_one_holder_is_none_of_another() -> None:
    dealt, proof = guilty(NINE)
    for who in NINE.names[1:]:
        assert not is_rubbish(NINE, dealt, who, proof)


# ── what a proof shows, and to whom ──


def asked(cheat: Cheat, told: Mapping[str, Any], whose: str, **row: Any) -> Any:
    """What the victim proves that was told this, and is asked for a proof of one."""
    if cheat.vector(VICTIM, **told) is None:
        return None
    place = cheat.terms.number(whose)
    denied = np.zeros(cheat.terms.n, np.uint8)
    denied[place] = 1
    signature = np.frombuffer(cheat.first[whose]["signature"], np.uint8)
    question = {"denied": denied, "boxes": cheat.boxes[place][None], "signatures": signature[None]}
    return cheat.talks[VICTIM].hear({**question, **row})


def spoilt(cheat: Cheat, whose: str) -> Any:
    """The boxes for the victim, of which the server has changed one."""
    found = cheat.boxes[:, cheat.terms.number(VICTIM)].copy()
    found[cheat.terms.number(whose), -1] ^= 1
    return found


@pytest.mark.promise("P592")
@pytest.mark.guards("a holder shows no share that a dealer has dealt")
def test_a_server_that_changes_a_box_is_shown_nothing() -> None:
    """It would read an honest client's shares, and with t of them its vector: it says what that has signed in truth."""
    cheat = Cheat(Circle(n=9))
    assert asked(cheat, {"boxes": spoilt(cheat, OTHER)}, OTHER) is None


@pytest.mark.promise("P592")
@pytest.mark.guards("a holder shows nothing that its dealer has not signed")
def test_a_server_that_writes_for_a_dealer_is_shown_nothing() -> None:
    """The same, and it says that the changed box is what was signed."""
    cheat = Cheat(Circle(n=9))
    row = cheat.boxes[cheat.terms.number(OTHER)].copy()
    row[cheat.terms.number(VICTIM)] = spoilt(cheat, OTHER)[cheat.terms.number(OTHER)]
    assert asked(cheat, {"boxes": spoilt(cheat, OTHER)}, OTHER, boxes=row[None]) is None


def stolen(cheat: Cheat, whose: str, seal: bytes, seals: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a server says that has a client's signing key: noise under this seal, and that this was dealt."""
    i, j = (cheat.terms.number(who) for who in (whose, VICTIM))
    public = secrets.token_bytes(cheat.publics.shape[1] - SEALED_WITH) + seal
    row = np.frombuffer(secrets.token_bytes(cheat.boxes[i].size), np.uint8).reshape(cheat.boxes[i].shape)
    publics, boxes = cheat.publics.copy(), cheat.boxes[:, j].copy()
    publics[i] = np.frombuffer(public, np.uint8)
    boxes[i] = row[j]
    message = cheat.terms.prepared(whose, public, row)
    signature = cheat.circle.identities[whose].signing.sign(message) + seals
    told = {"publics": publics, "boxes": boxes}
    return told, {"boxes": row[None], "signatures": np.frombuffer(signature, np.uint8)[None]}


@pytest.mark.promise("P592")
@pytest.mark.guards("a seal signs each message in which its boxes are")
@pytest.mark.parametrize("again", [False, True], ids=["zeros", "of what it has sealed"])
def test_who_steals_a_signing_key_is_shown_nothing_that_its_client_has_sealed(again: bool) -> None:
    """With what the holder has agreed on with that client's seal its true boxes would open, of all sessions."""
    cheat = Cheat(Circle(n=9))
    seals = cheat.first[OTHER]["signature"][SIGNATURE:] if again else bytes(SIGNATURE)
    told, row = stolen(cheat, OTHER, cheat.circle.identities[OTHER].seal.public, seals)
    assert asked(cheat, told, OTHER, **row) is None
    assert "not signed" in str(cheat.talks[VICTIM].error)


@pytest.mark.promise("P592")
@pytest.mark.guards("a seal signs each message in which its boxes are")
@pytest.mark.parametrize("form", ["a seal", "an agreement key"])
def test_who_seals_with_another_s_key_is_shown_nothing_of_that(form: str) -> None:
    """A liar gives out for its own the seal of an honest client; or the agreement key of one, for which it has none."""
    circle = Circle(n=9)
    cheat = Cheat(circle)
    honest = circle.identities[OTHER]
    seal = honest.seal.public
    if form == "an agreement key":
        point = disclosure._lift(honest.agreement.public)
        assert point is not None
        seal = disclosure._encoded(point) + honest.agreement.public
    told, row = stolen(cheat, LIAR, seal, circle.identities[LIAR].seal.sign(b"something"))
    assert asked(cheat, told, LIAR, **row) is None


@pytest.mark.promise("P592")
@pytest.mark.control("no defence to take away: there are two keys")
def test_a_proof_opens_nothing_but_what_its_dealer_has_sealed_for_its_holder() -> None:
    """No box for others, none of the holder's, and no MAC."""
    circle = Circle(n=9)
    craft = {LIAR: lambda turn, answer: resigned(circle, LIAR, answer, **first(1)(answer)) if turn == 0 else answer}
    _, _, cell, line = served(circle, crafts=craft)
    (one,) = cell.proven
    me = VICTIM, circle.roster[VICTIM].agreement
    channel = shown(me, LIAR, one.dealt.seal, one.shown, one.dealt.about)
    assert channel is not None
    for i, who in enumerate(circle.names):
        assert not one.dealt.holds(i, channel)  # nor does another's box open so
        first_of = line.said[0][who]
        back = replace(channel, me=LIAR, peer=VICTIM)
        there = Dealt(
            cell.terms.binding, who, circle.roster[who], first_of["public"], first_of["boxes"], first_of["signature"]
        )
        assert not there.holds(cell.terms.number(LIAR), back)
    pair = circle.identities[VICTIM].channels({LIAR: circle.roster[LIAR].agreement})[LIAR]
    assert pair.key != channel.key


# ── whom a client counts ──


def invented(cheat: Cheat, real: list[str]) -> dict[str, Any]:
    """Public values, seals and boxes of which all but those of `real` are the server's own."""
    publics = cheat.publics.copy()
    boxes = cheat.boxes[:, cheat.terms.number(VICTIM)].copy()
    for i, who in enumerate(cheat.circle.names):
        if who not in real:
            own = Identity.fresh(who, "client")
            publics[i, :PUBLIC] = np.frombuffer(Identity.fresh(who, "client").agreement.public, np.uint8)
            publics[i, -SEALED_WITH:] = np.frombuffer(own.seal.public, np.uint8)
            (channel,) = own.sealed_for({VICTIM: cheat.circle.roster[VICTIM].agreement}).values()
            share = uniform((boxes.shape[1] - MAC - TAG) // 8).tobytes()
            box = channel.seal_once(share, cheat.terms.binding + bytes(publics[i]))
            boxes[i, MAC:] = np.frombuffer(box, np.uint8)
    return {"publics": publics, "boxes": boxes}


@pytest.mark.promise("P592")
@pytest.mark.guards("a public value is its client's own word")
def test_what_a_server_seals_itself_counts_for_nobody() -> None:
    """Boxes open that it has sealed, for a seal is nobody's without a MAC."""
    cheat = Cheat(Circle(n=9))
    assert cheat.vector(VICTIM, **invented(cheat, cheat.circle.names[:6])) is None
    other = Cheat(Circle(n=9))
    assert other.vector(VICTIM, **invented(other, other.circle.names[:7])) is not None


@pytest.mark.promise("P592")
@pytest.mark.guards("who has said nothing to a client itself does not count")
def test_a_set_that_needs_those_whom_a_server_has_invented_is_not_signed() -> None:
    cheat = Cheat(Circle(n=9))
    assert cheat.vector(VICTIM, **invented(cheat, cheat.circle.names[:7])) is not None
    inside = np.ones(9, np.uint8)
    inside[1] = 0
    assert cheat.talks[VICTIM].hear({"inside": inside}) is None


def silent(circle: Circle, to: list[str]) -> Craft:
    """A liar whose MACs for these are wrong."""

    def craft(turn: int, answer: Any) -> Any:
        if turn:
            return answer
        found = answer["boxes"].copy()
        for who in to:
            found[circle.names.index(who), :MAC] ^= 1
        return resigned(circle, LIAR, answer, boxes=found)

    return craft


@pytest.mark.guards("whose value a client does not know from itself is named")
def test_whose_macs_are_wrong_is_named_to_who_cannot_open_without_it() -> None:
    """Where all must be in a sum, one is enough; who reads the refusal looks at it, and not at the server alone."""
    circle = Circle(n=9, spec=spec_of(quorum=9))
    line = served(circle, crafts={LIAR: silent(circle, [VICTIM])})[-1]
    assert LIAR in str(line.talks[VICTIM].error) and VICTIM not in line.said[2]


@pytest.mark.guards("whose value a client does not know from itself is named")
def test_whose_macs_are_wrong_is_named_to_whom_too_few_speak() -> None:
    """Of five all are needed; of those who have prepared one says nothing to the victim."""
    circle = Circle(n=5, aggregator=h.MaskedSum(threshold=0.9))
    line = served(circle, crafts={LIAR: silent(circle, [VICTIM])})[-1]
    assert LIAR in str(line.talks[VICTIM].error) and VICTIM not in line.said[1]


# ── in a run ──

rng = np.random.default_rng(7)
DATA = {f"c{i}": (rng.normal(size=(9, 3)).astype(np.float32), rng.integers(0, 2, 9)) for i in range(7)}
PIPE = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=7))
PLAN = h.Plan(h.Softmax(3, 2), pipe=PIPE, aggregator=h.MaskedSum(), sample=h.Everyone(quorum=5), rounds=4)


class Rubbish(h.Client):
    """It seals noise for all others, and signs it."""

    turn = 0  # in which it prepares

    def answer(self, request: Any, given: Any = None) -> Said:
        said = super().answer(request, given)
        if request.turn == self.turn:
            boxes = said.reply["boxes"]
            boxes[:, MAC:] = np.frombuffer(secrets.token_bytes(boxes[:, MAC:].size), np.uint8).reshape(len(boxes), -1)
            signed = self.signed(request, said.reply)
            assert self.identity is not None
            said.reply["signature"] = self.identity.signing.sign(signed) + self.identity.seal.sign(signed)
        return said

    def signed(self, request: Any, reply: Any) -> bytes:
        session = self._at(request, self.secret).session
        (cell,) = h.MaskedSum().cells(request.bodies[self.who]["cohort"], self.plan.encoded_spec, session)
        return bytes(cell.prepared(self.who, reply["public"], reply["boxes"]))


def clients(plan: h.Plan) -> list[h.Client]:
    return [(Rubbish if who == "c3" else h.Client)(who, plan, one) for who, one in DATA.items()]


@pytest.mark.promise("P590")
@pytest.mark.guards("who is proven to deal rubbish is out for the run")
def test_who_deals_rubbish_closes_one_round_of_a_run_and_no_more() -> None:
    states = list(h.synchronous(PLAN, h.InProcess(clients(PLAN))))
    assert [state.excluded["c3"] for state in states] == [PROVEN] * 4
    assert [bool(state.skipped) for state in states] == [True, False, False, False]
    assert all(set(state.participants) == DATA.keys() - {"c3"} for state in states[1:])


class Twice(h.Client):
    """It seals noise for one and shares of another secret for the rest, and says no vector."""

    def answer(self, request: Any, given: Any = None) -> Said:
        said = super().answer(request, given)
        if request.turn == 1:
            return replace(said, reply="no vector")
        if request.turn == 0:
            at = self._at(request, self.secret)
            (cell,) = h.MaskedSum().cells(request.bodies[self.who]["cohort"], self.plan.encoded_spec, at.session)
            me = Me(cell, at)
            boxes = sealed(me, said.reply["public"], shares_of(cell, secrets.token_bytes(64)))
            boxes[0, MAC:] ^= 1
            said.reply["boxes"][:] = boxes
            said.reply["signature"] = me.signed(said.reply["public"], boxes)
        return said


@pytest.mark.promise("P590")
@pytest.mark.promise("P593")
@pytest.mark.guards("who is out for the run is so for no lesser reason")
def test_who_deals_rubbish_in_two_ways_is_out_for_the_worse(tmp_path: Path) -> None:
    """Else it would rest for a round and begin again, in a line that does not hold, as if the server had asked it."""
    plan = replace(PLAN, rounds=3)
    some = [(Twice if who == "c3" else h.Client)(who, plan, one) for who, one in DATA.items()]
    run = Store(tmp_path / "runs").new("plan", plan.digest, "app", {}, plan.rounds)
    states = list(h.synchronous(plan, h.InProcess(some)))
    for state in states:
        run.commit(state)
    assert [state.excluded["c3"] for state in states] == [PROVEN] * 3
    assert [bool(state.skipped) for state in states] == [True, False, False]
    assert verify(run) == 3


@pytest.mark.promise("P590")
@pytest.mark.guards("who is out for the run stays out while it is not asked")
def test_who_is_out_stays_out_in_rounds_that_do_not_ask_it() -> None:
    plan = replace(PLAN, sample=h.Uniform(5, quorum=4), rounds=9)
    states = list(h.synchronous(plan, h.InProcess(clients(plan))))
    begun = next(i for i, state in enumerate(states) if state.excluded.get("c3") == PROVEN)
    asked = [len(state.participants) + len(state.excluded) for state in states[begun + 1 :]]
    assert begun < 5 and set(asked) == {5, 6}  # of whom it is one, and of whom it is none
    assert all(state.excluded.get("c3") == PROVEN for state in states[begun:])
    assert not any(state.skipped for state in states[begun + 1 :])


@pytest.mark.promise("P590")
@pytest.mark.guards("who is out for the run is not asked to be ready")
def test_who_is_out_is_in_no_cell_of_those_who_are_ready() -> None:
    """Of three that open a sum together, it would take away one each time."""
    aggregator = h.Arriving(h.MaskedSum(), size=3)
    plan = replace(PLAN, aggregator=aggregator, sample=h.Everyone(quorum=3), rounds=8)

    class Ready(Rubbish):
        turn = 1

        def signed(self, request: Any, reply: Any) -> bytes:
            return bytes(prepared_of(self.heard, self.who, reply["public"], reply["boxes"]))

        def answer(self, request: Any, given: Any = None) -> Said:
            if request.turn == 1:
                at = self._at(request, self.secret)
                arrivals = Arrivals.read(request.bodies[self.who])
                session = replace(at.session, task=arrivals.task)
                self.heard = Terms.of(arrivals.names, h.MaskedSum(), at.spec, session).binding
            return super().answer(request, given)

    some = [(Ready if who == "c3" else h.Client)(who, plan, one) for who, one in DATA.items()]
    states = list(h.buffered(plan, h.InProcess(some), busy=4))
    begun = next(i for i, state in enumerate(states) if state.excluded.get("c3") == PROVEN)
    assert sum(bool(state.skipped) for state in states) <= 2  # it may be ready for one more
    assert not any(state.skipped for state in states[begun + 2 :]) and begun < 5


# ── in the record ──


def recorded(folder: Path, forgets: bool = False) -> Run:
    """The record of two rounds; forgets: by a server that asks again who is out."""
    plan = replace(PLAN, rounds=2)
    run = Store(folder / "runs").new("plan", plan.digest, "app", {}, plan.rounds)
    runtime = h.InProcess(clients(plan))
    state = next(iter(h.synchronous(plan, runtime)))
    run.commit(state)
    if forgets:
        state = replace(state, excluded={})
    run.commit(next(iter(h.synchronous(plan, runtime, state))))
    return run


def rewritten(run: Run, change: Callable[[list[Any]], None]) -> None:
    """The record with a change, by somebody who knows how heads are made."""
    every = [json.loads(text) for text in run.record.path.read_text().splitlines()]
    for line in every:
        del line["head"]
    change(every)
    run.record.path.unlink()
    run.record._last = ""
    for line in every:
        run.record.add(line)


@pytest.mark.promise("P593")
@pytest.mark.control("what is attacked below")
def test_a_record_holds_who_is_proven_to_have_dealt_rubbish(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    first_round = json.loads(run.record.path.read_text().splitlines()[1])
    assert {one["dealer"] for one in first_round["cells"][0]["proven"]} == {"c3"}
    assert verify(run) == 2


def other(name: str, value: str) -> Callable[[Any], None]:
    return lambda one: one.update({name: value})


def later(name: str) -> Callable[[Any], None]:
    """One digit is another."""
    return lambda one: one.update({name: ("0" if one[name][0] == "1" else "1") + one[name][1:]})


FORGED = {
    "of an honest client": other("dealer", "c0"),
    "by another": other("holder", "c6"),
    "by nobody": other("holder", "nobody"),
    "another proof": later("proof"),
    "other boxes": later("boxes"),
    "another value": later("public"),
    "another signature": later("signature"),
}


@pytest.mark.promise("P593")
@pytest.mark.guards("what a record says is proven is")
@pytest.mark.parametrize("forged", FORGED)
def test_what_is_not_proven_is_in_no_record(forged: str, tmp_path: Path) -> None:
    run = recorded(tmp_path)
    rewritten(run, lambda every: FORGED[forged](every[1]["cells"][0]["proven"][0]))
    with pytest.raises(StoreError, match=r"Line 2 .* not proven"):
        verify(run)


@pytest.mark.promise("P593")
@pytest.mark.guards("what a record says is proven is")
def test_a_proof_of_one_round_is_none_of_the_next(tmp_path: Path) -> None:
    run = recorded(tmp_path)

    def moved(every: list[Any]) -> None:
        every[2]["cells"][0]["proven"] = every[1]["cells"][0].pop("proven")
        every[1]["cells"][0]["proven"] = []

    rewritten(run, moved)
    with pytest.raises(StoreError, match=r"Line 3 .* not proven"):
        verify(run)


@pytest.mark.promise("P593")
@pytest.mark.guards("who is out for the run is in no later line of its record")
def test_a_server_that_asks_again_who_is_out_is_found(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"Line 3 .* c3 takes part"):
        verify(recorded(tmp_path, forgets=True))
