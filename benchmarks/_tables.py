"""docs/measured.md, written from the results of the benchmarks: `python benchmarks/_tables.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "measured.md"

HEART = """## FLamby's Fed-Heart-Disease

`benchmarks/heart.py`: the protocol of du Terrail et al. (2022), seeds 42–46, beside the accuracies that the project
has published; mean ± standard deviation over the seeds, on the test patients of all centres together. Last column:
how many of the five means (four centres, and all together) lie within two published standard deviations.
"""
CYCLIC = """
In FLamby's code each centre of Cyclic holds a deep copy of the model, nothing carries the weights from one centre to
the next, and what is scored is the copy of centre 0. Run like that, its numbers come out ("no transfer"). With the
weights really handed on, the last centres of the cycle decide, and the numbers are others ("Cyclic").
"""
SURVIVAL = """## Survival, by FLamby's protocol

`benchmarks/survival.py`: the protocol of Fed-TCGA-BRCA (du Terrail et al. 2022: Cox loss, linear model, FedAvg) on
synthetic patients, whose survival follows Weibull's distribution: FLamby's sizes of centres, but the last, which has 30
patients in all. The c-index of each centre on patients kept apart, beside a plain PyTorch loop; means over {seeds}
seeds.
"""
MNIST = """## Rounds of McMahan et al. (2017) on MNIST

`benchmarks/mnist_rounds.py`: 100 clients, C = 0.1, B = 10; rounds to 97 % (2NN) and 99 % (CNN) test accuracy, on the
monotone curve, interpolated. One seed; the paper tunes the learning rate in each cell. For the CNN with E = 5 the paper
prints 20 and 229 in Table 2, and 18 and 206 for the same cells in Table 1.
"""
OVERHEAD = """## The framework's own share of a round

`benchmarks/overhead.py`: the time outside `model.train` over the whole round; 1,000 clients of 100 examples, softmax
regression with 7,850 numbers, batches of 10, cohort 100, in one process and on one thread. Medians of 200 rounds.
"""
SERVER_MEMORY = """## What a server holds

`benchmarks/server_memory.py`: the most that a server holds in a round of a model of 10⁷ numbers, in vectors of as many
float64 (the model, and the sum until it has become the next model), and what a commit adds. Replies are mapped files.
"""

BACKENDS = """## Beside each library's own loop

`benchmarks/backends.py`: a round on the 2NN (5 clients of 600 examples) and the CNN (2 of 200) of McMahan et al.,
batches of 10, beside that library's own loop on the same examples: a plain loop with torch.optim.SGD, a jitted scan
(for the CNN a jitted step) in JAX, `model.fit` in Keras. A round is all that it takes: reading, training, weighing, the
exact sum, the server's step. Processor seconds on one core, medians of nine turns. The last two columns count compiled
programs: of rounds with one shape of batch, and after two more clients whose last batches have 3 and 7 examples.

The mark is 1.3. JAX's own loop on the 2NN is so short (0.13 ms a step) that the few milliseconds which each client's
199,210 numbers take to be packed, weighed and summed reach it.
"""
ACCOUNTANTS = """## The same ε by other accountants

`benchmarks/accountants.py`: 50 schedules of Gaussian noise z on Poisson samples of rate q, δ = 10⁻⁶; hansa's ledger
beside dp-accounting 0.6 called directly, Opacus 1.6 and pfl 0.6. First the largest differences over all schedules, then
some of the schedules; the others are in `benchmarks/results/accountants.json`. The RDP bounds depend on the orders that
are tried: Opacus tries fractions between 1 and 11 and nothing above 63, so its bound is a little lower in most places,
and much higher where ε is small. Its PRV accountant tells the upper end of an error of 0.01, pfl's the middle of one of
0.07.
"""
NOISE = """## Noise and few bits

`benchmarks/noise.py`: what one client pays for a step of the pipe on d numbers: processor time on one core, the best of
seven. Skellam numbers are looked up in a table up to σ = 1000; the first draw of a σ makes it.
"""
NOISE_COST = """
`benchmarks/noise_cost.py`: the share of a whole round that goes into noise, of all who draw it. {clients} clients train
a network of {d:,} numbers on 100 examples each, which takes a client some 30 ms; seconds of the processor, on one core.
Skellam noise has a standard deviation above 1000 steps here, for which there is no table. × *named*: over the same
noise where a simulation names the secret, and Philox takes the place of AES-128.
"""
STREAMS = """
Draws of 10⁶ numbers alone, of a secret (AES-128) and of a seed (Philox); milliseconds of the processor, medians of
turns. *Bound to a vector*: with the hash of the vector that noise is added to.
"""
DP_MNIST = """## Accuracy under noise

`benchmarks/dp_mnist.py`: MNIST over 1,000 clients of 60 digits each, at random; the 2NN of McMahan et al. (2017); ε for
each client at δ = 1/N^1.1 = 0.0005. 100 rounds of a Poisson sample of a tenth, one epoch in batches of 10, clip
0.8; pfl {pfl} on the same schedule. Each trains with the multiplier z that its own accountant of privacy loss
distributions (PLD) finds; that of Rényi divergences (RDP) is told beside it. Clip and learning rate were chosen at
ε = 4 by the test accuracy of hansa; without noise the clip stays. Seeds: {seeds}.
"""
VERIFIED = """## Sums of proven vectors

`benchmarks/verified.py`: one report of d numbers, on one core, all variants in turns. "× prototype" is the median,
within a turn, of the time over that of a script which was written to see how fast the draft's variant can be;
`draft02` sends the same bytes as it does. *verify*: the server, one helper, and the verdict. The helper gets its bytes
in a sealed box, with the nonce and what is public; a verifier share goes from each aggregator to the server.
"""
FIRST = """From the first length to the last, `product` takes {spent} ns for each number, of client and aggregators
together. The first use compiles: {processor_s:.1f} s of the processor ({seconds:.1f} s passed), and says so; the next
takes {second_use_s:.1f} s. While a report of 10⁶ numbers is checked, a helper holds {helper:.1f} MB for it, and the
server what it was sent.
"""
LIARS = """## Provers that cheat at the largest bound

`tests/evidence/wraparound.py`: reports of vectors with ‖x‖² ≥ p whose square is small mod p, in which all is proven
rightly but that. The bound is the largest that can be proven, {bound:,} steps, with w = 2^{w}. *one check*: how often
one of the 128 checks holds, measured over {checks:,}; the [theorem](verified/for-cryptographers.md) says that it is
{proven:.2f} at most. A search over {searched:,} vectors of two to six coordinates found none above {rate:.4f}.
"""
UNPROVEN = """
The same under the condition of the draft's reference code, which hansa keeps for the draft's test vectors alone. There
the theorem says less than it must from 2^26 steps on.
"""
BATCHES = """## Many reports at once

`benchmarks/verified.py batches`: how much sooner a batch is checked on two cores than on one. Other programs ran on
this machine, so the least times of all turns are compared, and turns begin when two cores are to be had. *Control*: two
processes that share nothing, forked for half of the work each; and the median, over all turns, of the threads' time
over theirs. Where there are few turns, two cores were seldom free, and the row says little.
"""
MASKED = """## Sums under masks

`benchmarks/masked.py`: n clients, vectors of d words mod 2¹⁶, on one core; all messages are written and read. Clients
that are *gone* have prepared and say no vector, which costs the server most. *× streams*: over the time of the AES-CTR
streams that one's masks are made of, in plain counter mode, and of their additions, alone. Seconds are those of the
processor, medians of turns; a number is a word of the vector, and bytes are those of one client. Where few are masked,
all others say random words.

![Seconds of a client and of the server](masked.svg)
"""
MASKED_FIRST = """In the first round of a run a client agrees on keys with each other one, which last; at 10⁶ words it
takes {firsts}. Memory, from before the vector on: {held}. What is beyond the vector does not grow with d.
"""
BESIDE = """
Beside Flower's SecAgg+ ({flower}) in turns on the same core: whole rounds of {n} clients and {d:,} numbers. *masks*:
from integers to their sum; *round*: from real numbers, which are clipped and rounded, to their sum. Flower's messages
are written and read, but no time counts for that. Its integers have 32 bits and travel in 64.
"""
ENCRYPTED = """## Sums under encryption

`benchmarks/encrypted.py`: what one ciphertext of d words of 16 bits takes its client and the server, on one core;
milliseconds of the processor, medians of turns. *× transforms*: over the products in the ring that an encryption
contains, alone. *shares*: of the key, for all holders. TenSEAL has one key for all, and 8192 for a degree; OpenFHE is
measured where it can be imported.

![Times of a ciphertext](encrypted.svg)
"""
ENCRYPTED_MEMORY = """
Memory beside the vector, the ciphertext and the sum, which does not grow with d: {held}.
"""
LIMITS = """
At the largest sums that are allowed, `tests/evidence/encrypted.py`: numbers that came out wrong, and the largest error
beside its bound and half a step, below which a sum is right.
"""
ROUNDS = """## A round with sums that hide what they add

`benchmarks/secure_rounds.py`: ten clients, everything on one core, processor seconds of a round, medians; every
aggregator sums the same work. Bytes are those of a round over the number of clients, as they are written; the model
goes to clients and helpers besides, and a helper's share of the sum comes once in a round.

![Whose seconds a round takes](secure_rounds.svg)
"""

AUDIT = """## What attacks show

`benchmarks/audit.py`, on MNIST. Canary clients: the ε that the ledger promises and the lower bound that a single run
shows at 95 % confidence, with the plan's noise and with a quarter of it; least and most over five seeds. Refuted: how
many of the five audits show more than is promised. 1,000 clients and 1,000 canaries, δ = 10⁻⁵. With a uniform sample
the attacker is not told what the others say, and sees little.
"""
MEMBERSHIP = """
Membership of a digit in the training data of the final model; 20 clients of 20 digits, 50 rounds, softmax regression.
"""
INVERSION = """
Likeness (correlation) of one digit with what is computed back from an update.
"""
SIMULATION = """## Simulated rounds beside others

`benchmarks/simulation.py`: hansa, a plain loop in PyTorch, pfl-research and Flower (`benchmarks/peers.sh` installs
them) in turns on the same data. `lr`: softmax regression; `2nn`, `cnn`: the networks of McMahan et al. (2017); 10
clients of 600 examples in a round. `small`: the 2NN with 100 clients of 100 examples. Batches of 10, one epoch.
`PyTorch compiled`: `TorchModel` as it is, for a dense network; `PyTorch`: with compile=False, and for the CNN. Seconds
of a round, median, and in brackets those of the processor, which matter where other programs ran on this machine;
memory of all processes of a program while it trains, what they share counted once. The first rounds, in which clients
are met for the first time, do not count. A setting is one run, and machines of one name
differ, so seconds compare within a setting alone.

![Seconds of a round](simulation.svg)
"""
FASTEST = """
The fastest of hansa's programs: how many times the fastest others take, pfl in one process and in two. Memory is that
of hansa in one process with PyTorch, over the plain loop. Efficiency: of two workers beside one, the best that a
program shows, by the least times; two alone: the same of two plain loops at once that share nothing but the machine.
"""
CIFAR = """## CIFAR-10 among 1,000 users

`benchmarks/gpu_cifar.py`: the setting in which pfl-research compares frameworks on a GPU; 50 users of 50 images in a
round, a network of 1,626,442 numbers; a round's clients one after another, and as one batch.
"""
UNSEEN = """It is written for a GPU, and **was run on none yet**: what is below shows only that it runs on a CPU, for a
few rounds.
"""

GOSSIP = """## Without a server

`benchmarks/gossip.py`: peers that learn from their neighbours, beside the same federation with a server; means over
five seeds ± standard deviation. *heart*: FLamby's four centres, logistic regression, 40 rounds of 20 steps. *mnist*:
20 peers with two-label shards of 600 digits each, softmax regression, 60 rounds of one pass. Scored is each peer's own
model, on one central test: the mean over the peers, and the worst of them. λ is that of the graph, `apart` how far
peers were from each other at the end.
"""
GOSSIP_ENDS = """
Where peers have two digits each, D-PSGD stays behind the server on every graph but the complete one. Gradient tracking
(`Scaffold`) does not on the torus, the random graph and `OnePeer()`; on the ring and on `Base(1)` it does. Why it does
on `Base(1)`, which is exact after a period, was not looked into.
"""
GOSSIP_PEERS = """
p2pfl 0.4.4, the other library with peers that gossip, has no row: it requires NumPy < 2 and torchvision < 0.18, and all
that is measured here computes with one NumPy and one PyTorch. It is GPL-3.0-only, so it would run in a process of its
own; `benchmarks/peers.sh p2pfl` installs it as soon as its pins allow.
"""
GOSSIP_OFF = """
`benchmarks/gossip_peers.py`: 16 peers on a ring whose optima differ, one exact gradient step a round. D-PSGD
(`FedAvg`) ends off the optimum, by less the smaller its step; gradient tracking (`Scaffold`) on it.
"""
GOSSIP_MANY = """
What many peers cost: three rounds of softmax regression, by gossip on a ring and with a server; processor time of the
quickest of three processes, while the machine did other work as well, and memory beside that of the data.
"""
GOSSIP_COST = """
Memory is linear in the peers. Beside a training of half a millisecond the mark of 1.3 times the time is not met: in
every round a peer's inbox is hashed, mixed and checked, and its answer is a message of its own.
"""
GOSSIP_NOISE = """
What one peer shows of its neighbour's ε, by all that it hears in three rounds among 16 (δ = 10⁻⁵, 95 % confidence; a
thousand trials show 4.45 at most), beside the ledger's ε, which holds against all others together.
"""
LIBRARIES = ("hansa", "pfl")


def read(name: str) -> dict[str, Any]:
    """One benchmark's result."""
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """Markdown's lines."""
    head = list(head)
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"
    yield ""


def made(*results: dict[str, Any]) -> str:
    """On what, and from which commit."""
    machine = results[0]["machine"]
    commits = sorted({result["commit"][:8] + "+" * result["commit"].endswith("+") for result in results})
    return (
        f"*{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, torch {machine.get('torch', '–')}; "
        f"commit {', '.join(commits)}.*\n"
    )


def heart() -> Iterator[str]:
    """One line for each method."""
    result = read("heart")
    methods = dict.fromkeys(row["method"] for row in result["rows"])
    lines = []
    for method in methods:
        rows = [row for row in result["rows"] if row["method"] == method]
        pooled = next(row for row in rows if row["test"] == "pooled")
        mean, n = pooled["mean"], len(pooled["ours"])
        spread = (sum((score - mean) ** 2 for score in pooled["ours"]) / n) ** 0.5
        within = sum(row["within_two_std"] for row in rows)
        theirs = f"{pooled['published_mean']:.4f} ± {pooled['published_std']:.4f}"
        lines.append((method, f"{mean:.4f} ± {spread:.4f}", theirs, f"{within} of {len(rows)}"))
    yield HEART
    yield from table(("method", "hansa", "published", "within 2σ"), lines)
    yield CYCLIC
    yield made(result)


def survival() -> Iterator[str]:
    """One line for each centre, means over the seeds."""
    result = read("survival")
    rows = result["rows"]
    lines = []
    for centre in dict.fromkeys(row["centre"] for row in rows):
        some = [row for row in rows if row["centre"] == centre]
        ours, theirs = (f"{sum(row[who] for row in some) / len(some):.4f}" for who in ("hansa", "plain"))
        most = max(abs(row["hansa"] - row["plain"]) for row in some)
        lines.append((centre, some[0]["train"], some[0]["test"], ours, theirs, f"{most:.1g}"))
    yield SURVIVAL.format(seeds=len({row["seed"] for row in rows}))
    yield from table(("centre", "trains on", "scored on", "c-index, hansa", "plain loop", "most apart"), lines)
    yield made(result)


def mnist() -> Iterator[str]:
    """One line for each cell and learning rate."""
    results = [json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("mnist_rounds_*.json"))]
    lines = []
    for result in results:
        row = result["rows"][0]
        rounds = (
            f"{row['rounds']:.0f}" if row["rounds"] else f"not in {len(row['curve'])} (best {max(row['curve']):.2%})"
        )
        split = {"iid": "IID", "shards": "2 shards"}[row["split"]]
        lines.append((row["model"].upper(), split, row["epochs"], row["rate"], rounds, row["paper"]))
    yield MNIST
    yield from table(("model", "split", "E", "learning rate", "rounds, hansa", "rounds, paper"), lines)
    yield made(*results)


def overhead() -> Iterator[str]:
    """One line for each library and pipe."""
    result = read("overhead")
    yield OVERHEAD
    yield from table(
        ("model", "pipe", "own share", "worst round"),
        ((r["model"], r["pipe"], f"{r['own_share']:.1%}", f"{r['own_share_worst']:.1%}") for r in result["rows"]),
    )
    yield made(result)


def server_memory() -> Iterator[str]:
    """One line for each kind of numbers and optimizer."""
    result = read("server_memory")
    yield SERVER_MEMORY
    yield from table(
        ("numbers, optimizer", "vectors in a round", "moments beside them", "a commit adds"),
        ((r["case"], f"{r['round']:.2f}", r["moments"], f"{r['commit']:.2f}") for r in result["rows"]),
    )
    yield made(result)


def backends() -> Iterator[str]:
    """One line for each library and network."""
    result = read("backends")
    lines = [
        (
            row["library"],
            row["network"],
            f"{row['round_s']:.3f}",
            f"{row['own_loop_s']:.3f}",
            f"{row['ratio']:.2f}",
            row["programs"] or "–",
            row["programs_with_short_batches"] or "–",
        )
        for row in result["rows"]
    ]
    yield BACKENDS
    yield from table(
        ("library", "network", "round, s", "own loop, s", "round / loop", "programs", "with short batches"), lines
    )
    yield made(result)


def accountants() -> Iterator[str]:
    """Differences, and every fifth schedule."""
    result = read("accountants")
    rows, columns = result["rows"], [name for name in result["rows"][0] if "_" in name]
    others = {"hansa_rdp": ("rdp",), "hansa_pld": ("pld", "prv")}
    lines = []
    for ours, kinds in others.items():
        for name in (name for name in columns if name != ours and name.endswith(kinds)):
            least, most = (choose(row[name] - row[ours] for row in rows) for choose in (min, max))
            lines.append((_library(name), f"{least:+.2g}", f"{most:+.2g}"))
    yield ACCOUNTANTS
    yield from table(("accountant", "ε less hansa's, least", "most"), lines)
    some = [row for i, row in enumerate(rows) if i % 10 in (1, 4, 7)]
    yield from table(
        ("z", "q", "steps", *map(_library, columns)),
        ((r["noise"], r["rate"], r["steps"], *(f"{r[name]:.4f}" for name in columns)) for r in some),
    )
    yield made(result)


def noise() -> Iterator[str]:
    """One line for each step, and each standard deviation."""
    result = read("noise")
    lines = []
    for r in result["rows"]:
        sigma, first = (f"{r[name]:g}" if name in r else "" for name in ("sigma", "first_ms"))
        lines.append((f"`{r['step']}`", sigma, f"{r['d']:,}", f"{r['ms']:.1f}", first))
    yield NOISE
    yield from table(("step", "σ, in steps", "d", "ms", "ms, first draw"), lines)
    yield made(result)
    result = read("noise_cost")
    noises = [row for row in result["rows"] if "noise" in row]
    yield NOISE_COST.format(**noises[0])
    head = ("noise", "drawn by", "round, s", "noise, s", "share", "× named")
    yield from table(head, (_cost(row) for row in noises))
    yield STREAMS
    head = ("draws", "secret, ms", "seed, ms", "secret / seed")
    yield from table(head, (_stream(row) for row in result["rows"] if "draws" in row))
    yield made(result)


def _cost(row: dict[str, Any]) -> tuple[str, ...]:
    seconds = f"{row['round_s']:.2f}", f"{row['noise_s']:.3f}"
    return f"`{row['noise']}`", row["by"], *seconds, f"{row['share']:.1%}", f"{row['over_named']:.2f}"


def _stream(row: dict[str, Any]) -> tuple[str, ...]:
    seconds = (f"{1e3 * row[f'{stream}_s']:.1f}" for stream in ("secret", "named"))
    return row["draws"], *seconds, f"{row['over_named']:.2f}"


def dp_mnist() -> Iterator[str]:
    """One line for each ε, means over the seeds."""
    result = read("dp_mnist")
    lines, pfl = [], result["rows"][0]["pfl"]
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(row["seed"] for row in result["rows"]))
    for epsilon in dict.fromkeys(row["epsilon"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["epsilon"] == epsilon]
        noises = (
            f"{rows[0][f'{name}_{kind}']:.4g}" if epsilon else "–" for kind in ("pld", "rdp") for name in LIBRARIES
        )
        found = (f"{sum(row[name] for row in rows) / len(rows):.1%}" for name in ("accuracy", "pfl_accuracy"))
        lines.append((f"{epsilon:g}" if epsilon else "∞", *noises, *found))
    yield DP_MNIST.format(pfl=pfl, seeds=seeds)
    heads = (f"z, {name}, {kind}" for kind in ("PLD", "RDP") for name in LIBRARIES)
    yield from table(("ε", *heads, *(f"accuracy, {name}" for name in LIBRARIES)), lines)
    yield made(result)


def _library(column: str) -> str:
    library, kind = column.split("_")
    return f"{'dp-accounting' if library == 'direct' else library}, {kind.upper()}"


def verified() -> Iterator[str]:
    """One line for each variant and length; then what else was measured, and batches."""
    result = read("verified")
    rows = [row for row in result["rows"] if row["what"] == "report"]
    head = (
        "d",
        "variant",
        "shard",
        "× prototype",
        "verify",
        "× prototype",
        "bytes a number",
        "helper",
        "verifier share",
    )
    yield VERIFIED
    yield from table(head, (_report(row) for row in rows))
    first, memory = (next(r for r in result["rows"] if r["what"] == what) for what in ("first use", "memory"))
    ours = [row for row in rows if row["variant"] == "product"]
    spent = ", ".join(f"{1e9 * (row['shard_s'] + row['verify_s']) / row['d']:.0f}" for row in ours)
    yield FIRST.format(**first, helper=memory["helper_bytes"] / 1e6, spent=spent)
    yield made(result)
    yield BATCHES
    result = read("verified_batches")
    head = ("d", "who", "reports", "two cores", "control", "time over control", "turns")
    yield from table(head, (_batch(row) for row in result["rows"]))
    yield made(result)


def _report(row: dict[str, Any]) -> tuple[str, ...]:
    times = [f"{1e3 * row[f'{step}_s']:.0f} ms" for step in ("shard", "verify")]
    shard, verify = (f"{row[name]:.2f}" if name in row else "–" for name in ("shard_ratio", "verify_ratio"))
    size = f"{row['verifier_bytes'] / 1e3:.1f} kB" if "verifier_bytes" in row else "–"
    sent = f"{row['leader_bytes_per_number']:.3f}", f"{row['helper_bytes']} B", size
    return _power(row["d"]), row["variant"], times[0], shard, times[1], verify, *sent


def _batch(row: dict[str, Any]) -> tuple[str, ...]:
    gains = f"{row['speed_up']:.2f}", f"{row['speed_up_of_control']:.2f}", f"{row['over_control']:.2f}"
    return _power(row["d"]), row["who"], str(row["reports"]), *gains, str(row["turns"])


def wraparound() -> Iterator[str]:
    """One line for each shape; then for larger bounds."""
    result = read("wraparound")
    names = ("reports", "search", "control")
    reports, (best,), larger = ([row for row in result["rows"] if row["what"] == name] for name in names)
    first = reports[0]
    about = {"w": first["w"].bit_length() - 1, "searched": best["tries"], "rate": best["rate"]}
    yield LIARS.format(**first | about)
    head = ("shape", "coordinates", "reports", "accepted", "one check")
    yield from table(head, (_liar(row) for row in reports))
    yield UNPROVEN
    yield from table(("bound", *head), ((f"2^{row['bound'].bit_length() - 1}", *_liar(row)) for row in larger))
    yield made(result)


def _liar(row: dict[str, Any]) -> tuple[str, ...]:
    return row["shape"], str(row["coordinates"]), f"{row['tries']:,}", str(row["accepted"]), f"{row['rate']:.3f}"


def secure_rounds() -> Iterator[str]:
    """One line for each model and aggregator."""
    result = read("secure_rounds")
    who = ("training", "clients", "helpers", "server", "round")
    head = ("model", "aggregator", *(f"{name}, s" for name in who), "× Sum")
    lines, bytes_ = [], []
    for row in result["rows"]:
        name = f"{row['model']}, {row['numbers']:,}"
        seconds = (f"{row[f'{one}_s']:.3f}" for one in who)
        lines.append((name, f"`{row['aggregator']}`", *seconds, f"{row['over_sum']:.2f}"))
        up, there, back = (
            row["bytes"].get(line, 0) / row["clients"]
            for line in ("clients → server", "server → helpers", "helpers → server")
        )
        bytes_.append((name, f"`{row['aggregator']}`", f"{up:,.0f}", f"{there:,.0f}", f"{back:,.0f}"))
    yield ROUNDS
    yield from table(head, lines)
    yield from table(("model", "aggregator", "client → server", "server → helpers", "helpers → server"), bytes_)
    yield made(result)


def masked() -> Iterator[str]:
    """One line for each n, d and share that vanishes; then memory, and Flower."""
    result = read("masked")
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in result["rows"]:
        kinds.setdefault(row["what"], []).append(row)
    head = (
        "n",
        "d",
        "gone",
        "client",
        "× streams",
        "server",
        "× streams",
        "up, bytes a number",
        "down",
        "masked",
        "turns",
    )
    yield MASKED
    yield from table(head, (_masked(row) for row in kinds["round"]))
    firsts = [row for row in kinds["first round"] if row["d"] == 10**6]
    yield MASKED_FIRST.format(
        firsts=", ".join(f"{1e3 * row['client_s']:.0f} ms among {row['n']}" for row in firsts),
        held="; ".join(_held(row) for row in kinds["memory"]),
    )
    pairs = kinds.get("flower", [])
    if pairs:
        yield BESIDE.format(**pairs[0])
        head = ("gone", "masks", "Flower's", "times", "round", "Flower's", "times", "up, MB", "Flower's")
        yield from table(head, (_pair(row) for row in pairs))
    else:
        yield "Beside Flower's SecAgg+ nothing was measured.\n"
    yield made(result)


def _masked(row: dict[str, Any]) -> tuple[str, ...]:
    client = f"{1e3 * row['client_s']:.3g} ms", f"{row['client_over_streams']:.2f}"
    server = f"{row['server_s']:.3g} s", f"{row['server_over_streams']:.2f}"
    size = f"{row['up_bytes_per_number']:.3f}", f"{row['down_bytes'] / 1e3:.1f} kB"
    return (
        str(row["n"]),
        _power(row["d"]),
        str(row["gone"]),
        *client,
        *server,
        *size,
        str(row["real"]),
        str(row["turns"]),
    )


def encrypted() -> Iterator[str]:
    """One line for each n and d; other libraries; memory; and sums at their limits."""
    result = read("encrypted")
    rows = [row for row in result["rows"] if "n" in row]
    steps = ("encrypt", "share", "add", "open key", "open")
    yield ENCRYPTED
    head = ("n", "d", "encrypt", "× transforms", "share", "add", "open the key", "open", "bytes a number", "shares")
    lines = []
    for row in rows:
        times = {step: f"{1e3 * row[step]:.3g} ms" for step in steps}
        ratio = f"{row['encrypt / products']:.2f}"
        size = f"{row['bytes a number']:.2f}", f"{row['shares'] / 1e3:.0f} kB"
        first, *rest = times.values()
        lines.append((row["n"], _power(row["d"]), first, ratio, *rest, *size))
    yield from table(head, lines)
    others = ("tenseal", "openfhe")
    beside = ((row["n"], _power(row["d"]), name, *_other(row[name])) for row in rows for name in others)
    yield from table(("n", "d", "", "encrypt", "add", "open", "times the time to encrypt", "times the bytes"), beside)
    held = (
        f"{row['beside encrypting'] / 1e3:.0f} kB to encrypt and {row['beside opening'] / 1e3:.0f} kB to open"
        for row in result["rows"]
        if row["d"] == 10**7 and "n" not in row
    )
    yield ENCRYPTED_MEMORY.format(held="; ".join(held))
    yield LIMITS
    limits = read("encrypted_limits")
    found = (
        (
            row["bits"],
            row["clients"],
            row["each"],
            f"{row['encrypted']:,}",
            row["wrong"],
            f"{row['largest']:,}",
            f"{row['bound']:,}",
            f"{row['half_step']:,}",
        )
        for row in limits["rows"]
    )
    head = ("bits", "clients", "sums in one", "encrypted", "wrong", "largest error", "bound", "half a step")
    yield from table(head, found)
    yield made(result, limits)


def _other(found: Any) -> tuple[str, ...]:
    """Another library's times, or that there are none."""
    if isinstance(found, str):
        return found, "", "", "", ""
    times = (f"{found[step]:.3g} s" for step in ("encrypt", "add", "open"))
    return (*times, f"{found['times the time']:.0f}", f"{found['times the bytes']:.1f}")


def _held(row: dict[str, Any]) -> str:
    extra = (f"{row[f'{who}_beyond_vector_bytes'] / 1e6:.2g} MB" for who in ("client", "server"))
    return "n = {}, d = {}: the vector and {} of a client, and {} of the server".format(
        row["n"], _power(row["d"]), *extra
    )


def _pair(row: dict[str, Any]) -> tuple[str, ...]:
    found = [str(row["gone"])]
    for name in ("masks", "round"):
        found += [f"{row[f'{name}_s']:.3f} s", f"{row[f'flower_{name}_s']:.3f} s", f"{row[f'{name}_times']:.1f}"]
    return *found, f"{row['up_bytes'] / 1e6:.2f}", f"{row['flower_up_bytes'] / 1e6:.2f}"


def _power(d: int) -> str:
    return f"10{'⁵⁶⁷⁸'[len(str(d)) - 6]}"


def audits() -> Iterator[str]:
    """One line for each plan, each noise, and each view."""
    result = read("audit")
    kinds = {what: [row for row in result["rows"] if row["what"] == what] for what in ("canaries", "membership")}
    yield AUDIT
    yield from table(
        ("plan", "promised ε", "shown", "refuted", "shown, a quarter of the noise", "refuted"),
        (
            (
                r["plan"],
                f"{r['epsilon']:.2f}",
                _span(r["shown"]),
                r["refuted"],
                _span(r["shown_weak"]),
                r["refuted_weak"],
            )
            for r in kinds["canaries"]
        ),
    )
    yield MEMBERSHIP
    yield from table(
        ("noise multiplier", "ε for a client", "area under the curve", "found at 1 % false alarms"),
        (
            (r["noise"], f"{r['epsilon']:.3g}" if r["epsilon"] else "none", f"{r['area']:.3f}", f"{r['rate']:.1%}")
            for r in kinds["membership"]
        ),
    )
    likeness = {(r["model"], r["seen"]): r["likeness"] for r in result["rows"] if r["what"] == "inversion"}
    views = dict.fromkeys(participants for model, participants in likeness if model == "dense")
    yield INVERSION
    yield from table(
        ("seen", "dense, closed form", "convolutional, descent"),
        ((seen, *(f"{likeness[model, seen]:.2f}" for model in ("dense", "convolutional"))) for seen in views),
    )
    yield made(result)


def simulation() -> Iterator[str]:
    """One line for each program and setting; then how they compare."""
    results = {file.stem.removeprefix("simulation_"): read(file.stem) for file in RESULTS.glob("simulation_*.json")}
    results = {name: results[name] for name in ("lr", "2nn", "small", "cnn") if name in results}
    lines, ratios, others = [], [], ("pfl", "pfl, 2 processes", "flower", "plain")
    for name, result in results.items():
        rows = {row["program"]: row for row in result["rows"]}
        for row in rows.values():
            seconds, spent = (f"{row[part]:.3g}" for part in ("seconds", "processor_s"))
            memory = f"{row['memory_mib']:,.0f}", f"{row['start_s']:.0f}"
            lines.append((name, row["program"], f"{seconds} ({spent})", row["rounds"], *memory))
        best = dict[str, float]()
        for title, row in rows.items():
            kind = title if title == "pfl, 2 processes" else row["library"]
            best[kind] = min(row["seconds"], best.get(kind, row["seconds"]))
        ours = next(title for title, row in rows.items() if row["seconds"] == best["hansa"])
        times = (f"{best[k] / best['hansa']:.1f}" if k in best else "–" for k in others)
        memory = rows["hansa, PyTorch"]["memory_mib"] / rows["plain PyTorch"]["memory_mib"]
        ratios.append((name, ours, *times, f"{memory:.2f}", _efficiency(rows), _machine(rows)))
    yield SIMULATION
    yield from table(("setting", "program", "seconds", "rounds", "MiB", "start, s"), lines)
    yield FASTEST
    names = ("setting", "fastest", "pfl", "pfl, two", "Flower", "plain loop", "memory", "efficiency", "two alone")
    yield from table(names, ratios)
    yield made(*results.values())
    made_of = {row["library"]: row["versions"] for result in results.values() for row in result["rows"]}
    yield f"*hansa: {made_of['hansa']}; pfl: {made_of.get('pfl', '–')}; Flower: {made_of.get('flower', '–')}.*\n"


def cifar() -> Iterator[str]:
    """Seconds of a round, and where."""
    result = read("gpu_cifar")
    yield CIFAR
    if all(row["device"] == "cpu" for row in result["rows"]):
        yield UNSEEN
    names = ("device", "images", "cohort", "together", "rounds", "round_s", "accuracy")
    head = "device", "images", "cohort", "trained together", "rounds", "seconds a round", "accuracy"
    lines = [[f"{v:.3g}" if isinstance(v := row[name], float) else v for name in names] for row in result["rows"]]
    yield from table(head, lines)
    yield made(result)


def _efficiency(rows: dict[str, Any]) -> str:
    """The least time of one worker over twice that of two; of the program where it is largest."""
    pairs = [(row, rows.get(title.replace("(2)", "(1)"))) for title, row in rows.items() if "(2)" in title]
    found = [one["least"] / two["least"] / 2 for two, one in pairs if one]
    return f"{max(found):.0%}" if found else "–"


def _machine(rows: dict[str, Any]) -> str:
    """The least time of a plain loop over that of two at once: what two cores give to those who share nothing."""
    one, two = (rows.get(f"plain PyTorch{more}") for more in ("", ", twice at once"))
    return f"{one['least'] / two['least']:.0%}" if one and two else "–"


def _span(values: list[float]) -> str:
    return f"{min(values):.2f} … {max(values):.2f}"


def gossip() -> Iterator[str]:
    """One line for each graph, beside that of the server."""
    result = read("gossip")
    lines = []
    for row in result["rows"]:
        if row["setting"] not in ("heart", "mnist"):
            continue
        if row["graph"] == "server":
            server = row
        near = abs(row["accuracy"] - server["accuracy"]) <= server["sd"]
        alone = row["graph"] == "server"
        lines.append(
            (
                row["setting"],
                row["algorithm"],
                row["graph"] if alone else f"`{row['graph']}`",
                f"{row['accuracy']:.3f} ± {row['sd']:.3f}",
                "–" if alone else f"{row['worst peer']:.3f}",
                "–" if alone else f"{1 - row['gap']:.3f}",
                "–" if alone else f"{row['apart']:.2f}",
                "–" if alone else "yes" if near else "no",
            )
        )
    yield GOSSIP
    head = ("data", "algorithm", "graph", "accuracy", "worst peer", "λ", "apart", "within the server's sd")
    yield from table(head, lines)
    yield GOSSIP_ENDS
    yield GOSSIP_PEERS
    yield made(result)
    yield from gossip_peers()


def gossip_peers() -> Iterator[str]:
    """How far off peers end, what many of them cost, and what a neighbour shows under noise."""
    result = read("gossip_peers")
    rows: dict[str, list[Any]] = {"quadratics": [], "many": [], "noise": []}
    for row in result["rows"]:
        rows[row["setting"]].append(row)
    yield GOSSIP_OFF
    off = [(r["algorithm"], r["step"], f"{r['rounds']:,}", f"{r['off the optimum']:.1e}") for r in rows["quadratics"]]
    yield from table(("algorithm", "step", "rounds", "√Σ(xᵢ − x*)²"), off)
    yield GOSSIP_MANY
    lines = []
    ones = iter(rows["many"])
    for server, peers in zip(ones, ones, strict=True):
        times = peers["cpu seconds"] / server["cpu seconds"]
        each = peers["MiB"] / peers["peers"]
        who = (f"{peers['peers']:,}", peers["examples"])
        lines.append((*who, f"{times:.2f} ×", f"{peers['MiB']:.0f} MiB", f"{each:.2f} MiB", f"{server['MiB']:.0f} MiB"))
    yield from table(("peers", "digits each", "time beside a server", "memory", "of a peer", "with a server"), lines)
    yield GOSSIP_COST
    yield GOSSIP_NOISE
    shown = [
        (
            f"`{r['graph']}`",
            r["noise"],
            "sums of neighbours" if r["sums"] else "models",
            f"ε ≥ {r['shown']:.2f}",
            f"ε ≤ {r['promised']:.2f}",
        )
        for r in rows["noise"]
    ]
    yield from table(("graph", "noise", "heard", "shown", "promised"), shown)
    yield made(result)


def page() -> str:
    """The whole page."""
    head = "# Measured\n\nWritten by `benchmarks/_tables.py` from `benchmarks/results/`. Robust rules under attack: "
    head += "[the robust page](how-to/robust.md).\n\nCommits of older results may be of branches that were merged and "
    head += "are not in the history\nthemselves. A + after a commit is a tree with changes.\n"
    parts = (
        heart,
        survival,
        mnist,
        gossip,
        simulation,
        cifar,
        overhead,
        server_memory,
        backends,
        accountants,
        noise,
        dp_mnist,
        audits,
        verified,
        wraparound,
        masked,
        encrypted,
        secure_rounds,
    )
    return "\n".join((head, *chain.from_iterable(part() for part in parts)))


if __name__ == "__main__":
    PAGE.write_text(page().rstrip() + "\n", "utf-8")
