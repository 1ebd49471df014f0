"""Each defence, and how the source reads without it: attacks that are marked with its name must then succeed.

`python -m tests.evidence.remove_defences` takes them away, one at a time; test_defences.py looks that all can be.
"""

from __future__ import annotations

from tests.attacks.defence import Defence
from tests.attacks.defences_approval import APPROVAL
from tests.attacks.defences_arriving import ARRIVED
from tests.attacks.defences_asked import ASKED
from tests.attacks.defences_books import BOOKS
from tests.attacks.defences_bounds import BOUNDS, RECORDS
from tests.attacks.defences_data import DATA
from tests.attacks.defences_encrypted import ENCRYPTION
from tests.attacks.defences_features import FEATURES
from tests.attacks.defences_gossip import GOSSIP
from tests.attacks.defences_hidden import HIDDEN
from tests.attacks.defences_identity import IDENTITY
from tests.attacks.defences_kits import KITS
from tests.attacks.defences_looks import LOOKS
from tests.attacks.defences_masks import MASKS
from tests.attacks.defences_measured import MEASURED
from tests.attacks.defences_nodes import NODES
from tests.attacks.defences_noise import HIDING
from tests.attacks.defences_operating import OPERATING
from tests.attacks.defences_page import PAGE
from tests.attacks.defences_proofs import OF_RUBBISH
from tests.attacks.defences_record import RECORD_OF_A_RUN
from tests.attacks.defences_remembered import REMEMBERED
from tests.attacks.defences_rest import REST
from tests.attacks.defences_sites import SITES
from tests.attacks.defences_stopping import STOPPING
from tests.attacks.defences_tracking import TRACKING
from tests.attacks.defences_training import TRAINING
from tests.attacks.defences_worker import WORKERS

NORMS, PINE, PRIO3, FLP = "crypto/norms.py", "crypto/pine.py", "crypto/prio3.py", "crypto/flp.py"
CIRCUITS, VDAF, FIELD, KEYS = "crypto/circuits.py", "crypto/vdaf.py", "crypto/field.py", "crypto/keys.py"
VERIFIED, SHARE = "aggregators/verified/__init__.py", "aggregators/verified/share.py"
CLAIMS, REPORTS = "aggregators/verified/claims.py", "aggregators/verified/reports.py"
HELPER, SERVER = "aggregators/verified/helper.py", "aggregators/verified/server.py"
RULES, ROBUST = "aggregators/__init__.py", "aggregators/robust.py"
NOISE, DISCRETE, SCALE = "transforms/noise.py", "transforms/discrete.py", "transforms/scale.py"
CORRELATED = "transforms/correlated.py"
BOOK = "parties/book.py"
NEVER = "if False:"

PROOFS = (
    Defence("all are bits", NORMS, "field.total(bits) + s * norm", "s * norm"),
    Defence("v + u = B²", NORMS, "s * norm + ", ""),
    Defence("dots are as claimed", NORMS, "s**2 * field.total(checks) + ", ""),
    Defence("enough checks succeed", NORMS, " + s**3 * count", ""),
    Defence("bits are weighed apart", NORMS, "field.mul(b, field.powers(r, len(b)))", "b"),
    Defence("dots are weighed apart", NORMS, "field.mul(difference, field.powers(t, len(g)))", "difference"),
    Defence("the norm is proven", PINE, "if not proof.decide", "if proof is not self.norm and not proof.decide"),
    Defence("proofs are decided", PINE, "if not proof.decide(verifier):", NEVER),
    Defence("each proof is decided", PRIO3, "for k in range(self.proofs)):", "for k in range(1)):"),
    Defence("the output is zero", FLP, "bool(v == 0) and ", ""),
    Defence(
        "the gadget is right",
        FLP,
        "bool(v == 0) and bool(self.shape.gadget.rows(self.shape.field, f[None, :])[0] == g)",
        "bool(v == 0)",
    ),
    Defence("a query shows no input", FLP, "if pow(t, n, field.p) == 1:", NEVER),
    Defence(
        "side values are bits", CIRCUITS, "[self.field.total(gates), *self.also(x, one)]", "[0, *self.also(x, one)]"
    ),
    Defence("each bit has a weight", CIRCUITS, "field.powers(rₖ, self.chunk + 1)[1:]", "field.powers(1, self.chunk)"),
    Defence("a histogram has one bucket", CIRCUITS, "return [self.field.total(x) - one]", "return [0]"),
    Defence(
        "a multihot counts its ones", CIRCUITS, "[self.field.total(x[: self.length]) - int(n[0])]", "[0 * int(n[0])]"
    ),
    Defence("a tally adds up", CIRCUITS, "return [sum(values) - claimed]", "return [0 * claimed]"),
    Defence("joint randomness is compared", VDAF, "if not hmac.compare_digest(ours, theirs):", NEVER),
    Defence("lengths are compared", VDAF, "if len(data) != size:", NEVER),
    Defence("randomness is fresh", VDAF, "return secrets.token_bytes(size)", "return bytes(size)"),
    Defence("a share is not printed", VDAF, "share: Elements = attribute(repr=False)", "share: Elements"),
    Defence(
        "elements are below the modulus", FIELD, "if not good.all():\n            raise", f"{NEVER}\n            raise"
    ),
    Defence("PINE binds the nonce", PINE, "[bytes([j]), nonce, data]", "[bytes([j]), data]"),
    Defence("PINE binds the context", PINE, r' + b"\0" + self.context', ""),
    Defence("PINE binds the sizes", PINE, "{numbers} {sizes}", "{numbers}"),
    Defence("Prio3 binds the nonce", PRIO3, "[bytes([j]), nonce, self.statement", "[bytes([j]), self.statement"),
    Defence(
        "Prio3 binds the context",
        PRIO3,
        ('usage.to_bytes(2, "big")\n            + self.context'),
        'usage.to_bytes(2, "big")',
    ),
)

AGGREGATORS = (
    Defence("a helper compares the opening", HELPER, "if opening != promised(secret, challenges, cohort):", NEVER),
    Defence("a report is of the cohort", REPORTS, "if who not in cohort:", NEVER),
    Defence("a client has one report", SHARE, "who in self._asked or ", ""),
    Defence("a nonce belongs to one report", SHARE, " or nonce in self._nonces", ""),
    Defence("a sum holds enough clients", HELPER, "if len(share.seen) < least:", NEVER),
    Defence("a helper knows the quorum", HELPER, "max(quorum, terms.least)", "terms.least"),
    Defence("a helper says one sum in a round", "parties/memory.py", " or who in self._helpers", ""),
    Defence(
        "a report is bound to its session",
        REPORTS,
        (
            "bound = (\n"
            '            "hansa VerifiedSum 1",\n'
            "            session.task,\n"
            '            opening["key"],\n'
            '            opening["challenges"],\n'
            '            opening["cohort"],\n'
            "        )"
        ),
        'bound = ("hansa VerifiedSum 1",)',
    ),
    Defence("a report is bound to the model", REPORTS, ("session.task,\n            opening"), "opening"),
    Defence("a report is bound to the key", REPORTS, 'opening["key"],', ""),
    Defence(
        "a report is bound to the challenges",
        REPORTS,
        ('opening["key"],\n            opening["challenges"]'),
        'opening["key"]',
    ),
    Defence("a report is bound to the cohort", REPORTS, (',\n            opening["cohort"],\n        )'), ")"),
    Defence(
        "a report is sealed with its client",
        REPORTS,
        "dumps((self.binding, who, nonce, public, helper",
        "dumps((self.binding, nonce, public, helper",
    ),
    Defence(
        "a public share is signed, and sealed in",
        REPORTS,
        "head.nonce, head.public, head.hashes))",
        "head.nonce, head.hashes))",
        also=(("who, nonce, public, helper, part))", "who, nonce, helper, part))"),),
    ),
    Defence(
        "shares are sealed for the helper",
        KEYS,
        "bytes(_suite().decrypt(box, self._key(), info))",
        "box",
        also=(("bytes(_suite().encrypt(data, X25519PublicKey.from_public_bytes(public), info))", "data"),),
    ),
    Defence("a report is no more than a report", REPORTS, "} if not more:", "}:"),
    Defence(
        "a report is read before it is used",
        REPORTS,
        "right = all(all_of(row, bytes) for row in (leader, *small))",
        "right = True",
        ends="TypeError|ValueError|AttributeError|KeyError|IndexError",
    ),
    Defence(
        "a helper reads a report before it opens it",
        REPORTS,
        "all_of(values, bytes) for values in (public, sealed, hashes)",
        "True for values in ()",
        ends="TypeError|AttributeError|ValueError",
    ),
    Defence(
        "a refusal is of one report",
        SHARE,
        "            except ProtocolError as error:\n                why[who]",
        "            except ZeroDivisionError as error:\n                why[who]",
    ),
    Defence(
        "all aggregators finish",
        SERVER,
        "for who in verdicts if all(who in end for end in ends)]",
        "for who in verdicts]",
    ),
    Defence(
        "sums are over the same clients", SERVER, "and seen == sorted(share.seen):", "and seen:", only="other clients"
    ),
    Defence(
        "a sum is within reach",
        CLAIMS,
        "if ((total >",
        "if False and ((total >",
        ends="OverflowError",
        only="another sum",
    ),
    Defence("a sum does not wrap around", CLAIMS, "if largest >= field.p / 2:", NEVER),
    Defence("a helper adds its noise", HELPER, "share.totals(terms.drawn(at.key, share.seen))", "share.totals({})"),
    Defence("the server adds its noise", SERVER, "share.totals(terms.drawn(at.key, share.seen))", "share.totals({})"),
    Defence(
        "an aggregator's noise covers all blocks",
        VERIFIED,
        "self.noise * bound / shares(spec)[name] ** 0.5",
        "self.noise * bound",
    ),
    Defence("reports are checked in batches", SERVER, "islice(authentic, size)", "authentic"),
)

ROUNDS = (
    Defence(
        "a lone attacker ends no run",
        "loops/synchronous.py",
        "if len(cohort) >= plan.sample.quorum and",
        "if",
        ends="RoundError",
    ),
    Defence(
        "helpers are no clients",
        "loops/synchronous.py",
        "channel.mistakes(cohort)",
        "channel.excluded",
        ends="RoundError",
    ),
    Defence(
        "a sum is of vectors of the plan",
        "spec.py",
        " or reply.shape != (self.size,):",
        ":",
        ends="ValueError",
        only=r"array\(\[1",
    ),
    Defence(
        "a round has its quorum", "plan/server.py", "few = len(set(participants)) < plan.sample.quorum", "few = False"
    ),
    Defence(
        "a small sample does not show", "plan/server.py", "told = few and not plan.encoded_spec.hidden", "told = few"
    ),
    Defence("a quorum shows the sample", "plan/layout.py", "shown = plan.sample.quorum > 1 or ", "shown = "),
    Defence("digests are compared", "parties/__init__.py", "if request.plan != self.plan.digest:", NEVER),
    Defence(
        "a client reads what it is told",
        "parties/__init__.py",
        "if known and 0 <= request.round < self.plan.rounds:",
        "if True:",
        ends="",
    ),
    Defence(
        "a policy is checked",
        "parties/policy.py",
        "                for bad, found, allowed in beyond\n",
        "                for bad, found, allowed in ()\n",
    ),
    Defence("a client trains once in a round", BOOK, "if once and request.round <= latest:", NEVER),
    Defence("another question has no answer", BOOK, "if entry is not None and entry.digest != digest:", NEVER),
    Defence("a settled session is over", BOOK, "if request.session < page.session or page.settled:", NEVER),
    Defence(
        "the same question has the same answer",
        "parties/memory.py",
        "if entry.kept:",
        NEVER,
        also=(("if entry.kept:\n            return self.recall", "if False:\n            return self.recall", BOOK),),
    ),
    Defence(
        "replies are deleted when settled", BOOK, "UPDATE asked {GONE}, settled = 1", "UPDATE asked SET settled = 1"
    ),
    Defence("a settled session is let go", BOOK, "self._open.pop(session, ())", "self._open.get(session, ())"),
    Defence(
        "a run begins with nothing remembered",
        "parties/memory.py",
        "            self._run = message.run\n            self._states = {}\n",
        "            self._run = message.run\n",
    ),
    Defence("what has not counted is forgotten", BOOK, "if here and who in counts:", "if here:"),
    Defence(
        "data that have changed answer nothing",
        "parties/client.py",
        "if given.data and given.data != _said_of(self, given.state):",
        NEVER,
    ),
    Defence(
        "a file keeps what was said",
        BOOK,
        "if self.lasts:\n            self._write",
        "if False:\n            self._write",
    ),
    Defence(
        "the server counts who is in the sum", "loops/channel.py", "if who not in counted]", "if who in self.excluded]"
    ),
    Defence(
        "nothing is unpickled",
        "codec.py",
        "    entries = dict(json.loads(head[8:]))\n",
        '    entries = dict(__import__("pickle").loads(data))\n',
    ),
    Defence("a message is not too deep", "codec.py", "if depth > DEPTH:", NEVER),
    Defence("a message is not too long", "codec.py", "if found > size:", NEVER),
    Defence("every array is named", "codec.py", "if left:\n", "if False:\n"),
    Defence("a head is as hansa writes it", "codec.py", " or head != _head(text, layout):", ":"),
    Defence(
        "files have their fingerprint", "store/files.py", "if hashlib.sha256(data).hexdigest() == sha256:", "if True:"
    ),
    Defence(
        "a run is locked",
        "store/files.py",
        "    except (BlockingIOError, PermissionError):\n        file.close()\n        return None\n",
        "    except (BlockingIOError, PermissionError):\n        return file\n",
    ),
)

PRIVACY = (
    Defence(
        "the server draws Gaussian noise",
        NOISE,
        '        if self.by != "server":\n            return total\n',
        "        if True:\n            return total\n",
    ),
    Defence("clients draw real noise", NOISE, "return v + self._beside(v, at)", "return v"),
    Defence("clients draw whole numbers", DISCRETE, "added = self._added(v, at)", "added = v.copy()"),
    Defence("NaN is hidden", NOISE, "        v = hideable(v)\n", ""),
    Defence("NaN is hidden by correlated noise", CORRELATED, "return hideable(v)", "return v"),
    Defence(
        "the update is clipped",
        SCALE,
        "np.minimum(1.0, most / np.maximum(norm(part), TINY))",
        "np.ones((*part.shape[:-1], 1))",
    ),
    Defence("an adaptive clip cuts", SCALE, "v / np.maximum(at.memo, length), v)", "v / at.memo, v)"),
    Defence(
        "a weight is capped",
        "transforms/weigh.py",
        "w = np.minimum(np.maximum(w, span.low), span.high)",
        "w = w[..., None]",
    ),
    Defence("side values are cut", SCALE, "*= scales[name]\n        _cut(v, self.side, spec)", "*= scales[name]"),
    Defence(
        "a share of the noise is told",
        "explain/warnings.py",
        "if clear and encoded.noise.clients and not encoded.noise.alone:",
        NEVER,
    ),
    Defence("too few hands leave no ε", NOISE, 'if self.by == "all" and n < self.least:', NEVER),
    Defence("lost history is noticed", "app/epsilon.py", "if state is not None and state.round > len(past):", NEVER),
    Defence("another past is noticed", "app/epsilon.py", "if past and understates(ledger, past[-1].spent):", NEVER),
    Defence(
        "correlated noise is not stretched",
        "cli/started.py",
        "if plan.encoded_spec.noise.lasting and rounds != planned:",
        NEVER,
    ),
    Defence(
        "an audit refutes",
        "audit/canary.py",
        "self.promise.epsilon is not None and self.epsilon > self.promise.epsilon",
        "False",
    ),
    Defence(
        "a refuted plan fails the command",
        "cli/__init__.py",
        "raise typer.Exit(int(found.broken))",
        "raise typer.Exit(0)",
    ),
)

LIARS = (
    Defence(
        "Median",
        ROBUST,
        '        """median over clients [d]."""\n        return _coordinates(V, _middle)',
        "        return V.mean(axis=0)",
        only=r"\bMedian\b",
    ),
    Defence("TrimmedMean", ROBUST, "S[:, k : len(V) - k].mean(axis=1)", "S.mean(axis=1)", only="TrimmedMean"),
    Defence(
        "GeometricMedian",
        ROBUST,
        "        v = _coordinates(V, _middle)\n",
        "        return V.mean(axis=0)\n",
        only="GeometricMedian",
    ),
    Defence("Krum", ROBUST, "np.asarray(V[_ranks(_distances(V), self.f)[0]])", "V.mean(axis=0)", only=r"\bKrum\b"),
    Defence(
        "MultiKrum",
        ROBUST,
        "chosen = _ranks(_distances(V), self.f)[: self.m]",
        "chosen = range(len(V))",
        only="MultiKrum",
    ),
    Defence(
        "Bulyan", ROBUST, "        theta = len(V) - 2 * self.f\n", "        return V.mean(axis=0)\n", only="Bulyan"
    ),
    Defence("CentredClipping", ROBUST, "np.minimum(1.0, self.radius / np.maximum(_away(V, v), TINY))", "np.ones(n)"),
    Defence(
        "NaN is left out",
        RULES,
        '(v, "") if np.isfinite(v).all() else (none, "its vector holds NaN or infinity")',
        '(v, "")',
        only="NaN|infinity",
    ),
    Defence(
        "a vector that cannot be decoded is left out",
        RULES,
        "    except RoundError:  # whose",
        "    except ZeroDivisionError:  # whose",
    ),
    Defence(
        "who is left out may be honest",
        ROBUST,
        "return replace(self, f=min(self.f, (n - 1) // 4))",
        "return replace(self, f=max(0, self.f - answered + n))",
        only="Bulyan",
    ),
    Defence("a rule goes on with who is left", RULES, "rest = self.without(", "rest = RobustRule.without(self, "),
    Defence(
        "a rule judges statistics apart",
        RULES,
        "if not carried.any():\n            return",
        "if True:\n            return",
    ),
    Defence("a rule needs its numbers", RULES, "if why := rule.shortfall(n):", NEVER),
)

DIGESTS = (
    Defence("every number of an array counts", "digest.py", "else array.tobytes()", "else str(array)"),
    Defence(
        "code counts", "digest.py", 'return _hash("class", kind.__qualname__, *held)', "return _hash(kind.__qualname__)"
    ),
    Defence(
        "what cannot be told apart is refused",
        "digest.py",
        'raise _told(kind, "it cannot be pickled, so nobody knows all that it holds") from None',
        'return _hash("object", self.of(kind))',
    ),
    Defence(
        "what a layer does not print counts",
        "models/torch/checks.py",
        "return code(layer), values, hooks",
        "return code(layer)",
        only="a number|a tensor|a hook|heads|what comes first",
    ),
    Defence("any other object counts by its state", "digest.py", "*held, self.of(ordered))", "repr(value))"),
    Defence("what is inherited speaks for no argument of one's own", "digest.py", 'if "__init__" in vars(one):', NEVER),
    Defence("a name alone is no code", "known.py", "return found is piece", "return found is not None"),
)

EVERY = (
    STOPPING,
    ARRIVED,
    DIGESTS,
    PROOFS,
    AGGREGATORS,
    ROUNDS,
    PRIVACY,
    LIARS,
    IDENTITY,
    KITS,
    OPERATING,
    WORKERS,
    APPROVAL,
    BOUNDS,
    RECORDS,
    HIDING,
    ASKED,
    BOOKS,
    REMEMBERED,
    FEATURES,
    MEASURED,
    TRAINING,
    REST,
    DATA,
    MASKS,
    GOSSIP,
    NODES,
    HIDDEN,
    OF_RUBBISH,
    ENCRYPTION,
    RECORD_OF_A_RUN,
    SITES,
    TRACKING,
    LOOKS,
    PAGE,
)
DEFENCES = {one.name: one for part in EVERY for one in part}
