"""Defences of what is proven of a vector, and of what leaves a client."""

from __future__ import annotations

from tests.attacks.defence import Defence

NORMS, CLAIMS = "crypto/norms.py", "aggregators/verified/claims.py"
VERIFIED, SHARE = "aggregators/verified/__init__.py", "aggregators/verified/share.py"
RULES, SCALE, COMPRESS, SPEC = "aggregators/__init__.py", "transforms/scale.py", "transforms/compress.py", "spec.py"
PLAN, EXPLAIN, CLIENT, ERRORS, LOOPS = (
    "plan/__init__.py",
    "explain/warnings.py",
    "parties/client.py",
    "errors.py",
    "loops/channel.py",
)
POPULATION = "parties/population.py"
MODELS, DATA, INVERSE = "models/values.py", "data/items.py", "audit/inversion.py"
WORKER, PARTIES, BOOK = "runtimes/processes/worker.py", "parties/__init__.py", "parties/book.py"
COMMANDS, OPTIONS, LIVE, TERMINAL = "cli/__init__.py", "cli/options.py", "ui/live.py", "ui/terminal.py"
WEIGH = "transforms/weigh.py"
NEVER = "if False:"
A_KIND = 'if self.why not in ("", *KINDS):'

BOUNDS = (
    # ── running statistics ──
    Defence(
        "statistics stay in their domain",
        "plan/server.py",
        "statistics = np.maximum(x[trained:] + mean.pop(STATISTICS), plan.model.domain)",
        "statistics = x[trained:] + mean.pop(STATISTICS)",
    ),
    Defence(
        "statistics have a norm of their own",
        SCALE,
        "cap = self.statistics if name in spec.statistics else self.norm",
        "cap = self.norm",
    ),
    Defence("statistics are proven within their own norm", CLAIMS, "if name in spec.statistics:", NEVER),
    # ── vectors that have wrapped around ──
    Defence("the range of a check is small", NORMS, "if w.proven and passes(self.field, self.range) > 0.5:", NEVER),
    Defence(
        "how often a false vector passes is bounded",
        NORMS,
        "return max(0.5, math.pi**2 / 8 * (1 + math.sqrt(field.p / math.pi)) / n) if n else 1.0",
        "return 0.5 if n else 1.0",
    ),
    Defence("a plan has no more steps than are proven", CLAIMS, "if most >= B:", "if True:"),
    # ── two ends of a side value ──
    Defence(
        "a side value has a low end",
        CLAIMS,
        "low, high = _ends(spec, name, steps[name])",
        "high = _ends(spec, name, steps[name])[1]\n        low = -high",
    ),
    Defence(
        "a side value has a high end",
        CLAIMS,
        "widths.setdefault((high - low, spec.blocks[name]), {})",
        "widths.setdefault((4 * high - low, spec.blocks[name]), {})",
    ),
    Defence("a weight is 1 at least", WEIGH, 'weighed.with_side("weight", span)', 'weighed.with_side("weight", high)'),
    Defence(
        "a weighed value keeps its low end",
        WEIGH,
        "weighed = spec.replace(bounds=bounds, lows=lows, weighed=True)",
        "weighed = spec.replace(bounds=bounds, lows={}, weighed=True)",
    ),
    Defence(
        "a rounded block keeps its norm",
        COMPRESS,
        "        if not square <= most**2:  # also where it is NaN\n",
        "        if False:\n",
    ),
    Defence(
        "a rounded value keeps its low end",
        COMPRESS,
        "            lows=lows,\n",
        "            lows={},\n",
        only="integer",
    ),
    Defence("a clip leaves a value its range", SCALE, "if above := [", "if above := [] and ["),
    Defence(
        "an interval has two ends", SPEC, "if not (-self.high <= self.low < self.high) or math.isinf(self.low):", NEVER
    ),
    Defence(
        "a loss may be negative", "algorithms/reports.py", 'ends(model.metrics.get("loss", math.inf))[0] >= 0', "True"
    ),
    Defence(
        "noise is sized for the farther end",
        VERIFIED,
        "bound = max(claim.most(i), spec.bounds[name] / unit)",
        "bound = claim.bound",
    ),
    # ── what an attacker makes of a mean ──
    Defence(
        "a weight alone is within its bounds",
        WEIGH,
        "if at.n == 1 and not encoded.noise.multiplier and not within:",
        NEVER,
    ),
    Defence(
        "an attacker may say the least weight",
        VERIFIED,
        "far = max(f * (1 + w / most) / (others + f * w) for w in weights)",
        "far = f * 2 / (others + f * most)",
    ),
    Defence(
        "a clip moves by its rate at most",
        SCALE,
        "share = min(1.0, max(0.0, float(total[-1]) + 0.5))",
        "share = float(total[-1]) + 0.5",
    ),
    Defence("how far an attacker moves the mean is told", EXPLAIN, "    yield from _moved(plan)\n", ""),
    Defence(
        "of what is not hansa's no number is told",
        EXPLAIN,
        "if not all(map(own, (*plan.pipe, plan.aggregator))):",
        NEVER,
    ),
    Defence("a plain sum tells that it checks nothing", RULES, "moves it as far as it likes", "moves it hardly"),
    # ── what a sum tells ──
    Defence(
        "who sees a sum rests on who is in it",
        VERIFIED,
        'who took part, and whose proof does not hold",\n                one + more,',
        'who took part, and whose proof does not hold",\n                one,',
    ),
    Defence(
        "the other clients see the mean",
        VERIFIED,
        '"the new model after each round, and by its change the mean of all updates"',
        '"the new model after each round"',
    ),
    Defence(
        "two clients see each other",
        VERIFIED,
        '; of two clients, each learns the "\n                "other\'s update',
        "",
    ),
)

RECORDS = (
    # ── reasons ──
    Defence(
        "words stay where they are said",
        "parties/__init__.py",
        "        return error.kind",
        "        return str(error)  # type: ignore[return-value]",
        also=((A_KIND, NEVER, "messages.py"),),
    ),
    Defence("a reply gives a kind", "messages.py", A_KIND, NEVER),
    Defence("bad data is a kind of its own", ERRORS, '    kind = "data"\n', ""),
    Defence("who started anew is no attacker", ERRORS, '    kind = "restarted"\n', ""),
    Defence(
        "a helper's words are not repeated",
        SHARE,
        "    if reply in SAID:\n        return reply\n",
        "    return reply\n",
    ),
    Defence(
        "reasons command no terminal", LOOPS, "self._leave_out([who], printable(why))", "self._leave_out([who], why)"
    ),
    Defence(
        "notes command no terminal", "loops/synchronous.py", "skipped = printable(str(error))", "skipped = str(error)"
    ),
    Defence(
        "what is stored commands no terminal",
        "ui/__init__.py",
        "excluded = {printable(who): printable(why) for who, why in one.excluded.items()}",
        "excluded = dict(one.excluded)",
    ),
    Defence(
        "a note that is stored commands no terminal",
        "ui/__init__.py",
        "skipped = printable(one.skipped)",
        "skipped = one.skipped",
    ),
    Defence(
        "escapes are written out", ERRORS, 'c.isprintable() or c in "\\n\\t\\u00a0"', 'True or c in "\\n\\t\\u00a0"'
    ),
    Defence(
        "a client's name is one line",
        POPULATION,
        (
            "if odd := [\n"
            "            client.who\n"
            "            for client in ordered\n"
            "            if not client.who.strip() or not client.who.isprintable()\n"
            "        ]:"
        ),
        "if odd := []:",
    ),
    Defence(
        "an app's client has a name of one line",
        "app/checks.py",
        "odd = [name for name in names if not name.strip() or not name.isprintable()]",
        "odd = list[str]()",
    ),
    Defence(
        "a helper's name is one line",
        VERIFIED,
        "isinstance(name, str) and name.strip() and name.isprintable() for",
        "isinstance(name, str) for",
    ),
    Defence(
        "no name is markup", TERMINAL, "Plain(highlight=False, markup=False, width", "Plain(highlight=False, width"
    ),
    Defence("no name is part of a page", "ui/__init__.py", "autoescape=True", "autoescape=False"),
    # ── what prints ──
    Defence(
        "an app does not print its data",
        "app/__init__.py",
        'clients = f"{len(self.data)} clients"',
        'clients = f"{len(self.data)} clients {self.data}"',
    ),
    Defence(
        "a client does not print its data",
        CLIENT,
        "{self.who}: {there}>",
        "{self.who}: {there or self.data}>",
        also=(("there = at_a_glance([self.data])", "there = str(self.data)"),),
    ),
    Defence(
        "a client of a stranger does not print its data",
        CLIENT,
        "data: Any = field(repr=False)  # nor in that of a subclass",
        "data: Any",
    ),
    Defence(
        "a request does not print the model", "messages.py", "broadcast: Any = field(repr=False)", "broadcast: Any"
    ),
    Defence(
        "a request does not print what is said",
        "messages.py",
        "bodies: Mapping[str, Any] = field(repr=False)",
        "bodies: Mapping[str, Any]",
    ),
    Defence("a reply does not print what is said", "messages.py", "body: Any = field(repr=False)\n", "body: Any\n"),
    Defence("a part does not print its dataset", DATA, "dataset: Any = field(repr=False)", "dataset: Any"),
    Defence(
        "a stream does not print what it reads",
        "data/streams.py",
        "    data: Any = field(repr=False)\n    share",
        "    data: Any\n    share",
    ),
    Defence("a result does not print its vector", MODELS, "x: Vector = field(repr=False)", "x: Vector"),
    Defence("a job does not print its data", MODELS, 'return "<Train>"', 'return f"<Job {self.x} {self.data}>"'),
    Defence(
        "a task does not print what clients remember",
        WORKER,
        "given: Mapping[str, Given] = field(repr=False)",
        "given: Mapping[str, Given]",
        also=(),
    ),
    Defence(
        "what a party is given does not print",
        PARTIES,
        "state: ClientState = field(default_factory=dict, repr=False)",
        "state: ClientState = field(default_factory=dict)",
    ),
    Defence("what a party says does not print", PARTIES, "reply: Any = field(repr=False)", "reply: Any"),
    Defence(
        "what a party has learnt does not print",
        PARTIES,
        "learnt: ClientState | None = field(default=None, repr=False)",
        "learnt: ClientState | None = None",
    ),
    Defence(
        "a book does not print what was said", BOOK, "reply: Any = field(default=None, repr=False)", "reply: Any = None"
    ),
    Defence(
        "an inversion does not print its record",
        INVERSE,
        "who: str\n    record: Vector = field(repr=False)",
        "who: str\n    record: Vector",
    ),
    Defence(
        "a view does not print its record",
        INVERSE,
        "name: str\n    record: Vector = field(repr=False)",
        "name: str\n    record: Vector",
    ),
    Defence(
        "a repr reads no data",
        "data/examples.py",
        "if not arrays or not all(type(one) is np.ndarray and one.ndim for one in arrays):",
        NEVER,
        ends="TypeError|AttributeError",
    ),
    Defence(
        "an error prints no plan in the wrong place",
        "app/first.py",
        "App(plan=…) with a {type(plan).__name__}",
        "App(plan=…) with {plan!r}",
    ),
    Defence(
        "an error prints no data in the wrong place",
        POPULATION,
        "data=…) with a {type(data).__name__}",
        "data=…) with {data!r}",
    ),
    Defence(
        "a traceback prints no local variables",
        OPTIONS,
        "pretty_exceptions_enable=False",
        "pretty_exceptions_enable=True",
    ),
)
