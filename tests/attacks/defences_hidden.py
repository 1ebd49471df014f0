"""Defences of hidden sums: what a client refuses, what a server leaves out, and what hides."""

from __future__ import annotations

from tests.attacks.defence import Defence

CLIENT, SERVER = "aggregators/hidden/client.py", "aggregators/hidden/server.py"
CELL, OPENING = "aggregators/hidden/cell.py", "aggregators/hidden/opening.py"
TERMS, MASKED = "aggregators/hidden/terms.py", "aggregators/masked.py"
PROVING = "aggregators/hidden/proving.py"
SEALING = "crypto/sealing.py"
BOOK, PARTY = "parties/book.py", "parties/__init__.py"
NEVER = "if False:"

COHORTS = (
    Defence(
        "a cohort has none that the roster does not name",
        TERMS,
        "if strangers := sorted(set(names) - found.keys()):",
        NEVER,
        only="invented",
    ),
    Defence(
        "a server is no client of a cohort", TERMS, 'if one and one.role == "client"}', "if one}", only="the server"
    ),
    Defence("a cohort has each client once", TERMS, "if list(self.names) != sorted(set(self.names)):", NEVER),
    Defence(
        "a cohort is no smaller than the plan says",
        TERMS,
        "n < FEWEST or self.least > n or 0 < facts.clients < n",
        "0 < facts.clients < n",
    ),
    Defence("a sum is no larger than it has room", TERMS, " or 0 < facts.clients < n:", ":"),
    Defence(
        "a cohort is the one that the plan draws",
        CLIENT,
        "if tuple(names) == at.session.cohort and at.who in names:",
        "if at.who in names:",
    ),
    Defence(
        "a server draws no other cohort by the number of a session",
        "plan/server.py",
        'at.session.drawn.child("sample")',
        'at.common.child("sample")',
        also=(("(cohort, self.size, session.drawn)", "(cohort, self.size, session.common)", "aggregators/grouped.py"),),
    ),
    Defence(
        "who has no keys says nothing",
        CLIENT,
        "if found is None or found.member != self.known.get(found.who):",
        "if found is None:",
    ),
    Defence(
        "a key that nobody can agree with is not enrolled",
        "crypto/identity.py",
        "if not agreeable(member.agreement)]",
        "if False]",
    ),
)

VIEWS = (
    Defence("a client masks against t others that are real", CLIENT, "if many < terms.t:", NEVER),
    Defence(
        "a share is sealed with the value that it opens",
        CLIENT,
        "about = self.terms.binding + public",
        "about = self.terms.binding",
        also=(("        about = terms.binding + view.public(i)\n", "        about = terms.binding\n"),),
    ),
    Defence(
        "a share and its value are of one session",
        CLIENT,
        "about = self.terms.binding + public",
        "about = public",
        also=(("        about = terms.binding + view.public(i)\n", "        about = view.public(i)\n"),),
    ),
    Defence(
        "a changed box holds nothing",
        PROVING,
        "    except ProtocolError:\n        return None\n",
        "    except ProtocolError:\n        data = box[:-16]\n",
    ),
    Defence("its own value is the one that it has said", CLIENT, "if view.public(me.place) != mine.public:", NEVER),
    Defence("those who may collude hold too few shares to learn anything", TERMS, "most = n - t + 1", "most = t - 1"),
    Defence("no two have one value", CLIENT, "if len(values) < prepared.sum():", NEVER),
    Defence(
        "a sum that can have too few is not begun",
        CLIENT,
        "if not prepared[me.place] or prepared.sum() < terms.least:",
        NEVER,
    ),
    Defence("a quorum counts", TERMS, "max(self.t, facts.quorum, facts.noise.least)", "self.t"),
)

SETS = (
    Defence("a set is a part of those who have prepared", CLIENT, "if (inside & ~view.prepared).any():", NEVER),
    Defence("a client opens no sum without itself", CLIENT, "if not inside[me.place]:", NEVER),
    Defence("a small set is not signed", CLIENT, "if count < terms.least:", NEVER),
    Defence(
        "who has said nothing to a client itself does not count",
        CLIENT,
        "int((inside & known).sum())",
        "int(inside.sum())",
    ),
    Defence("a set has each client once", TERMS, " or (found > 1).any():", ":", only="doubled"),
    Defence("t sign before anything is opened", CLIENT, "    if count < terms.t:\n", f"    {NEVER}\n"),
    Defence(
        "a MAC is that of its client, of this set",
        CLIENT,
        "said = [me.channels[terms.names[i]].said(agreed, bytes(macs[i])) for i in others]",
        "said = [True for i in others]",
    ),
    Defence(
        "a MAC is from one of two to the other",
        SEALING,
        "return self._mac(self._to + _last(message))",
        "return self._mac(message)",
        also=(("self._mac(self._from + _last(message)), mac)", "self._mac(message), mac)"),),
    ),
    Defence(
        "only who is in a set signs it",
        CLIENT,
        "[i for i in np.flatnonzero(inside).tolist() if i",
        "[i for i in range(terms.n) if i",
    ),
    Defence(
        "what is signed names those who have prepared, and their values",
        TERMS,
        "seen = as_set(view.prepared), view.publics, as_set(inside)",
        "seen = (as_set(inside),)",
    ),
    Defence("no help opens both secrets of one client", MASKED, "gone = prepared & ~inside", "gone = prepared"),
    Defence(
        "help is for those alone who have prepared",
        MASKED,
        "gone = prepared & ~inside",
        "gone = ~inside",
        also=(("for i, name in me.others if view.prepared[i]]", "for i, name in me.others]", CLIENT),),
    ),
    Defence(
        "masks are of one plan, session and model",
        TERMS,
        "fingerprint((DOMAIN, kind, task, names, keys,",
        "fingerprint((DOMAIN, kind, names, keys,",
    ),
    Defence("masks are of one roster", TERMS, "kind, task, names, keys, t, least))", "kind, task, t, least))"),
    Defence("masks are of one threshold", TERMS, "keys, t, least))", "keys))"),
)

LIARS = (
    Defence(
        "what a client prepares is signed by it",
        CELL,
        "        if not signed:\n",
        f"        {NEVER}\n",
        only="signature|signed|boxes changed",
    ),
    Defence(
        "whose value is another's is left out",
        CELL,
        "if (self.view.publics[self.view.prepared] == value).all(axis=1).any():",
        NEVER,
    ),
    Defence("against whose value nobody can mask is left out", CELL, "if not self.terms.scheme.sound(public):", NEVER),
    Defence(
        "a sum that nobody could open is not asked for",
        CELL,
        "lacking = wanted & (held < self.terms.t)",
        "lacking = wanted & False",
    ),
    Defence(
        "what is opened is what its client has said publicly",
        MASKED,
        "return secret if right else None",
        "return secret",
    ),
    Defence(
        "whose share lies beside the others is left out of an opening",
        OPENING,
        "found = _wrong(cell, places, shares[:, k])",
        "found = set[int]()",
    ),
    Defence("a liar is looked for once", OPENING, "if secret is None and liars:", NEVER),
    Defence(
        "a vector in the sum is signed by its client",
        CELL,
        'return "its vector is not signed by the client that it is said to be of"',
        "pass",
    ),
    Defence(
        "a hidden vector has the form of one",
        CELL,
        "if not self.terms.scheme.fits(v, self.terms):",
        NEVER,
        ends="ValueError|AttributeError|TypeError",
    ),
    Defence(
        "nobody rests because others have vanished",
        CELL,
        "self.failure = self.failure or Failure(why)",
        "self.failure = Failure(why)",
    ),
    Defence(
        "who deals shares of another secret rests for a round",
        SERVER,
        "for who in asked if before.get(who) == LACKING}",
        "for who in asked if not before}",
    ),
    Defence("nobody rests where others have rested", SERVER, "if RESTING in before.values():", "if not channel:"),
    Defence(
        "who signs another set is named",
        CELL,
        "if not verify(self.terms.members[who].signing, agreed, signature):",
        NEVER,
        only="changed",
    ),
    Defence(
        "help has the form of help",
        CELL,
        "if not whole or answer.shape != help_of(self.terms.scheme, self.terms.sharing):",
        NEVER,
        ends="IndexError|TypeError|ValueError|AttributeError|UFuncTypeError|_UFuncNoLoopError",
    ),
    Defence(
        "help is of elements", CELL, "if (answer >= Field64.p).any():", NEVER, ends="ProtocolError", only="above p"
    ),
    Defence(
        "no run ends for what one client makes others refuse",
        "loops/channel.py",
        "if self._turns.get(who) == self.opening + 1 and who in self.excluded:",
        "if who in self.excluded:",
        ends="RoundError",
    ),
)

HIDES = (
    Defence(
        "each vector is masked",
        MASKED,
        "add_masks(v, [(own, 1), *masks], bits)",
        "assert own and masks",
        also=(
            ("        add_masks(total, own, bits)\n", ""),
            ("                add_masks(total, masks, bits)\n", "                assert masks\n"),
        ),
    ),
    Defence(
        "each vector has a mask of its own",
        MASKED,
        "[(own, 1), *masks]",
        "masks",
        also=(("        add_masks(total, own, bits)\n", ""),),
    ),
    Defence(
        "what hides is drawn for each session",
        MASKED,
        "return PrivateKey.fresh().secret + secrets.token_bytes(SECRET)",
        "return PrivateKey.fresh().secret + bytes(SECRET)",
    ),
    Defence(
        "a hidden sum is one in a round", "plan/noise.py", "return noisy or plan.aggregator.identified", "return noisy"
    ),
    Defence("what is drawn stands in the book", BOOK, 'page.drawn = page.drawn or drawn or b""', 'page.drawn = b""'),
    Defence(
        "what is drawn is let go when its session is over",
        BOOK,
        'GONE = "SET reply = NULL, question = NULL, drawn = NULL"',
        'GONE = "SET reply = NULL, question = NULL"',
    ),
    Defence(
        "what a client has drawn does not print",
        CLIENT,
        "    secret: bytes = field(repr=False)\n",
        "    secret: bytes\n",
    ),
)

HIDDEN = (*COHORTS, *VIEWS, *SETS, *LIARS, *HIDES)
