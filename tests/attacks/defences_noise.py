"""Defences of what hides: where noise comes from, who was sampled, what stands beside ε, and who has stated it."""

from __future__ import annotations

from tests.attacks.defence import Defence

NEVER = "if False:"
RAND, KNOWN, PLAN, CLIENT, LOOPS = (
    "rand.py",
    "known.py",
    "plan/__init__.py",
    "parties/client.py",
    "loops/synchronous.py",
)
APP, PRIVACY, SPENT, EXPLAIN = "app/__init__.py", "privacy/planned.py", "privacy/spent.py", "explain/warnings.py"
ACCOUNTING, CURVES = "privacy/ledger.py", "transforms/curves.py"
SIGHT, REVEALS, POLICY = "explain/sight.py", "aggregators/reveals.py", "parties/policy.py"
NOISE, CORRELATED = "transforms/noise.py", "transforms/correlated.py"
SCALE, TRANSFORMS, RULES = "transforms/scale.py", "transforms/__init__.py", "aggregators/__init__.py"
ROWS, RUNS, FILES, TERMINAL, REPORT = (
    "store/rows.py",
    "store/run.py",
    "store/files.py",
    "ui/terminal.py",
    "ui/report.py",
)
SHOWN, LIVE, PLOTS, COMMANDS = "ui/__init__.py", "ui/live.py", "ui/figures.py", "cli/__init__.py"
CHECKS, PRIVATE = "app/checks.py", "private.py"

STRANGE = (
    Defence(
        "who is not hansa's own gets no party's secret",
        "transforms/__init__.py",
        "self.repeats, drawn=self.drawn, task=self.task)",
        "self.repeats, self.own, self.drawn, self.task)",
    ),
    Defence(
        "no noise follows from the key of an algorithm",
        "plan/client.py",
        'if plan.training.private:\n        key = at.key.child("training")',
        "if True:\n        key = at.key",
        also=(("at.within(at.session.outside(), key, at.spec)", "at.within(at.session, key, at.spec)"),),
    ),
    Defence(
        "noise of training is bound to what is remembered", "parties/client.py", '.child("memory", remembered)', ""
    ),
    Defence(
        "what was drawn stays drawn", "parties/memory.py", "again=self.named or not binds(self.plan)", "again=True"
    ),
    Defence(
        "a secret that others can read is refused",
        PRIVATE,
        'if os.name == "posix" and (about.st_uid != os.geteuid() or about.st_mode & 0o077):',
        "if False:",
    ),
)

SECRETS = (
    Defence(
        "the server has a secret of its own",
        LOOPS,
        "secret = secret or Key.fresh()\n    check_roster",
        "secret = secret or Key.of(plan.seed)\n    check_roster",
    ),
    Defence(
        "a client has a secret of its own",
        "parties/__init__.py",
        "secret: Key = field(default_factory=Key.fresh,",
        "secret: Key = field(default_factory=lambda: Key.of(0),",
    ),
    Defence(
        "clients of a population have a secret",
        "parties/population.py",
        "self.secret = secret or Key.fresh()",
        "self.secret = secret or Key.of(plan.seed)",
    ),
    Defence(
        "a helper has a secret of its own",
        "runtimes/inprocess.py",
        "secret=secret or Key.fresh())",
        "secret=secret or Key.of(0))",
    ),
    Defence(
        "an app has a secret of its own",
        "app/first.py",
        "    if run is None:\n        return Key.fresh()\n",
        "    if run is None:\n        return Key.of(0)\n",
    ),
    Defence(
        "what hides grows from the secret",
        PLAN,
        "key = own.child(round, session.number, ",
        "key = public.child(*party, ",
    ),
    Defence(
        "a transform draws from the secret",
        TRANSFORMS,
        'key = at.key.child("pipe", i)',
        'key = at.session.repeats.child("pipe", i)',
    ),
    Defence(
        "a secret sample grows from the secret", "plan/server.py", "    if plan.hides:\n        key = at.key\n", ""
    ),
    Defence(
        "noise is bound to what it hides",
        RAND,
        'return self.child("beside", hashlib.sha256(np.ascontiguousarray(v).data).hexdigest())',
        "return self",
    ),
    Defence("what hides is bound to the model", PLAN, ', "task", task.hex())', ")"),
    Defence(
        "noisy training is bound to its data", CLIENT, 'client.secret.child("data", client.data_hash)', "client.secret"
    ),
    Defence(
        "an aggregator's noise is bound to who is in the sum",
        "aggregators/verified/terms.py",
        'key = key.child("noise", company.hex())',
        'key = key.child("noise")',
    ),
    Defence("correlated noise knows whose it is", CORRELATED, "if at.memo and at.memo[0][1] != _owner(at):", NEVER),
    Defence("a run goes on with its secret", "app/first.py", "    return run.secret()\n", "    return Key.fresh()\n"),
    Defence("a run's secret is drawn", FILES, "secrets.token_bytes(LENGTH)", "bytes(LENGTH)"),
    Defence(
        "a run's secret is for its owner alone",
        PRIVATE,
        "0o600",
        "0o644",
        also=(('if os.name == "posix" and (about.st_uid != os.geteuid() or about.st_mode & 0o077):', NEVER),),
    ),
    Defence("a run's secret ends with it", RUNS, 'if status == "done":', NEVER),
    Defence("a secret is not printed", RAND, "secret: bytes = field(repr=False)", "secret: bytes"),
    Defence("a secret is whole", FILES, "if len(drawn) != LENGTH:", NEVER),
    Defence(
        "a half-written secret is none",
        PRIVATE,
        "        part.unlink(missing_ok=True)\n        with",
        "        with",
        ends="StoreError",
    ),
    Defence("a secret is a key", "app/federation.py", "not isinstance(app.secret, Key | None)", "False"),
    Defence(
        "rounds tell of a named secret",
        "loops/synchronous.py",
        "named = runtime.named or not secret.hides",
        "named = False",
    ),
    Defence(
        "one client's named secret is told",
        "parties/population.py",
        "return not all(client.secret.hides for client in self.values())",
        "return False",
    ),
    Defence(
        "a population's named secret is told", "parties/population.py", "return not self.secret.hides", "return False"
    ),
    Defence(
        "a helper's named secret is told",
        "runtimes/inprocess.py",
        "self.clients.named or (secret is not None and not secret.hides)",
        "self.clients.named",
    ),
    Defence("a ledger tells of a named secret", SPENT, "if happened.named:", NEVER),
    Defence("a guarantee tells of a named secret", ACCOUNTING, "    if named:\n", "    if False:\n"),
    Defence("an explanation tells of a named secret", EXPLAIN, "if named and plan.hides:", NEVER),
    Defence("ε is shown with a named secret", SHOWN, "if found and one.named:", "if False:"),
    Defence(
        "an explanation knows of a named secret",
        APP,
        "delta_of(self), named, mixing)",
        "delta_of(self), False, mixing)",
    ),
    Defence("a history tells of a named secret", ROWS, '"named": state.named', '"named": False'),
)

SAMPLES = (
    Defence(
        "nobody in a secret sample ends the run",
        "loops/synchronous.py",
        "plan.sample.quorum and not plan.encoded_spec.hidden:",
        "plan.sample.quorum:",
        ends="RoundError",
    ),
    Defence("a sum over nobody steps", RULES, "mean = decode(nothing, 0) if encoded.hidden else None", "mean = None"),
    Defence("a mean is over those expected", TRANSFORMS, "if encoded.hidden:", NEVER, ends="ZeroDivisionError"),
    Defence(
        "an algorithm steps for those expected",
        "plan/server.py",
        "replace(counted(at, plan.encoded_spec, at.n), session",
        "replace(at, session",
    ),
    Defence(
        "a round knows that its sample is secret",
        "plan/server.py",
        '"hidden": plan.encoded_spec.hidden',
        '"hidden": False',
    ),
    Defence(
        "a checkpoint names no one in a secret sample",
        ROWS,
        "return replace(state, participants=(), excluded={})",
        "return state",
    ),
    Defence("a history knows that its sample is secret", ROWS, "hidden=row.participants is None", "hidden=False"),
    Defence("no one in a secret sample is shown", SHOWN, "if one.hidden:", NEVER),
    Defence("a line of a round shows no secret sample", TERMINAL, '"" if last.hidden else f"took', 'f"took'),
    Defence("the live view shows no secret sample", TERMINAL, "if last.hidden:", NEVER),
    Defence("no secret sample is drawn", PLOTS, "if rounds and not any(one.hidden for one in rounds):", "if rounds:"),
    Defence(
        "a report says that its sample is secret",
        REPORT,
        'hidden=HIDDEN if any(one.hidden for one in report_data.rounds) else ""',
        'hidden=""',
    ),
    Defence("rounds of a secret sample count for all", SPENT, " or (happened.hidden and not happened.asked)", ""),
    Defence(
        "rounds without names count as known ones",
        SPENT,
        'if planned.relation != "all" or happened.hidden:',
        'if planned.relation != "all":',
    ),
    Defence("who sees a secret sample is told", SIGHT, "HIDDEN if plan.encoded_spec.hidden else ()", "()"),
)

OUTSIDE = (
    Defence(
        "no client of a plan that hides is trained alone",
        LIVE,
        "<= MOST_ALONE and not app.known_plan.hides",
        "<= MOST_ALONE",
    ),
    Defence("a comparison knows that it is outside ε", APP, "x), plan.hides, passes)", "x), False, passes)"),
    Defence(
        "noise in training hides",
        PLAN,
        "self.sum_spec.noise.multiplier or self.training.private",
        "self.sum_spec.noise.multiplier",
    ),
    Defence(
        "noise on the sum hides",
        PLAN,
        "self.sum_spec.noise.multiplier or self.training.private",
        "self.training.private",
    ),
    Defence(
        "a comparison on the terminal says outside ε", TERMINAL, 'if rows[0].outside else "")', 'if False else "")'
    ),
    Defence("a comparison in a report says outside ε", REPORT, " outside=OUTSIDE if", " outside=OUTSIDE if False and"),
    Defence(
        "a summary holds nothing outside ε",
        REPORT,
        "if report_data.rows and not report_data.rows[0].outside:",
        "if report_data.rows:",
    ),
    Defence(
        "a check says outside ε", COMMANDS, "if problems and isinstance(app.plan, Plan) and app.plan.hides:", NEVER
    ),
    Defence("a profile says outside ε", LIVE, 'if plan.hides else ""', 'if False else ""'),
    Defence("an audit says outside ε", "audit/report.py", "no part of the run. {OUTSIDE}", "no part of the run."),
    Defence(
        "noise on the sum hides how many examples",
        "app/epsilon.py",
        "if not plan.training.private or plan.sum_spec.noise.multiplier:",
        "if not plan.training.private:",
    ),
    Defence("a noised report is cut", "algorithms/reports.py", "_cut(found, reported) if noisy else found", "found"),
)

STRANGERS = (
    Defence(
        "hansa's own is the class itself",
        KNOWN,
        "return getattr(home, kind.__qualname__, None) is kind",
        "return hasattr(home, kind.__qualname__)",
        only="says-it-is-ours|verified-sum-of-a-stranger",
    ),
    Defence(
        "unknown noise has no ε",
        PRIVACY,
        "strange = next((piece for piece in pieces if not own(piece)), None)",
        "strange = None",
    ),
    Defence(
        "a stranger's plan has no ε",
        PRIVACY,
        "yield from (plan, plan.aggregator)",
        "yield from (plan.aggregator,)",
        only="a-plan-of-a-stranger",
    ),
    Defence(
        "a stranger's sample amplifies nothing", "plan/layout.py", "if own(plan.sample):", "if True:", only="rounds"
    ),
    Defence(
        "a stranger's sample keeps nobody apart",
        PRIVACY,
        "if population and own(plan.sample) else 1",
        "if population else 1",
        only="one release|one-release",
    ),
    Defence(
        "a stranger's draw names clients, each once",
        "sample.py",
        "    if own(sample):\n        return list(drawn)\n",
        "    if True:\n        return list(drawn)\n",
        ends="KeyError|AssertionError|ZeroDivisionError|TypeError",
    ),
    Defence(
        "a stranger's aggregator has no ε",
        PRIVACY,
        "yield from (plan, plan.aggregator)",
        "yield from (plan,)",
        only="a-sum-of-a-stranger",
    ),
    Defence(
        "what stands behind the clip is hansa's own",
        PRIVACY,
        "yield from (step for step in plan.pipe[last:] if step is not stated)",
        "yield from plan.pipe[last:last]",
        only="behind|undone|-",
    ),
    Defence(
        "what stands before the clip states no bounds",
        PRIVACY,
        ("(\n            step.plan(before) != before or before.sum_facts.rounds != plan.rounds\n        )"),
        "before.sum_facts.rounds != plan.rounds",
        only="before-the-clip",
    ),
    Defence(
        "what stands before the clip states no rounds",
        PRIVACY,
        ("(\n            step.plan(before) != before or before.sum_facts.rounds != plan.rounds\n        )"),
        "step.plan(before) != before",
        only="shorter",
    ),
    Defence(
        "noise of no kind has no ε",
        PRIVACY,
        "    if stated is None:\n        return",
        '    if stated is None:\n        return ""\n        return',
        ends="AssertionError",
        only="without-a-draw",
    ),
    Defence(
        "nobody inherits a statement of hansa's",
        CURVES,
        "if stated is object or ours(stated):",
        "if stated is object:",
        also=(("    if not same:\n        return None\n", ""),),
    ),
    Defence("noise of a stranger goes by its own name", NOISE, "if not own(noise):", "if False:"),
    Defence("who states is who draws", CURVES, "    if not same:\n        return None\n", ""),
    Defence(
        "a statement that is no curve has no ε",
        PRIVACY,
        'why = "" if own(noise) else fault(stated)',
        'why = ""',
        ends=".*",
    ),
    Defence(
        "a policy believes no stranger's statement",
        "parties/policy.py",
        "promise is not None and bool(promise.stated) and not self.stated",
        "False",
    ),
    Defence(
        "a policy of noise believes no stranger's statement",
        "parties/policy.py",
        "if (author := privacy.stated_by(plan)) and not self.stated:",
        NEVER,
    ),
    Defence("a ledger says whose word ε is", PRIVACY, ", stated=stated_by(plan)", ""),
    Defence("a policy takes no stranger's noise", POLICY, "why = self._unbelieved(plan)", 'why = ""'),
    Defence(
        "a budget needs an ε",
        CHECKS,
        "missing = ledger.why or strange(loop)",
        'missing = ""',
        also=(("bool(before.why),", "False,"),),
    ),
    Defence(
        "a loop with a budget needs an ε",
        SPENT,
        "if why := ledger.why or planned_privacy(plan, population).guarantee(budget.delta).why:",
        NEVER,
        ends="StopIteration",
        only="only-declared",
    ),
    Defence(
        "a clip keeps the bound that it states",
        SCALE,
        "_scale(v[..., spec.slice(name)], self._most(spec, name))",
        "_scale(v[..., spec.slice(name)], self.norm)",
    ),
    Defence(
        "a policy believes no stranger",
        POLICY,
        'if found.by == "nobody" or (found.by == "stranger" and not self.stated):',
        NEVER,
    ),
    Defence("a policy compares what is seen", POLICY, "if beyond := found.beyond(self.sees, self.colluding):", NEVER),
    Defence("who may collude is counted", REVEALS, "if not found and colluding > self.colluding", "if not found and 0"),
    Defence(
        "a changed conversation has no statement",
        REVEALS,
        "return not any(inherited & _names(one)",
        "return not any(()",
    ),
    Defence("a changed sum is added by itself", RULES, "return unchanged(self, Sum)", "return True"),
    Defence("a stranger's aggregator is told", SIGHT, "{WORDS[revealed(plan.aggregator).by]}", ""),
    Defence(
        "what nobody has stated is all seen",
        SIGHT,
        'if found.by == "nobody":',
        NEVER,
        also=(('if found.by == "nobody":', NEVER, EXPLAIN),),
    ),
    Defence(
        "who reads no examples gets none",
        TRANSFORMS,
        "data = at.data if self.transforms[i].reads else None",
        "data = at.data",
    ),
    Defence(
        "a stranger that reads examples leaves them no ε",
        PRIVACY,
        "        *(step for step in plan.pipe if step.reads),\n",
        "",
    ),
    Defence("a stranger's training has no ε", PRIVACY, 'if why := unstated(plan, "example"):', NEVER),
    Defence(
        "a stranger's model hides no example",
        PRIVACY,
        ("plan.algorithm,\n        plan.model,\n        plan.training,\n        *filter"),
        "plan.algorithm, plan.training, *filter",
        only="model",
    ),
    Defence(
        "a stranger's algorithm hides no example",
        PRIVACY,
        ("(\n        plan,\n        plan.algorithm,\n        plan.model,\n        plan.training,\n        *filter"),
        "(plan, plan.model, plan.training, *filter",
        only="algorithm",
    ),
    Defence(
        "a stranger's noise hides no example",
        PRIVACY,
        ",\n        *filter(None, [plan.training.private]),\n",
        ",\n",
        only="noise",
    ),
    Defence(
        "a stranger's batches hide no example",
        PRIVACY,
        ("plan.model,\n        plan.training,\n        *filter"),
        "plan.model, *filter",
        only="batches",
    ),
    Defence("a stranger's loop has no ε", CHECKS, "if own(inner):", "if True:"),
)

HIDING = (*SECRETS, *SAMPLES, *OUTSIDE, *STRANGERS, *STRANGE)
