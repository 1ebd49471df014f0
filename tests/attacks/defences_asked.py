"""Defences of what a client is asked, and when: its data after its owner's policy, and a survey before the rounds."""

from __future__ import annotations

from tests.attacks.defence import Defence

CLIENT, POLICY, ASK = "parties/client.py", "parties/policy.py", "analytics/__init__.py"
APP, CHECKS, FIRST, EXPLAIN = "app/__init__.py", "app/checks.py", "app/first.py", "explain/privacy.py"
COMMANDS, LIVE = "cli/__init__.py", "ui/live.py"
NEVER = "if False:"

ASKED = (
    # ── surveys that are asked by hand ──
    Defence(
        "an owner who has said nothing is not asked",
        ASK,
        "    allowed = policies or {}\n",
        "    allowed = {str(who): Policy() for who in data}\n",
    ),
    Defence("an owner decides on a survey", ASK, "        allowed[who].check(plan, str(who))\n", "        pass\n"),
    Defence("nobody is asked while an app file is read", ASK, "if _silent.get():", NEVER),
    # ── the survey of an app ──
    Defence("an owner decides on the survey of an app", CHECKS, "        policy.check(first, who)\n", "        pass\n"),
    Defence(
        "a survey is explained",
        FIRST,
        "return replace(told, sections=(section(first, population, delta), *told.sections))",
        "return told",
    ),
    Defence(
        "an explanation knows of the survey",
        APP,
        "explained(self.plan, self.first, self.population, delta_of(self), named, mixing)",
        "explained(self.plan, None, self.population, delta_of(self), named, mixing)",
    ),
    Defence("a survey is checked", COMMANDS, "    if app.first is not None:\n", "    if False:\n"),
    Defence(
        "a resumed run keeps what was found",
        APP,
        "            run.keep_survey(self.first.digest, state)",
        "            pass",
    ),
    Defence("a run goes on with its own survey", FIRST, "if begun and digest != mine:", NEVER),
    Defence(
        "the rounds' ε counts the survey",
        "app/epsilon.py",
        "ledger = self.before.merge(spent_privacy(plan, past, clients))",
        "ledger = spent_privacy(plan, past, clients)",
    ),
    Defence(
        "a budget counts the survey",
        "privacy/spent.py",
        "ledger = before.merge(spent_privacy(plan, past, population))",
        "ledger = spent_privacy(plan, past, population)",
    ),
    Defence(
        "a policy counts the survey",
        POLICY,
        "first.merge(self._ledger(plan, examples))",
        "self._ledger(plan, examples)",
    ),
    Defence(
        "an explained ε counts the survey",
        EXPLAIN,
        "promise = before.merge(alone).guarantee(delta)",
        "promise = alone.guarantee(delta)",
    ),
    # ── what an algorithm asks ──
    Defence("what is asked has the plan's noise", "asks.py", "if asked != training.private:", NEVER),
    Defence(
        "who asks for gradients says so when the plan is built",
        "algorithms/__init__.py",
        "    if training.private:\n",
        "    if False:\n",
    ),
    # ── sources ──
    Defence(
        "a policy comes before the data",
        CLIENT,
        "        self.allow.check(self.plan, self.who, before=self.before)\n",
        "        pass\n",
    ),
    Defence(
        "a reader's words stay where they are said",
        CLIENT,
        "raise _unreadable(who, error) from error\n\n\ndef _unreadable",
        "raise\n\n\ndef _unreadable",
        ends=".",
    ),
    Defence(
        "a source is read once",
        "data/sites.py",
        "    @cached_property\n    def data(self)",
        "    @property\n    def data(self)",
    ),
)
