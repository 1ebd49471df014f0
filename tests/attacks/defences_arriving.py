"""Defences of cells of those who are ready: what a client refuses of a server that chooses who is in them."""

from __future__ import annotations

from tests.attacks.defence import Defence

ARRIVING, ARRIVALS = "aggregators/arriving.py", "aggregators/arrivals.py"
CLIENT, TERMS, BOOK = "aggregators/hidden/client.py", "aggregators/hidden/terms.py", "parties/book.py"
NEVER = "if False:"
TOLD = "self.plan, self.run, self.round, list(self.names), asked, rounds, models"

ARRIVED = (
    Defence(
        "a client is in no cell that says it was asked something else",
        ARRIVING,
        "if who not in arrivals.names or arrivals.task_of(who) != at.session.task:",
        "if who not in arrivals.names:",
    ),
    Defence(
        "how stale an update is its client knows by itself",
        ARRIVING,
        "contribute.encode(arrivals.round - at.round)",
        "contribute.encode(arrivals.round - min(arrivals.rounds()))",
    ),
    Defence("all of a cell are told the same of each other", ARRIVALS, TOLD, "self.plan, self.run, list(self.names)"),
    Defence("a round has one model in a cell", ARRIVALS, TOLD, TOLD.removesuffix(", models")),
    Defence(
        "what is sealed for a cell opens in no other",
        ARRIVING,
        "session = replace(at.session, task=arrivals.task)",
        'session = replace(at.session, task=b"")',
    ),
    Defence("a cell is as large as the plan says", ARRIVING, "elif len(arrivals.names) != one.size:", f"el{NEVER}"),
    Defence(
        "no model of a cell is older than the plan says",
        ARRIVING,
        "elif arrivals.round - min(rounds) > one.stale:",
        f"el{NEVER}",
    ),
    Defence(
        "a cell is for a round of the plan",
        ARRIVING,
        "elif not arrivals.round < at.spec.sum_facts.rounds:",
        f"el{NEVER}",
    ),
    Defence(
        "a cell comes after its models",
        ARRIVALS,
        "elif not 0 <= min(rounds) <= max(rounds) <= self.round:",
        f"el{NEVER}",
    ),
    Defence("as many as the plan says have trained one model", ARRIVING, "elif alike < one.alike:", f"el{NEVER}"),
    Defence("a cell opens no fewer than the plan says", CLIENT, "if count < terms.least:", NEVER),
    Defence(
        "what is signed of a set holds how old each model is", ARRIVALS, TOLD, "self.plan, self.run, list(self.names)"
    ),
    Defence(
        "a record has an update in one cell",
        "record.py",
        'if asked.setdefault((told["run"], epoch, number), entry["round"]) != entry["round"]:',
        NEVER,
    ),
    Defence(
        "a record has one model of each round",
        "record.py",
        'if asked.setdefault((told["run"], round), model) != model:',
        NEVER,
    ),
    Defence(
        "a line of a record is of the cell that it names",
        "record.py",
        "if arrivals.round != number or cells != [list(arrivals.names)]:",
        NEVER,
    ),
    Defence("an update is in one cell", BOOK, "if entry is not None and entry.digest != digest:", NEVER),
    Defence(
        "a client trains one model once, however many sessions it is asked in",
        "plan/noise.py",
        "return noisy or plan.aggregator.identified",
        "return noisy",
    ),
)
