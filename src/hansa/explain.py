"""A plan in words, for whoever must decide whether to take part: what leaves a client, and who gets
to see what.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from difflib import ndiff
from itertools import pairwise

import numpy as np

from .aggregators import Aggregator, RobustRule, Sum
from .aggregators.trees import Ensemble
from .known import own
from .models import parts
from .plan import Plan
from .privacy import examples, planned_privacy, unstated
from .privacy.ledger import NAMED, Guarantee, Ledger, default_delta
from .sample import Sample
from .spec import Spec
from .transforms.noise import shares

Row = tuple[str, ...]

BLOCKS = {  # what the blocks of hansa's own algorithms and transforms mean
    "delta": "the update: how far local training moved each number of the model",
    "statistics": "how far running statistics moved, the means and variances of normalisation "
    "layers",
    "control": "SCAFFOLD's control variate: how the client's own gradient differs from the others'",
    "trees": "the trees that it has grown: splits and leaves",
    "share": "how much its trees count among those of the round; the server writes it, and a "
    "client says 1",
    "tau": "how much local training the update stands for",
    "loss": "mean loss while it trained",
    "weight": "how much the client counts: 1, or with Weigh('examples') how many examples it has",
    "under": "one bit: was the update shorter than the clip?",
}


BEFORE = "What is asked before the first round"
HIDDEN = (  # who is in a secret sample
    (
        "server",
        "who took part in a round, by name",
        "none: ε counts on the sample being a secret, and not from it",
    ),
    ("each client", "whether it was asked itself", "that clients do not tell each other"),
    (
        "who reads history, report or terminal",
        "neither who took part nor how many",
        "that the server keeps it secret",
    ),
)
SIZES = (100, 1_000, 10_000)  # of clients, whose examples ε is told for


@dataclass(frozen=True)
class Section:
    """A part of an explanation: a sentence or two, and a table."""

    title: str
    text: str
    head: Row = ()
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """What a plan means, as text and tables that a terminal and a page show alike."""

    sections: tuple[Section, ...]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        """All of it as plain text."""
        lines = []
        for section in self.sections:
            lines += [section.title, "=" * len(section.title), section.text]
            lines += [
                "  " + " | ".join(row)
                for row in ((section.head,) if section.head else ()) + section.rows
            ]
            lines.append("")
        return "\n".join(
            [*lines, "Warnings", "========", *(f"- {warning}" for warning in self.warnings)]
        )


def explain(
    plan: Plan,
    population: int | None = None,
    delta: float | None = None,
    first: Plan | None = None,
    named: bool = False,
) -> Explanation:
    """What `plan` asks of a client, in words; ε is told for that many clients, at δ.

    first: a survey that is asked before, whose ε counts. named: does noise grow from a secret that
    a simulation names?
    """
    delta = delta or default_delta(population or 1)
    told = (
        _learnt(plan),
        _said(plan, first),
        _pipe(plan),
        _sees(plan),
        _privacy(plan, population, delta, first),
    )
    return Explanation(
        (*told, *_examples(plan, first), _rounds(plan)), tuple(_warnings(plan, named))
    )


def _learnt(plan: Plan) -> Section:
    model = plan.model
    training = plan.training
    if not plan.spec.update:
        text = (
            # P1
            "No model is trained. Each client computes sums and counts over its examples, which "
            "never leave it, and "
            "says what the next table lists; the answers are their sums over all clients."
        )
        rows: list[Row] = [("question", one) for one in asked(plan)]
        if most := getattr(model, "most", None):
            rows.append(("of each client", f"{most} records at most"))
        return Section("What is learnt", text, ("", ""), tuple(rows))
    carried = model.size - model.trainable
    also = (
        f", of which {_many(carried)} are running statistics that are averaged and not trained"
        if carried
        else ""
    )
    variances = int(np.isfinite(model.domain).sum())
    # P111
    also += f" ({_many(variances)} of them are variances, and kept ≥ 0)" if variances else ""
    also = " more by each client of each round" if model.grows else also
    amount = (
        f"{training.steps} batches"
        if training.steps
        else _count(training.epochs, "pass", "passes") + " over its examples"
    )
    batch = f"batches of {training.batch}" if training.batch else "all examples at once"
    named = f"{training.optimizer}, learning rate {training.learning_rate:g}"
    optimizer = (
        "the optimizer that the model is compiled with"
        if training.optimizer == "compiled"
        else named
    )
    kept = (
        f"{training.validation:.0%} of its examples, to score the global model on"
        if training.validation
        else "nothing"
    )
    rows = [
        (
            "model",
            f"{type(getattr(model, 'model', model)).__name__}, {_many(model.size)} numbers{also}",
        ),
        ("algorithm", f"{plan.algorithm!r}"),
        ("local training", f"{amount} a round, {batch}, {optimizer}"),
        ("kept from training", kept),
        *parts.rows(model, training),
    ]
    text = (
        # P1
        "One model is trained over all clients. A client's examples never leave it: it gets the "
        "model, trains it on "
        "them, and says what the next table lists."
    )
    return Section("What is learnt", text, ("", ""), tuple(rows))


def _said(plan: Plan, first: Plan | None) -> Section:
    spec = plan.spec
    encoded = plan.encoded_spec
    blocks = {
        **spec.blocks,
        **{name: n for name, n in encoded.blocks.items() if name not in spec.blocks},
    }
    rows = tuple(
        (name, _many(n), _meaning(name), _bound(encoded, name)) for name, n in blocks.items()
    )
    form = (
        f"integers of {encoded.sum_facts.modulus} bits"
        if encoded.space == "integer"
        else "real numbers"
    )
    if plan.aggregator.parties:
        # P10
        form = "split into shares, each of which alone is random numbers"
    text = (
        # P2
        f"In a round a client sends one vector of {_many(encoded.size)} numbers, and nothing else; "
        "on the wire they "
        f"are {form}. The last column bounds what one client can change in the sum, after all "
        "steps of the next table."
    )
    if encoded.learns:
        but = ", but for the statistics" if encoded.statistics else ""
        text += f" The update is said as a multiple of the norm that AdaptiveClip has learnt{but}."
    if first is not None:
        text += f" Before the first round it has said more: see “{BEFORE}”."
    return Section("What a client sends", text, ("part", "numbers", "what it is", "at most"), rows)


def _pipe(plan: Plan) -> Section:
    specs = pairwise(plan.pipeline.specs)
    rows = tuple(
        (str(i), repr(transform), transform.explain(before), _facts(before, after))
        for i, (transform, (before, after)) in enumerate(zip(plan.pipe, specs, strict=True), 1)
    )
    text = "On the client, in this order; on the sum the server undoes them in reverse."
    return Section(
        "What is done to it", text, ("", "step", "what it does", "known afterwards"), rows
    )


def _sees(plan: Plan) -> Section:
    text = f"The aggregator is {plan.aggregator!r}."
    if not own(plan.aggregator):
        text += " It is not hansa's own: the table is what it says of itself."
    rows = (
        (*plan.aggregator.visibility(), *HIDDEN)
        if plan.encoded_spec.hidden
        else tuple(plan.aggregator.visibility())
    )
    return Section("Who sees what", text, ("who", "sees", "what this rests on"), rows)


def _privacy(plan: Plan, population: int | None, delta: float, first: Plan | None) -> Section:
    alone = planned_privacy(plan, population)
    before = Ledger() if first is None else planned_privacy(first, population)
    promise = before.merge(alone).guarantee(delta)
    if promise.epsilon is None:
        whose = "of the survey before the rounds, " if before.why and not alone.why else ""
        # P29
        text = f"There is no ε for a client: {whose}{promise.why}."
        return Section("Differential privacy", text, ("", ""), ())
    noise = plan.sum_spec.noise
    odds = math.exp(promise.epsilon)
    text = (
        # P26
        f"What the models of all rounds{' and the survey before them' if first else ''} tell of "
        "one client, whether it "
        "took part or what it holds, is bounded: any "
        f"conclusion about it is at most e^ε = {odds:.3g} times as likely as "
        f"{promise.neighbours.split(' or ')[-1]}, "
        f"but for a chance of δ = {promise.delta:.2g}."
    )
    who = {
        "server": "the server",
        "all": f"all clients together, {noise.least} at least",
        "each": "each client",
        # P24
        "aggregators": "each aggregator, in full; one that keeps its draws to itself is enough",
    }
    span = "in all rounds together" if noise.kind == "correlated" else "a round"
    rows = (
        (f"after {_count(plan.rounds, 'round', 'rounds')}", _epsilon(alone.guarantee(delta))),
        *([("with the survey before them", _epsilon(promise))] if first else []),
        ("unit of privacy", f"one {promise.unit}, and all it says in all rounds"),
        ("what is compared", f"the federation {promise.neighbours}"),
        ("noise", f"multiplier {noise.multiplier:g} {span}, drawn by {who[noise.by]}"),
    )
    return Section("Differential privacy", text, ("", ""), rows)


def _examples(plan: Plan, first: Plan | None) -> Iterator[Section]:
    if private := plan.training.private:
        text = (
            # P36
            f"Each example's gradient is clipped to norm {private.clip:g}, and each local step "
            "draws noise of "
            f"multiplier {private.noise:g}. So what a client says hides each of its examples, from "
            "the server too; it "
            "does not hide the client. Compared are its data with the example, or with nothing in "
            "its place: how many "
            "examples it has is no secret."
        )
        if first is not None:
            # P142
            text += (
                " This does not count the survey before the first round, which has no ε for an "
                "example."
            )
        rows = []
        for n in SIZES:
            promise = examples(plan, n).guarantee(default_delta(n))
            batch, steps = plan.training.schedule(n)
            epsilon = (
                f"at δ = {promise.delta:.2g}: ε = {promise.epsilon:.4g}"
                if promise.epsilon
                else promise.why
            )
            rows.append(
                (
                    f"{_many(n)} examples",
                    f"{steps} steps a round, on {batch} examples on average",
                    epsilon,
                )
            )
        head = (
            "a client of",
            "trains",
            f"for each example, after {_count(plan.rounds, 'round', 'rounds')}",
        )
        yield Section("Differential privacy of an example", text, head, tuple(rows))


def _rounds(plan: Plan) -> Section:
    sample = plan.sample
    reported = ", ".join(f"{name} ({_meaning(name)})" for name in plan.reported) or "nothing"
    # P50
    deadline = (
        "none"
        if math.isinf(sample.deadline)
        else f"{sample.deadline:g} seconds; who is later is left out"
    )
    rows = (
        ("rounds", f"{plan.rounds}"),
        ("who is asked", _asked(sample)),
        # P50
        (
            "who must answer",
            f"{_count(sample.quorum, 'client', 'clients')}; with fewer the model stays as it was",
        ),
        ("deadline", deadline),
        ("reported beside the update", reported),
        (
            "seed",
            f"{plan.seed}: first weights, shuffles and all else that is public; no noise grows "
            "from it",
        ),
    )
    # P3
    text = (
        f"The plan's fingerprint is {plan.digest}; server and clients compare it, and a client "
        "refuses another plan."
    )
    return Section("Rounds", text, ("", ""), rows)


def _epsilon(promise: Guarantee) -> str:
    if promise.epsilon is None:
        return f"no ε: {promise.why}"
    return f"ε = {promise.epsilon:.4g} at δ = {promise.delta:.2g}"


def asked(survey: Plan) -> list[str]:
    """The questions of a survey, each as name: question; the algorithm of a plan that asks none."""
    questions = getattr(survey.model, "questions", {"": survey.algorithm})
    return [f"{name}: {one!r}" if name else repr(one) for name, one in questions.items()]


def _warnings(plan: Plan, named: bool) -> Iterator[str]:
    encoded = plan.sum_spec
    aggregator = plan.aggregator
    if named and plan.hides:
        # P85
        yield f"ε holds {NAMED}."
    clear = isinstance(aggregator, Sum | RobustRule | Ensemble)
    yield from _in_the_clear(aggregator, bool(plan.training.private))
    yield from _noise(plan, clear)
    yield from _unbounded(plan, set(encoded.unbounded))
    yield from _moved(plan)
    yield from parts.warnings(plan.model, plan.training)
    if plan.reported and clear and not encoded.noise.multiplier:
        # P6
        yield (
            f"Clients report {_list(list(plan.reported))} beside the update; "
            "Training(report=False) stops that."
        )
    if plan.sample.quorum == 1:
        # P9
        yield (
            "A round may end with one client in it, and then the sum is that client's update; set "
            "a higher quorum."
        )


def _noise(plan: Plan, clear: bool) -> Iterator[str]:
    encoded = plan.sum_spec
    real = bool(encoded.noise.multiplier) and encoded.noise.kind in (
        "gaussian",
        "laplace",
        "correlated",
    )
    if not encoded.noise.multiplier and plan.training.private:
        # P36
        yield (
            "Single examples are hidden; what is common to a client's examples, and so says much "
            "of it, is not."
        )
    elif not encoded.noise.multiplier:
        # P9
        yield (
            "No noise is added, so there is no differential privacy: the model itself may tell of "
            "single examples."
        )
    elif why := unstated(plan):
        # P84
        yield (
            f"{why[0].upper()}{why[1:]}: there is no ε, and policies and budgets that ask for one "
            "refuse this plan."
        )
    elif encoded.hidden:
        yield (
            # P80
            "ε rests on a sample that stays secret: the server sees who took part, and history, "
            "report and terminal do "
            "not tell. No round is void and no error names a client: look at each one's data "
            "before, by hansa check."
        )
    elif (encoded.noise.by, encoded.noise.kind) == ("server", "gaussian") and plan.sample.by in (
        "uniform",
        "poisson",
    ):
        yield (
            # P32
            "A round that misses its quorum shows that few came, so the sample is no secret, and ε "
            "takes it as known; "
            f"{plan.sample.by.capitalize()}(…) without a quorum keeps it secret, and ε smaller."
        )
    if real or plan.training.private:
        # P9
        yield (
            "The noise is drawn as real numbers; one who sees every bit of a float may see through "
            "it (Mironov 2012)."
        )
    if encoded.noise.multiplier and encoded.noise.by == "server":
        # P9
        yield (
            "The server draws the noise and sees the sum without it: this protects from others, "
            "not from the server."
        )
    if clear and encoded.noise.by == "all":
        # P9
        yield (
            "A client adds a share of the noise, which hides the sum; the server sees each vector, "
            "and hardly hidden."
        )
    if encoded.noise.multiplier and "weight" in encoded.side:
        share = shares(encoded)["weight"]
        drowned = encoded.noise.multiplier / (
            share if encoded.noise.kind == "laplace" else math.sqrt(share)
        )
        yield (
            # P35
            f"The sum of the weights has noise too, as much as {drowned:.3g} clients weigh that "
            "weigh most: with few "
            "clients there is no good mean. Weigh('one') has no weight to hide."
        )


def _in_the_clear(aggregator: Aggregator, private: bool) -> Iterator[str]:
    if isinstance(aggregator, Sum):
        # P9
        yield "The server can see every client's update, by name" + (
            "." if private else ", and an update can reveal training examples."
        )
    if isinstance(aggregator, Ensemble):
        yield (
            # P8
            "Trees are no sum of vectors, so no secret sum can hide them: the server sees each "
            "client's trees by name. "
            "A threshold is a value of its data or lies next to one; a leaf tells of the few "
            "examples that reach it."
        )
    if isinstance(aggregator, RobustRule):
        # P9
        yield (
            "A robust rule looks at each update by itself, so the server sees every one of them, "
            "by name."
        )


def _unbounded(plan: Plan, loose: set[str]) -> Iterator[str]:
    if update := [name for name in plan.encoded_spec.update if name in loose]:
        cause = " (a client may count for any number of examples)" if "weight" in loose else ""
        # P9
        yield (
            f"Nothing bounds {_list(update)}{cause}: a single client could move the model as far "
            "as it likes."
        )
    if told := [name for name in plan.reported if name in loose]:
        # P9
        yield (
            f"Nothing bounds {_list(told)}: "
            "a single client could make what is reported meaningless."
        )


def _moved(plan: Plan) -> Iterator[str]:
    """How far one client can move the mean of what is proven, beside as few others as a round may
    end with.
    """
    encoded = plan.encoded_spec
    others = max(plan.sample.quorum, plan.aggregator.min_clients) - 1
    if not all(map(own, plan.pipe)):
        return  # what another transform makes of a sum is not known
    weights = [1.0]
    where = ""
    apart = ""
    if "weight" in encoded.blocks:
        weights = [encoded.low("weight"), encoded.bounds.get("weight", math.inf)]
        where = " where they weigh {:.4g} each"
        apart = ": its update and its weight are proven, but not that they belong together"
    told = [
        _list([f"{name} by {far:.3g}" for name, far in moved.items()]) + where.format(weight)
        for weight in weights
        if (moved := plan.aggregator.moved(encoded, others * weight))
    ]
    but = "; the statistics as they are" if encoded.statistics else ""
    unit = f" (times the norm that AdaptiveClip has learnt{but})" if encoded.learns else ""
    if told:
        yield (
            # P83
            "A client that lies within its bounds stays in the sum. Beside "
            f"{_count(others, 'other', 'others')} it "
            f"moves the mean of {', and '.join(told)}, at most{unit}{apart}."
        )


def expression(plan: Plan) -> str:
    """The expression that builds the plan, one argument in a line."""
    lines = []
    for f in fields(plan):
        value = getattr(plan, f.name)
        held = "".join(f"        {step!r},\n" for step in value) if isinstance(value, tuple) else ""
        lines.append(f"    {f.name}=(\n{held}    ),\n" if held else f"    {f.name}={value!r},\n")
    return f"Plan(\n{''.join(lines)})"


def difference(old: str, new: str) -> str:
    """What differs between two expressions, in a sentence."""
    lines = [line for line in ndiff(old.splitlines(), new.splitlines()) if line[:2] in ("- ", "+ ")]
    before, after = (
        [line[2:].strip().rstrip(",") for line in lines if line[0] == sign] for sign in "-+"
    )
    had = ", ".join(before) or "nothing"
    has = ", ".join(after) or "nothing"
    return f"It had {had} where the file has {has}."


# ── in words ──────────────────────────────────────────────────────────────────────────────────────


def _asked(sample: Sample) -> str:
    if sample.by == "uniform":
        return f"{int(sample.size)} clients, drawn anew each round, each set equally likely"
    if sample.by == "turns":
        return (
            "one client, each in its turn"
            if sample.size == 1
            else f"{int(sample.size)} clients, each in its turn"
        )
    if sample.by == "poisson":
        return f"each client with probability {sample.size:g}, independently of the others"
    return "every client, in every round"


def _meaning(name: str) -> str:
    if name.startswith("val_"):
        return f"{name[4:]} of the global model on the examples kept from training"
    return BLOCKS.get(name, "")


def _bound(spec: Spec, name: str) -> str:
    bound = spec.bounds.get(name, math.inf)
    if not math.isfinite(bound):
        return f"no bound above {spec.lows[name]:.4g}" if name in spec.lows else "no bound"
    if spec.blocks[name] > 1:
        return f"norm\u00a0≤\u00a0{bound:.4g}"
    return (
        f"{spec.lows[name]:.4g}\u00a0…\u00a0{bound:.4g}"
        if name in spec.lows
        else f"±\u00a0{bound:.4g}"
    )


def _facts(before: Spec, after: Spec) -> str:
    new = [
        f"{name} {_bound(after, name)}"
        for name in after.blocks
        if name not in before.blocks or _bound(after, name) != _bound(before, name)
    ]
    new += ["a mean can be taken"] * (after.weighed and not before.weighed)
    new += [f"noise multiplier {after.noise.multiplier:g}"] * (
        after.noise.multiplier != before.noise.multiplier
    )
    new += [f"integers of {after.sum_facts.modulus} bits"] * (after.space != before.space)
    new += ["spread evenly"] * (after.rotated != before.rotated)
    return "; ".join(new) or "nothing new"


def _many(n: int) -> str:
    return f"{n:,}".replace(",", " ")


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
