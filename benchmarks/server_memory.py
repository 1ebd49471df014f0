"""How many vectors a server holds in a round, and how many more while it commits one: d × 8 bytes are one vector.

A softmax regression of 10⁷ numbers; replies come as mapped files, as from a gateway, so what is counted is what the
server makes of them: the memory of Python's objects and NumPy's arrays at its highest, from before the first reply is
added to after the step, in the second round; with the model, and without the server optimizer's moments (of Adam, four
vectors: those of before and after). A commit is measured from the end of that round on.
"""

from __future__ import annotations

import gc
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

import hansa as h
from hansa import codec
from hansa.crypto.identity import Member
from hansa.messages import Message, Reply, Request, SessionId
from hansa.store import Store

INPUTS, CLASSES, CLIENTS = 10**6, 10, 3
BOUNDED = h.Clip(1.0, side=10.0), h.Weigh("one")
CASES: dict[str, tuple[tuple[h.transforms.Transform, ...], h.optim.Optimizer, int]] = {  # pipe, optimizer, its moments
    "real, Sgd": ((h.Weigh("examples"),), h.Sgd(), 0),
    "real, Adam": ((h.Weigh("examples"),), h.Adam(), 4),
    "real, Gaussian noise, Sgd": ((*BOUNDED, h.GaussianNoise(1.0)), h.Sgd(), 0),
    "integers mod 2⁶⁴, Sgd": ((*BOUNDED, h.Quantize(20)), h.Sgd(), 0),
    "integers mod 2⁶⁴, Adam": ((*BOUNDED, h.Quantize(20)), h.Adam(), 4),
    "integers mod 2³², Sgd": ((*BOUNDED, h.Quantize(32, of="sum", clients=CLIENTS)), h.Sgd(), 0),
}


class Spool:
    """A runtime of clients whose replies lie in files: the same in each round."""

    named = True
    members: ClassVar[dict[str, Member]] = {}  # nobody signs

    def __init__(self, folder: Path, plan: h.Plan):
        self.files: dict[str, Path] = {}
        self._asked = list[tuple[Request, str]]()
        rng = np.random.default_rng(0)
        for i in range(CLIENTS):
            parts = {name: rng.normal(scale=1e-4, size=size) for name, size in plan.spec.blocks.items()}
            at = plan.context(0, SessionId(), f"{i}", secret=h.Key.of(i), memo=plan.pipeline.start())
            self.files[f"{i}"] = folder / f"{i}.safetensors"
            with open(self.files[f"{i}"], "wb") as file:
                codec.write(file, plan.pipeline.encode(plan.spec.pack(parts), at)[0])

    def roster(self) -> Sequence[str]:
        """All clients."""
        return list(self.files)

    def send(self, message: Message) -> None:
        """Ask; tell nobody anything."""
        if isinstance(message, Request):
            self._asked += [(message, who) for who in message.bodies]

    def receive(self) -> Reply:
        """The next reply, mapped."""
        request, who = self._asked.pop(0)
        return Reply.to(request, (who,), codec.read(self.files[who]))

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def plan_of(inputs: int, pipe: tuple[h.transforms.Transform, ...], optimizer: h.optim.Optimizer) -> h.Plan:
    """A plan of two rounds, whose clients report nothing but their vector."""
    training = h.Training(report=False)
    return h.Plan(h.Softmax(inputs, CLASSES), h.FedAvg(server=optimizer), pipe, training=training, rounds=2)


def held(plan: h.Plan, folder: Path) -> tuple[float, float]:
    """Vectors that are held in the second round, and how many more while it is committed."""
    runtime, vector = Spool(folder, plan), 8 * plan.model.size
    run = Store(folder / "runs").new(repr(plan), plan.digest, "", {}, plan.rounds)
    tracemalloc.start()
    try:
        before, _ = _now()
        states = h.synchronous(plan, runtime, secret=h.Key.of(0))
        run.commit(next(states))
        _now()
        state = next(states)
        _, peak = tracemalloc.get_traced_memory()
        after, _ = _now()
        run.commit(state)
        _, committing = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (peak - before) / vector, (committing - after) / vector


def _now() -> tuple[int, int]:
    """Bytes that are held now; their peak is counted from here on."""
    gc.collect()
    tracemalloc.reset_peak()
    return tracemalloc.get_traced_memory()


def main() -> None:
    """Measure all cases, and keep what is found."""
    from common import save

    rows = []
    for name, (pipe, optimizer, moments) in CASES.items():
        plan = plan_of(INPUTS, pipe, optimizer)
        with tempfile.TemporaryDirectory() as folder:
            found, committing = held(plan, Path(folder))
        row = {"case": name, "d": plan.model.size, "moments": moments}
        row |= {"round": round(found - moments, 3), "commit": round(committing, 3)}
        rows.append(row)
        print(row, flush=True)
    save("server_memory", rows)


if __name__ == "__main__":
    main()
