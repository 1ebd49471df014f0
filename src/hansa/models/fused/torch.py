"""Several steps of local training as one native program: traced, compiled once for each machine, kept on disk."""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from ... import native
from .. import MOMENTUM
from ..losses.torch import Loss
from ..product.torch import Ours, replaced

STEPS = 5  # in one program; more take longer to compile, fewer longer to call
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # of Adam
MOMENTS = {"sgd": 0, "momentum": 1}  # and Adam's two

Tensors = list[Tensor]
Program = Callable[[Tensors], Tensors]
Told = tuple[int, float]  # how many steps, and the sum of their losses

log = logging.getLogger("hansa")


# ── the mathematics ──────────────────────────────────────────────────────────────────────────────────────────────────


class Form(NamedTuple):
    """What a step is made of; all else are numbers that enter it."""

    optimizer: str
    decays: bool
    pulls: bool
    shifts: bool
    params: tuple[str, ...]  # names of the tensors that are trained,
    buffers: tuple[str, ...]  # of those that the net itself changes,
    still: tuple[str, ...]  # and of those that nobody does
    takes: tuple[str, ...]  # the net's inputs: "" for each by position, then names


class Step(NamedTuple):
    """How a step moves: optimizer, η, λ, and a drift, its vectors flat."""

    optimizer: str
    eta: float
    decay: float
    pull: float
    centre: Tensor | None
    shift: Tensor | None


def stepped(
    name: str, y: Tensor, g: Tensor, moments: Sequence[Tensor], t: Any, eta: Any, decay: Any
) -> tuple[Tensor, Tensors]:
    """The t-th step of an optimizer from y along g, and its moments; `decay` is None for none."""
    if decay is not None:
        y, g = (y - eta * decay * y, g) if name == "adamw" else (y, g + decay * y)
    if name == "sgd":
        return y - eta * g, []
    if name == "momentum":
        m = MOMENTUM * moments[0] + g
        return y - eta * m, [m]
    m = BETA1 * moments[0] + (1 - BETA1) * g
    v = BETA2 * moments[1] + (1 - BETA2) * g * g
    a, b = (-torch.expm1(t * math.log(beta)) for beta in (BETA1, BETA2))  # 1 − βᵗ
    return y - eta / a * m / ((v / b).sqrt() + EPSILON), [m, v]


def advanced(form: Form, net: nn.Module, loss: Loss, state: Tensors, given: Tensors, batches: Tensors) -> Tensors:
    """The state after a step for each batch.

    state    parameters, buffers, moments, t (the steps done), the sum of their losses
    given    η, λ where it decays, pull and centre where it pulls, shift where it shifts, tensors that stay as they are
    batches  of each, inputs by position, inputs by name, targets
    """
    p, found, width = len(form.params), iter(given), len(form.takes) + 1
    eta = next(found)
    decay = next(found) if form.decays else None
    pull, centre = (next(found), list(islice(found, p))) if form.pulls else (None, [])
    shift, still = list(islice(found, p * form.shifts)), dict(zip(form.still, found, strict=True))
    y, b, m, t, total = split(form, state)
    cut = form.takes.count("")
    b = [buffer.clone() for buffer in b]  # the net writes into these
    for i in range(0, len(batches), width):
        *inputs, target = batches[i : i + width]
        by_name = dict(zip(form.takes[cut:], inputs[cut:], strict=True))
        y = [part.detach().requires_grad_() for part in y]
        with torch.enable_grad():
            tensors = {**dict(zip(form.params, y, strict=True)), **dict(zip(form.buffers, b, strict=True)), **still}
            value = loss(functional_call(net, tensors, tuple(inputs[:cut]), by_name), target)
            g = torch.autograd.grad(value, y, allow_unused=True, materialize_grads=True)
        y, t, total = [part.detach() for part in y], t + 1, total + value.detach()
        if pull is not None:
            g = tuple(one + pull * (part - c) for one, part, c in zip(g, y, centre, strict=True))
        if shift:
            g = tuple(one + s for one, s in zip(g, shift, strict=True))
        moved = [stepped(form.optimizer, y[j], g[j], m[j::p], t, eta, decay) for j in range(p)]
        y, m = [part for part, _ in moved], [one for kind in zip(*(k for _, k in moved), strict=True) for one in kind]
    return [*y, *b, *m, t, total]


def split(form: Form, state: Tensors) -> tuple[Tensors, Tensors, Tensors, Tensor, Tensor]:
    """Parameters, buffers, moments, t and the sum of losses."""
    p, b = len(form.params), len(form.params) + len(form.buffers)
    return state[:p], state[p:b], state[b:-2], state[-2], state[-1]


# ── programs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Programs:
    """The programs of one net and loss: STEPS steps each, one for each form and each shape of a batch.

    `compiled` counts those that were compiled here; others were found on disk.
    """

    def __init__(self, net: nn.Module, loss: Loss, threads: int):
        self.net, self.loss, self.threads, self.compiled = net, loss, threads, 0
        self._found: dict[Any, Program | None] = {}

    def train(self, step: Step, takes: tuple[str, ...], rows: Iterable[Tensors]) -> Told | None:
        """Train the net: how many steps, and the sum of their losses; None where no program can do it.

        Batches of one shape go through STEPS at a time; what is left of them, and others, one by one through the same
        steps uncompiled.
        """
        coming = iter(rows)
        first = list(islice(coming, STEPS))
        if len(first) < STEPS or len({len(row[-1]) for row in first}) > 1:
            return None
        form, tensors, given = self._read(step, takes)
        moments = [
            torch.zeros_like(p) for _ in range(MOMENTS.get(step.optimizer, 2)) for p in tensors[: len(form.params)]
        ]
        state = [*tensors, *moments, torch.zeros(()), torch.zeros((), dtype=torch.double)]
        program, steps = self._find(form, state, given, [*chain(*first)]), 0
        if program is None:
            return None
        for held in _runs(first, coming):
            full = len(held) == STEPS and held[0][-1].shape == first[0][-1].shape
            state, steps = self._run(program if full else None, form, state, given, [*chain(*held)]), steps + len(held)
        torch._foreach_copy_(tensors, state[: len(tensors)])
        return steps, float(state[-1])

    def _read(self, step: Step, takes: tuple[str, ...]) -> tuple[Form, Tensors, Tensors]:
        """Form, tensors that change (parameters, then buffers), and those that do not."""
        params = {name: p.detach() for name, p in self.net.named_parameters() if p.requires_grad}
        still = {name: p.detach() for name, p in self.net.named_parameters() if not p.requires_grad}
        buffers = {name: b.detach() for name, b in self.net.named_buffers()}
        decays, pulls, shifts = bool(step.decay), step.centre is not None, step.shift is not None
        names = tuple(params), tuple(buffers), tuple(still)
        form = Form(step.optimizer, decays, pulls, shifts, *names, takes)
        given = [torch.tensor(one) for one in (step.eta, *[step.decay] * decays, *[step.pull] * pulls)]
        for flat in (step.centre, step.shift):
            if flat is not None:
                cut = torch.split(flat, [p.numel() for p in params.values()])
                given += [part.view(p.shape) for part, p in zip(cut, params.values(), strict=True)]
        return form, [*params.values(), *buffers.values()], [*given, *still.values()]

    def _run(self, program: Program | None, form: Form, state: Tensors, given: Tensors, batches: Tensors) -> Tensors:
        """The state after these batches."""
        if program is not None:
            with suppress(RuntimeError):  # it does not say what is wrong; the same steps outside of it do
                return program([*state, *given, *batches])
        return advanced(form, self.net, self.loss, state, given, batches)

    def _find(self, form: Form, state: Tensors, given: Tensors, batches: Tensors) -> Program | None:
        """The program for such tensors; None, said once, where there can be none."""
        which = form, tuple((tuple(t.shape), t.dtype) for t in batches)
        if which not in self._found:
            self._found[which] = None
            found = self._made(form, state, given, batches)
            if isinstance(found, str):
                log.warning("Local training stays uncompiled: %s", found)
            else:
                self._found[which] = found
        return self._found[which]

    def _made(self, form: Form, *tensors: Tensors) -> Program | str:
        """The program, or why there is none; the same on every call on one machine."""
        if why := uncompiled():
            return why
        try:
            graph = traced(partial(advanced, form, copy.deepcopy(self.net), copy.deepcopy(self.loss)), tensors)
        except Exception as error:  # whatever a net's own code does when no numbers are there
            return f"the net cannot be traced ({type(error).__name__}: {str(error).splitlines()[0][:200]})."
        if drawn := [node.name for node in graph.graph.nodes if torch.Tag.nondeterministic_seeded in _tags(node)]:
            return f"the net draws random numbers ({drawn[0]})."
        examples = [one for some in tensors for one in some]
        plain = Ours(graph, "", {})
        ours = (replaced(graph) if self.threads == 1 else None) or plain
        file = self._kept(ours, examples)
        if isinstance(file, str) and ours is not plain:
            log.warning("A compiled program goes without our own products: %s", file)
            file = self._kept(plain, examples)
        if isinstance(file, str):
            return file
        runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(file), 1)
        return lambda flat: list(runner.run(flat))

    def _kept(self, ours: Ours, examples: Tensors) -> Path | str:
        return native.kept(fingerprint(ours, examples, self.threads), partial(self._compile, ours, examples))

    def _compile(self, ours: Ours, examples: Tensors, file: Path) -> str:
        log.info("Compiling %d steps of local training to %s.", STEPS, file)
        why = compiled(ours, examples, self.threads, file)
        self.compiled += not why
        return why


def uncompiled() -> str:
    """Why nothing can be compiled on this machine, or nothing."""
    from torch._inductor import config

    named = [one for one in (config.cpp.cxx if isinstance(config.cpp.cxx, tuple) else (config.cpp.cxx,)) if one]
    return "" if any(map(shutil.which, named)) else f"no C++ compiler is installed ({', '.join(named)})."


def traced(function: Callable[[Tensors, Tensors, Tensors], Tensors], tensors: Sequence[Tensors]) -> GraphModule:
    """The operations of function(state, given, batches) on such tensors, as a graph of one flat list."""
    ends = [sum(map(len, tensors[: i + 1])) for i in range(3)]

    def flat(*all: Tensor) -> Tensors:
        return function(list(all[: ends[0]]), list(all[ends[0] : ends[1]]), list(all[ends[1] :]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)
        return made(*(one for some in tensors for one in some))


def compiled(ours: Ours, examples: Tensors, threads: int, file: Path) -> str:
    """Compile the graph to a native library, written aside and then renamed; why it failed, or nothing."""
    with tempfile.TemporaryDirectory(dir=file.parent) as aside, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = Path(aside) / "part.so"
        options = {"aot_inductor.output_path": str(part), "cpp.threads": threads, **ours.options}
        try:
            torch._inductor.aot_compile(ours.graph, tuple(examples), options=options)
            torch._C._aoti.AOTIModelContainerRunnerCpu(str(part), 1)
            part.replace(file)
        except Exception as error:  # inductor's own, the compiler's, the linker's
            return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return ""


def fingerprint(ours: Ours, examples: Tensors, threads: int) -> str:
    """A digest of what the program computes, from which tensors, and what compiles and runs it."""
    forms = [(tuple(t.shape), t.stride(), str(t.dtype), str(t.device)) for t in examples]
    made = torch.__version__, torch.backends.cpu.get_cpu_capability(), native.processor(), ours.library
    digest = hashlib.blake2b(repr((ours.graph.code, forms, threads, STEPS, made)).encode(), digest_size=16)
    for name, value in sorted(ours.graph.named_buffers()):  # class weights, say
        digest.update(repr((name, tuple(value.shape), str(value.dtype))).encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tags(node: Any) -> Sequence[Any]:
    return getattr(node.target, "tags", ())


def _runs(first: list[Tensors], coming: Iterator[Tensors]) -> Iterator[list[Tensors]]:
    """Batches that are alike, STEPS at a time or fewer."""
    held = first
    for row in coming:
        if len(held) == STEPS or row[-1].shape != held[0][-1].shape:
            yield held
            held = []
        held.append(row)
    yield held
