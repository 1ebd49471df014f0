"""Hidden sums under attack by their server, which carries all messages and sees each of them.

Which attack is tested where; without a file: here.

T23      who vanishes, at every turn: tests/contracts/test_masked.py
T24      both shares of one client: test_no_help_opens_both…; a second question, a second sum,
         and after a restart: test_hidden_runs.py
T25      sets that are no part of those who prepared, doubled, foreign, small: test_a_set_that_is_none…
T26      public values that differ, are altered, doubled, made up, of low order: test_a_client_alone…,
         test_another_value…, test_clients_that_were_made_up…
T27 T29  a late vector, keys and streams: test_hidden_statistics.py
T28      a corrupted share, box, or what it is about: test_a_changed_box…, and test_hidden_liars.py
T31      a sum that wraps around: test_hidden_liars.py
T34      two models: test_who_was_told_another_model…
T40      rosters: test_two_rosters…, and test_identities.py; T41 cohorts: test_a_cohort_that_is_none…
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_hidden import Cheat, Circle, Line, made_up, members, served, spec_of, why

import hansa as h
from hansa.crypto.identity import Identity, Roster
from hansa.crypto.keys import PRIVATE, PUBLIC, SigningKey
from hansa.crypto.sealing import MAC

FIVE = ["client-00", "client-01", "client-02", "client-03", "client-04"]
VICTIM = "client-00"


@pytest.mark.control("it is the lie that is refused, not how this server speaks")
def test_a_server_that_cheats_in_nothing_opens_the_sum() -> None:
    cheat = Cheat(Circle())
    vectors = {who: cheat.vector(who) for who in FIVE}
    signatures = {who: cheat.talks[who].hear({"inside": cheat.all}) for who in FIVE}
    helps = {who: cheat.help(who, signatures) for who in FIVE}
    assert all(v is not None for v in [*vectors.values(), *helps.values()])
    for who in FIVE:
        assert cheat.opened(helps, who) == cheat.talks[who].prepared.secret[PRIVATE:]


# ── cohorts ──

COHORTS: dict[str, list[str]] = {
    "invented": [*FIVE[:4], "nobody"],
    "the server": [*FIVE[:4], "the server"],
    "twice": [VICTIM, VICTIM, *FIVE[1:4]],
    "not sorted": FIVE[::-1],
    "two": FIVE[:2],
    "alone": FIVE[:1],
    "fewer than the quorum": FIVE[:3],
    "without it": FIVE[1:],
    "nobody": [],
}


@pytest.mark.guards(
    "a cohort has none that the roster does not name",
    "a server is no client of a cohort",
    "a cohort has each client once",
    "a cohort is no smaller than the plan says",
)
@pytest.mark.parametrize("cohort", COHORTS)
def test_a_cohort_that_is_none_hears_nothing(cohort: str) -> None:
    """The server and what it invents would be all but one of those among whom a client hides."""
    circle = Circle(spec=spec_of(quorum=4))
    server = Identity.fresh("the server", "server").member
    drawn = tuple(COHORTS[cohort])  # even if the plan drew it
    talk = circle.talk(VICTIM, roster={**circle.roster, "the server": server}, cohort=drawn)
    assert talk.hear({"cohort": COHORTS[cohort]}) is None and talk.error


@pytest.mark.promise("P405")
@pytest.mark.promise("P405")
@pytest.mark.guards("a cohort is the one that the plan draws")
def test_a_cohort_that_the_server_has_chosen_is_refused() -> None:
    """It could choose those who collude with it, and one more."""
    circle = Circle(n=9)
    assert circle.talk(VICTIM).hear({"cohort": FIVE}) is None
    assert circle.talk(VICTIM).hear({"cohort": circle.names}) is not None


@pytest.mark.guards("a sum is no larger than it has room")
def test_a_cohort_above_the_plan_s_is_refused() -> None:
    circle = Circle(spec=spec_of(clients=4))
    assert circle.talk(VICTIM, cohort=tuple(FIVE)).hear({"cohort": FIVE}) is None


# ── public values ──


def isolated(cheat: Cheat) -> tuple[Any, Any]:
    """The victim is told values that are the server's own, all others the true ones; what the server learns.

    They open the victim's own mask in all honesty, since its value is the true one; its other masks are with keys that
    the server has.
    """
    publics, keys = made_up(cheat, [VICTIM])
    answer = cheat.vector(VICTIM, publics=publics)
    if answer is None:
        return None, None
    others = [who for who in FIVE if who != VICTIM]
    for who in others:
        cheat.vector(who)
    signatures = {who: cheat.talks[who].hear({"inside": cheat.all}) for who in others}
    helps = {who: cheat.help(who, signatures) for who in others}
    own = cheat.opened(helps, VICTIM)
    return answer, cheat.bare(answer["vector"], VICTIM, own, keys)


@pytest.mark.promise("P407")
@pytest.mark.promise("P407")
@pytest.mark.guards("a client masks against t others that are real")
def test_a_client_alone_among_made_up_ones_says_nothing() -> None:
    circle = Circle()
    answer, found = isolated(Cheat(circle))
    assert answer is None, found
    assert not np.array_equal(found, circle.vectors[VICTIM])


@pytest.mark.guards("a share is sealed with the value that it opens")
def test_a_value_is_that_of_who_has_sealed_a_share_with_it() -> None:
    """Else boxes that are passed on would speak for values that are not."""
    answer, found = isolated(Cheat(Circle()))
    assert answer is None, found


@pytest.mark.guards("who has said nothing to a client itself does not count")
def test_clients_that_were_made_up_fill_no_quorum() -> None:
    """Four real ones, and a fifth whose value is the server's: the sum of four, where no fewer than five are one."""
    circle = Circle(spec=spec_of(quorum=5))
    cheat = Cheat(circle)
    real = FIVE[:4]
    publics, _ = made_up(cheat, real)
    for who in real:
        cheat.vector(who, publics=publics)
    signatures = {who: cheat.talks[who].hear({"inside": cheat.all}) for who in real}
    assert not any(signatures.values())


def repeated(publics: Any) -> Any:
    """The last says what the first has said."""
    changed = publics.copy()
    changed[-1] = changed[1]
    return changed


def altered(publics: Any) -> Any:
    """The victim's own is another."""
    changed = publics.copy()
    changed[0, 0] ^= 1
    return changed


def weak(publics: Any) -> Any:
    """With this value all agree on the same."""
    changed = publics.copy()
    changed[1, :PUBLIC] = 0
    return changed


VIEWS: dict[str, Callable[[Any], Any]] = {
    "doubled": repeated,
    "its own altered": altered,
    "of low order": weak,
    "too few": lambda publics: publics[:-1],
    "too wide": lambda publics: np.pad(publics, ((0, 0), (0, 1))),
    "words": lambda publics: publics.astype(np.uint64),
    "bytes": lambda publics: publics.tobytes(),
    "none": lambda publics: None,
}


@pytest.mark.guards("its own value is the one that it has said", "no two have one value")
@pytest.mark.parametrize("view", VIEWS)
def test_another_value_is_refused(view: str) -> None:
    cheat = Cheat(Circle())
    answer = cheat.vector(VICTIM, publics=VIEWS[view](cheat.publics))
    assert answer is None and cheat.talks[VICTIM].error


@pytest.mark.guards("a sum that can have too few is not begun")
@pytest.mark.parametrize("out", [[0], [3, 4]], ids=["without it", "three of five"])
def test_too_few_who_have_prepared_hear_no_vector(out: list[int]) -> None:
    cheat = Cheat(Circle(spec=spec_of(quorum=4)))
    assert cheat.vector(VICTIM, prepared=members(cheat.circle, *out)) is None


@pytest.mark.guards("a quorum counts")
def test_a_client_helps_to_open_no_fewer_than_the_quorum() -> None:
    cheat = Cheat(Circle(spec=spec_of(quorum=5)))
    assert cheat.vector(VICTIM, prepared=members(cheat.circle, 4)) is None


# ── boxes ──


def changed_box(boxes: Any) -> Any:
    boxes[1, 20] ^= 1
    return boxes


def swapped_boxes(boxes: Any) -> Any:
    boxes[[1, 2]] = boxes[[2, 1]]
    return boxes


@pytest.mark.guards("a changed box holds nothing")
@pytest.mark.parametrize("change", [changed_box, swapped_boxes])
def test_a_changed_box_holds_nothing(change: Callable[[Any], Any]) -> None:
    """It is left out, and said: what is in the others is as good."""
    cheat = Cheat(Circle(n=9))
    boxes = change(cheat.view(VICTIM)["boxes"])
    answer = cheat.vector(VICTIM, boxes=boxes)
    assert answer is not None
    assert not answer["holds"][1] and answer["holds"][[0, 3, 4, 5, 6, 7, 8]].all()


@pytest.mark.guards("a share and its value are of one session")
def test_a_stale_round_is_refused() -> None:
    """Values and boxes of an earlier session, of which the server may have opened the keys."""
    circle = Circle()
    old = Cheat(circle)
    new = Cheat(circle.next_session(b"the next session"))
    i = new.terms.number(VICTIM)
    publics = old.publics.copy()
    publics[i] = new.publics[i]
    assert new.vector(VICTIM, publics=publics, boxes=old.boxes[:, i].copy()) is None


# ── sets ──


def asked_for(inside: Any, prepared: Any = None, quorum: int = 1) -> Any:
    """What the victim says when it is asked to open this set."""
    cheat = Cheat(Circle(spec=spec_of(quorum=quorum)))
    told = {} if prepared is None else {"prepared": prepared}
    assert cheat.vector(VICTIM, **told) is not None
    return cheat.talks[VICTIM].hear({"inside": inside})


@pytest.mark.guards("a set is a part of those who have prepared", "a client opens no sum without itself")
@pytest.mark.parametrize("inside, prepared", [([1, 1, 1, 1, 1], [1, 1, 1, 1, 0]), ([0, 1, 1, 1, 1], [1] * 5)])
def test_a_set_of_others_is_not_signed(inside: list[int], prepared: list[int]) -> None:
    assert asked_for(np.array(inside, np.uint8), np.array(prepared, np.uint8)) is None


@pytest.mark.guards("a small set is not signed")
@pytest.mark.parametrize("inside, quorum", [([1, 1, 1, 0, 0], 1), ([1, 0, 0, 0, 0], 1), ([1, 1, 1, 1, 0], 5)])
def test_a_small_set_is_not_signed(inside: list[int], quorum: int) -> None:
    assert asked_for(np.array(inside, np.uint8), quorum=quorum) is None


SETS: dict[str, Any] = {
    "doubled": np.array([1, 2, 1, 1, 1], np.uint8),
    "of six": np.ones(6, np.uint8),
    "of four": np.ones(4, np.uint8),
    "of one": np.uint8(1),
    "flags": np.ones(5, bool),
    "names": FIVE,
    "in rows": np.ones((5, 1), np.uint8),
    "nothing": None,
}


@pytest.mark.guards("a set has each client once")
@pytest.mark.parametrize("inside", SETS)
def test_a_set_that_is_none_is_not_signed(inside: str) -> None:
    """Of a client that counts twice, one vector would stand for two."""
    assert asked_for(SETS[inside]) is None


# ── signatures, and help ──


def helped(cheat: Cheat, who: str, signatures: dict[str, Any]) -> Any:
    """What a client helps with, of the whole set, when these have signed it."""
    assert cheat.vector(who) is not None
    assert cheat.talks[who].hear({"inside": cheat.all}) is not None
    return cheat.help(who, signatures)


@pytest.mark.promise("P407")
@pytest.mark.promise("P407")
@pytest.mark.guards("t sign before anything is opened")
def test_fewer_than_t_signatures_open_nothing() -> None:
    """With a colluder and without this turn, a server would have two sets opened, each by others."""
    cheat = Cheat(Circle())
    assert helped(cheat, VICTIM, {who: cheat.sign(who, cheat.all) for who in FIVE[:3]}) is None
    control = Cheat(Circle())
    assert helped(control, VICTIM, {who: control.sign(who, control.all) for who in FIVE[:4]}) is not None


def each(cheat: Cheat, said: Callable[[str], dict[str, Any]]) -> Any:
    """What the victim is told where each says this."""
    return cheat.column(VICTIM, {who: said(who) for who in FIVE})


def before(cheat: Cheat) -> Cheat:
    """The same people in the session before."""
    return Cheat(cheat.circle.next_session(b"before"))


SAID: dict[str, Callable[[Cheat], Any]] = {
    "one for all": lambda cheat: each(cheat, lambda who: cheat.sign(FIVE[1], cheat.all)),
    "by others": lambda cheat: np.roll(each(cheat, lambda who: cheat.sign(who, cheat.all)), 1, axis=0),
    "another set": lambda cheat: each(cheat, lambda who: cheat.sign(who, members(cheat.circle, 1))),
    "another view": lambda cheat: each(cheat, lambda who: cheat.sign(who, cheat.all, repeated(cheat.publics))),
    "any bytes": lambda cheat: np.arange(5 * MAC, dtype=np.uint8).reshape(5, MAC),
    "zeros": lambda cheat: np.zeros((5, MAC), np.uint8),
    "an earlier session": lambda cheat: each(before(cheat), lambda who: before(cheat).sign(who, cheat.all)),
    "for another": lambda cheat: cheat.column(FIVE[1], {who: cheat.sign(who, cheat.all) for who in FIVE}),
    "of one to all": lambda cheat: cheat.sign(FIVE[1], cheat.all)["macs"],
}


@pytest.mark.promise("P407")
@pytest.mark.guards("a MAC is that of its client, of this set")
@pytest.mark.parametrize("said", SAID)
def test_macs_of_something_else_open_nothing(said: str) -> None:
    cheat = Cheat(Circle())
    assert cheat.vector(VICTIM) is not None
    assert cheat.talks[VICTIM].hear({"inside": cheat.all}) is not None
    assert cheat.talks[VICTIM].hear({"macs": SAID[said](cheat)}) is None


@pytest.mark.promise("P407")
@pytest.mark.guards("a MAC is from one of two to the other")
def test_what_a_client_has_said_is_no_answer_to_itself() -> None:
    """A server hands back to it the MACs that it has made for all others."""
    cheat = Cheat(Circle())
    assert cheat.vector(VICTIM) is not None
    own = cheat.talks[VICTIM].hear({"inside": cheat.all})["macs"]
    assert cheat.talks[VICTIM].hear({"macs": own}) is None


MACS: dict[str, Any] = {
    "of four": lambda macs: macs[:4],
    "short": lambda macs: macs[:, :8],
    "empty": lambda macs: macs[:, :0],
    "words": lambda macs: macs.astype(np.uint16),
    "bytes": lambda macs: macs.tobytes(),
    "nothing": lambda macs: None,
}


@pytest.mark.control("no defence to take away: each is refused for its form, before a MAC is looked at")
@pytest.mark.parametrize("form", MACS)
def test_macs_of_another_form_open_nothing(form: str) -> None:
    cheat = Cheat(Circle())
    assert cheat.vector(VICTIM) is not None
    assert cheat.talks[VICTIM].hear({"inside": cheat.all}) is not None
    honest = cheat.column(VICTIM, {who: cheat.sign(who, cheat.all) for who in FIVE})
    assert cheat.talks[VICTIM].hear({"macs": MACS[form](honest)}) is None


@pytest.mark.guards("what is signed names those who have prepared, and their values")
def test_who_was_told_other_values_has_signed_another_set() -> None:
    """Four agree on a set, two and two of whom were told other values of the fifth."""
    cheat = Cheat(Circle())
    one, _ = made_up(cheat, FIVE[:4])
    two, _ = made_up(cheat, FIVE[:4])
    for who, publics in zip(FIVE[:4], (one, one, two, two), strict=True):
        cheat.vector(who, publics=publics)
    inside = members(cheat.circle, 4)
    signatures = {who: cheat.talks[who].hear({"inside": inside}) for who in FIVE[:4]}
    assert all(signatures.values())
    helps = [cheat.help(who, signatures) for who in FIVE[:4]]
    assert all(one is None for one in helps)


@pytest.mark.guards("only who is in a set signs it")
def test_who_is_not_in_a_set_signs_nothing() -> None:
    """A colluder whose vector is not in the sum makes up for no honest client's word."""
    cheat = Cheat(Circle())
    inside = members(cheat.circle, 4)
    for who in FIVE[:3]:
        cheat.vector(who)
    signatures = {who: cheat.talks[who].hear({"inside": inside}) for who in FIVE[:3]}
    signatures["client-04"] = cheat.sign("client-04", inside)
    assert cheat.help(VICTIM, signatures) is None


def two_sets(cheat: Cheat) -> dict[str, Any]:
    """All have signed the set without the last, and are asked again with it; what they help with, each time."""
    late = FIVE[-1]
    found = dict[str, Any]()
    without = members(cheat.circle, 4)
    for who in FIVE:
        cheat.vector(who)
    signatures = {who: cheat.talks[who].hear({"inside": without}) for who in FIVE[:4]}
    found["without"] = {who: cheat.help(who, signatures) for who in FIVE[:4]}
    again = {who: cheat.talks[who].hear({"inside": cheat.all}) for who in FIVE}
    found["with"] = {who: one for who, one in again.items() if who != late and one is not None}
    return found


@pytest.mark.promise("P410")
@pytest.mark.promise("P410")
@pytest.mark.guards("those who may collude hold too few shares to learn anything")
def test_those_who_may_collude_learn_nothing_from_their_shares() -> None:
    """Of t numbers that make a polynomial 2t − n − 1 are known; the others must be more than its secrets."""
    for n in range(3, 40):
        sharing = Circle(n=n).terms().sharing
        unknown = sharing.t - (2 * sharing.t - n - 1)
        assert unknown >= sharing.pack


@pytest.mark.promise("P407")
@pytest.mark.promise("P407")
@pytest.mark.guards("no help opens both secrets of one client")
def test_no_help_opens_both_secrets_of_one_client() -> None:
    """Of who is in, its own mask alone; of who is not, its key alone: with both, its vector would lie open."""
    cheat = Cheat(Circle())
    found = two_sets(cheat)
    assert not found["with"]
    own, key = "client-01", "client-04"
    secrets = {who: cheat.talks[who].prepared.secret for who in FIVE}
    assert cheat.opened(found["without"], own) == secrets[own][PRIVATE:]
    assert cheat.opened(found["without"], key) == secrets[key][:PRIVATE]
    shares = np.stack([one[cheat.terms.number(own)] for one in found["without"].values()])
    assert shares.shape == (4, cheat.terms.sharing.columns(cheat.terms.scheme.helped))


@pytest.mark.guards("help is for those alone who have prepared")
def test_of_who_is_in_no_view_nothing_is_opened() -> None:
    """A server that has left somebody out from the start does not get its key."""
    cheat = Cheat(Circle(n=6))
    names = cheat.circle.names
    told = members(cheat.circle, 5)
    for who in names[:5]:
        cheat.vector(who, prepared=told)
    signatures = {who: cheat.talks[who].hear({"inside": told}) for who in names[:5]}
    helps = [cheat.help(who, signatures) for who in names[:5]]
    assert not any(one[5].any() for one in helps)


# ── what all are bound to ──


@pytest.mark.promise("P407")
@pytest.mark.promise("P407")
@pytest.mark.guards("masks are of one plan, session and model")
def test_who_was_told_another_model_is_in_no_sum() -> None:
    """One vector from a model that was made for it would stand out of the sum."""
    circle = Circle()
    talks = {who: circle.talk(who) for who in FIVE[1:]}
    talks[VICTIM] = circle.talk(VICTIM, task=b"another model")
    total, inside, _, line = served(circle, Line(talks))
    assert inside == FIVE[1:] and np.array_equal(total, circle.sum(inside))
    assert VICTIM in line.excluded


@pytest.mark.guards("masks are of one plan, session and model")
def test_clients_who_were_told_many_models_have_no_sum() -> None:
    circle = Circle()
    total, inside, cell, _ = served(circle, Line({who: circle.talk(who, task=who.encode()) for who in FIVE}))
    assert total is None and not inside and why(cell)


@pytest.mark.promise("P407")
@pytest.mark.promise("P407")
@pytest.mark.guards("masks are of one roster")
def test_two_rosters_have_no_sum_in_common() -> None:
    """To one client a roster is given in which another's key is the server's own."""
    circle = Circle()
    other = {**circle.roster, FIVE[4]: Identity.fresh(FIVE[4], "client").member}
    talks = {who: circle.talk(who) for who in FIVE[1:]}
    talks[VICTIM] = circle.talk(VICTIM, roster=other)
    total, inside, _, _ = served(circle, Line(talks))
    assert inside == FIVE[1:] and np.array_equal(total, circle.sum(inside))


@pytest.mark.guards("masks are of one threshold")
@pytest.mark.parametrize("more", [{"aggregator": h.MaskedSum(0.8)}, {"spec": spec_of(quorum=8)}])
def test_who_counts_otherwise_is_in_no_sum(more: dict[str, Any]) -> None:
    """Fewer would open its secrets than it takes to be needed."""
    circle = Circle(n=9)
    odd = replace(circle, **more)
    talks = {who: circle.talk(who) for who in circle.names[1:]}
    talks[VICTIM] = odd.talk(VICTIM)
    _, inside, _, _ = served(circle, Line(talks))
    assert inside == circle.names[1:]


@pytest.mark.guards("who has no keys says nothing")
def test_a_client_without_its_own_keys_says_nothing() -> None:
    circle = Circle()
    for identity in (None, Identity.fresh(VICTIM, "client")):
        talk = circle.talk(VICTIM, identity=identity)
        assert talk.hear({"cohort": FIVE}) is None and talk.error


# ── whatever it says ──

WORDS: list[Any] = [None, 0, "all", [], {}, np.zeros(5), {"cohort": 3}, {"prepared": 1}, {"inside": 1, "more": 2}]


@pytest.mark.control("no defence to take away: each refusal is one of many")
@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("word", WORDS, ids=repr)
def test_whatever_a_server_says_is_refused_in_words(turn: int, word: Any) -> None:
    cheat = Cheat(Circle())
    talk = cheat.talks[VICTIM]
    if turn == 0:
        talk = cheat.circle.talk(VICTIM)
    if turn > 1:
        cheat.vector(VICTIM)
    if turn > 2:
        talk.hear({"inside": cheat.all})
    assert talk.hear(word) is None
    assert talk.error is not None and talk.error.found and talk.error.instead
    assert talk.hear(word) is None


@pytest.mark.guards("what a client has drawn does not print")
def test_what_a_client_has_drawn_does_not_print() -> None:
    cheat = Cheat(Circle())
    prepared = cheat.talks[VICTIM].prepared
    shown = repr(prepared)
    assert repr(prepared.secret) not in shown and "secret" not in shown
    assert "share=" not in shown and "boxes" not in shown


# ── keys ──


@pytest.mark.guards("a key that nobody can agree with is not enrolled")
@pytest.mark.parametrize("u", [0, 1, 2**255 - 20, 2**255 - 19, 2**256 - 20])
def test_a_key_that_nobody_can_agree_with_is_not_enrolled(u: int) -> None:
    """Its holder would make all others refuse, in each round."""
    one = Identity.fresh("mallory", "client")
    weak = replace(one.member, agreement=u.to_bytes(32, "little"))
    other = Identity.fresh("anna", "client").member
    with pytest.raises(h.errors.ProtocolError, match="nobody can agree with"):
        Roster.signed({"mallory": weak, "anna": other}, 1, SigningKey.fresh())
