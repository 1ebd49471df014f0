"""Defences of a run's record, and of what is said for it once."""

from __future__ import annotations

from tests.attacks.defence import Defence

RECORD, CELL = "record.py", "aggregators/hidden/record.py"

RECORD_OF_A_RUN = (
    Defence(
        "a cell of a record is one whose members hide each other",
        CELL,
        "if names != sorted(set(names)) or len(names) < FEWEST:",
        "if False:",
        only="alone|many_of_one",
    ),
    Defence(
        "a client of a record is in one cell", RECORD, "if len(set(names)) < len(names):", "if False:", only="two_cells"
    ),
    Defence(
        "a cell of a record names its members alone",
        CELL,
        'if entry["members"].keys() != named or not set(entry["wrong"]) <= named:',
        "if False:",
        only="other_names|more_members",
    ),
    Defence(
        "as many sign as the plan of a record says",
        CELL,
        'if t != needed(_threshold(entry["kind"]), len(signers)):',
        "if False:",
        only="lower_threshold",
    ),
    Defence(
        "the model of a record moves by a sum",
        RECORD,
        'if entry["before"] != entry["after"] and not _opened(entry):',
        "if False:",
        only="no_sum",
    ),
    Defence(
        "a round of a record has one sum",
        RECORD,
        'if found and sums.setdefault(entry["round"], found) != found:',
        "if False:",
        only="twice",
    ),
    Defence(
        "a vector of a record is signed by its client",
        CELL,
        "if not verify(members[names[i]].signing, said, bytes(vectors[i, DIGEST:])):",
        "if False:",
    ),
    Defence(
        "a sum of a record is that of its ciphertexts",
        CELL,
        'if hashlib.sha256(total.data).hexdigest() != entry["sum"]:',
        "if False:",
        only="other_sum",
    ),
    Defence(
        "a file of ciphertexts is what was signed",
        "store/kept.py",
        "if hashlib.sha256(data).hexdigest() != sha256:",
        "if False:",
    ),
    Defence("a record is of the plan of its run", RECORD, "if said != (plan or said):", "if False:"),
    Defence(
        "a hidden vector is not added up on its way",
        "parties/memory.py",
        "if request.fold and self.plan.aggregator.identified:",
        "if False:",
    ),
    Defence("a policy counts those of a cell", "parties/policy.py", "if 0 < added < among:", "if False:"),
)
