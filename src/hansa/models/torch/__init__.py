"""PyTorch: any module and any loss, trained through one flat tensor that all its parameters are
views of.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Literal

import numpy as np

from ...data.batches import Batch, pieces, target, weighed
from ...data.blocks import ordered
from ...data.examples import Examples
from ...data.inputs import LABELS, NUMBERS
from ...errors import PlanError, refuse
from ...metrics import bounds, check_ready, check_weights, undefined
from ...rand import Key
from ...spec import Vector
from ...training import Training
from .. import check_told
from ..checks import (
    LAST_NET,
    TOLD,
    check_choices,
    check_descent,
    check_finite,
    check_length,
    condensed,
    fingerprint,
    passing,
    sees,
    shaken,
    shortened,
    spell,
    spelled,
)

try:
    import torch
    from torch import Tensor, nn
except ModuleNotFoundError as missing:
    raise PlanError(
        "PyTorch is not installed.",
        "TorchModel trains with it.",
        "Install it: pip install 'hansa[torch]'.",
    ) from missing

from ..dense import Program
from ..parts import moves, moving, paced, spread, still
from ..values import LAST, NO_LOCAL, NO_TOLD, Drift, Local, Takes, Told, Train, TrainResult, Traits
from . import checks
from .cohort import ClientBatch, ClientJob, device_of, placed, width
from .dense import dense
from .flat import FlatNet
from .losses import (
    ELEMENTWISE,
    Loss,
    as_metric,
    copied,
    counted,
    descended,
    fit,
    known,
    measured,
    undescendable,
)
from .losses import accuracy as accuracy
from .private import Clipped
from .scores import check_alone, predicted, represented, scored
from .seen import Objective, Sight, plain
from .steps import Step, clipping, correction, reaching, stepper
from .tensors import Tensors

CHECKED = 32  # rows that go through the net at once, to check it

log = logging.getLogger("hansa")


class TorchModel(FlatNet):
    """Any module and any mean loss; the federation starts from the weights that the module has when
    it is given.

        g ← clip(∂loss/∂y) + pull·(y − x₀) + shift    each batch, over the trainable part alone
        sgd       y ← y − η (g + λy)
        momentum  m ← βm + g + λy,  y ← y − ηm        β = MOMENTUM
        rmsprop   v ← αv + (1 − α)g²,  y ← y − η g/(√v + ε),  g with λy   (Tieleman and Hinton 2012)
        adam      Adam with g + λy   (Kingma and Ba 2015, Alg. 1)
        adamw     λ apart from g     (Loshchilov and Hutter 2019, Alg. 2)

    η is the learning rate, λ the weight decay, clip that of `Training`; α = RHO, ε = TINY as in
    PyTorch. m, v and Adam's moments start at 0 in each training. A parameter that the loss of a
    step does not reach has no gradient, and is passed by, decay and moments included, as PyTorch
    does; a drift is a gradient of all.

    The vector x is [trainable parameters, buffers that travel]. Parameters with requires_grad=False
    stay as they are: of a PEFT model the adapter alone travels. Losses and metrics of one's own get
    what the net gives; PyTorch's losses, and hansa's metrics, get the `logits` of outputs that have
    such, as Hugging Face's do.

    `buffers`: "average" sends the running statistics along, that is, floating-point buffers of the
    state_dict that start finite; all others start each training as in `net`. "local" sends none:
    each client keeps its own (Li et al. 2021, "FedBN"; Andreux et al. 2020), and `score` outside of
    a client has those of `net`. Attributes of layers, such as counters, start as in `net` as well.

    `metrics`: name → a metric of hansa.metrics, or (function, bound), besides the loss. Where it is
    not given there is an accuracy for cross_entropy, nll_loss and
    binary_cross_entropy(_with_logits), and for their modules; else the loss alone. The score of a
    loss is what it is on all examples at once; a loss that PyTorch gives, or a metrics.Mean, is
    measured in pieces.

    `device`: "cpu", "cuda" or "cuda:1"; None is torch.get_default_device(), the CPU if nobody says
    otherwise.

    Equal bytes: dropout and shuffling loaders draw from torch's generator, seeded here by the key
    and given back as it was. A matrix product depends in its last bits on how many threads share
    it, so a training has `threads` of its own, whatever the process has; more are faster for large
    nets. Batches lie at multiples of 16 bytes, since MKL rounds others differently. On CUDA equal
    bytes need torch.use_deterministic_algorithms(True) as well.

    `compile`: a dense net trains in one call of a native program, which agrees with PyTorch up to
    rounding: Linear layers, all trained, with ReLU, Tanh or Sigmoid between them and skips around
    them (x + f(x)); cross_entropy, binary_cross_entropy_with_logits, mse_loss, l1_loss or
    smooth_l1_loss without settings; arrays, on a CPU, one thread, no PerExample,
    clip, rates or rmsprop. The machine's C++ compiler makes it once, in seconds; where there is
    none, PyTorch trains, and the log "hansa" says so. Any other net is PyTorch's.

    `cohort`: so many clients of a round train as one batch, each with dropout of its own key; its
    bytes are the same in any company, and alone it takes as long as all. None: many on CUDA, one on
    a CPU. It takes arrays, a net without buffers, and layers that vmap knows.

    `features`: the name of a module, whose output [n, …] is the features [n, width] of n examples.
    A loss that has names for more gets more, each [n, width]:

        loss(outputs, targets, features, global_features, last_features, told)

    features          of the net in training, with gradient
    global_features   of the net at the drift's centre, or where the training starts
    last_features     of the net that this client's last training ended with; in its first, the
                      global one. The client remembers it, in float32
    told              name → tensor of float32: what the algorithm tells, Train(…, told=…)

    So MOON is a loss beside FedAvg (Li et al. 2021, eq. 3). The other nets are in eval mode, as in
    its code. `score` is a training's beginning: global_features are those of x, and so are
    last_features where `local` has no last net; nothing is told. Such clients train one by one.

    `net` is copied, once for all clients: the caller's own module changes only in `load`. A plan's
    digest covers the architecture, the code and the attributes of layers, loss and metrics, the
    frozen parameters and the buffers that do not travel, not the first weights and not how it
    computes.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: Loss,
        buffers: Literal["average", "local"] = "average",
        device: str | None = "cpu",
        metrics: Mapping[str, Any] | None = None,
        threads: int = 1,
        compile: bool = True,
        cohort: int | None = None,
        features: str | None = None,
    ):
        rest = chain(check_choices(buffers, metrics, threads), checks.check_speed(compile, cohort))
        of_loss = chain(checks.check_loss(loss), checks.check_features(net, loss, features))
        refuse(chain(checks.check_net(net), of_loss, rest))
        self.net = net
        self.loss = loss
        self.buffers = buffers
        self.threads = threads
        self.device = device_of(device)
        self.compile = compile
        names = sees(loss)
        self.takes = Takes(private=True, only=True, clip=True, rates=True, told=TOLD in names)
        self._known = known(loss)
        self._measured = measured(self._known, loss, metrics)
        self.undefined = undefined(self._measured)
        targets = NUMBERS if self._known in ELEMENTWISE else LABELS
        self._tensors = Tensors(targets, self.device)
        own = copied(loss, self.device)
        self._loss = descended(self._known, own)
        self._scored = {"loss": as_metric(self._known, own), **self._measured}
        self.metrics = bounds(self._scored)
        frozen = (p.detach().cpu().reshape(-1) for p in net.parameters() if not p.requires_grad)
        self._frozen = fingerprint(p.view(torch.uint8).numpy() for p in frozen)
        self._dense: Program | None = None
        alone = self.device.type == "cpu" and threads == 1
        if compile and alone and (layers := dense(net, loss)):
            self._dense = Program(layers)
        own_code = self._known is None
        draws = checks.draws(net, metrics or {}, self._dense is not None, loss, own_code)
        back = LAST_NET in names
        self.traits = Traits(remembers=back, looks_back=back, draws=draws)
        self._flatten(placed(net, self.device))
        self._part = features
        self._sight = Sight(self._net, self._loss, features, names)
        self._cohort = cohort
        self.cohort = cohort or width(self.trainable, self.device)
        if self._first or names:  # such clients train one by one
            self.cohort = 1
        self._lanes: ClientBatch | None = None
        if self.cohort > 1:
            self._lanes = ClientBatch(self._net, self._loss, self.cohort, targets)

    def __reduce__(self) -> tuple[Any, ...]:
        """A new model from the weights of the start: views do not survive being sent elsewhere."""
        with self._at(self._start, 0):
            net = copy.deepcopy(self._net).cpu()
        how = str(self.device), self._measured, self.threads, self.compile, self._cohort, self._part
        return type(self), (net, self.loss, self.buffers, *how)

    def __repr__(self) -> str:
        net = condensed(str(self._net))
        loss = spell(self.loss)
        tensors = [*self._net.named_parameters(), *self._first.items()]
        shapes = [(name, tuple(t.shape), str(t.dtype), t.requires_grad) for name, t in tensors]
        metrics = spelled(self._measured)
        facts = net, loss, shapes, metrics, self._frozen, self._part
        digest = fingerprint([repr(facts).encode()])
        shown = [shortened(net, " …)"), f"loss={loss}", f"buffers={self.buffers!r}"]
        if metrics:
            shown.append(f"metrics={', '.join(self._measured)}")
        if self._part is not None:
            shown.append(f"features={self._part!r}")
        return f"TorchModel({', '.join(shown)}, {self.size} numbers, {digest})"

    def fingerprint(self) -> tuple[Any, ...]:
        """What a plan's digest covers: the repr, attributes and code of layers, loss and metrics,
        and what stays.
        """
        buffers = dict(self.net.named_buffers()) | self._first
        staying = {name: b for name, b in buffers.items() if name not in self._carried}
        code = checks.code_of(self.net), checks.code_of(self.loss), self._measured
        return repr(self), *code, staying

    def plan(self, training: Training) -> None:
        """With PerExample, no layer that mixes the examples of a batch."""
        super().plan(training)
        if training.private is not None:
            checks.check_mixing(self._net)
            checks.check_weighted(self._known, self.loss)

    # ── training ──

    def train(
        self,
        x: Vector,
        data: Examples,
        training: Training,
        drift: Drift,
        key: Key,
        local: Local = NO_LOCAL,
        told: Told = NO_TOLD,
    ) -> TrainResult:
        """Train from x, with the local optimizer that `training` names."""
        check_told(self, told)
        if self._lanes and not training.private and data.plain:
            return self._side_by_side([Train(x, data, training, drift, key)])[0]
        if (result := self._natively(x, data, training, drift, key)) is not None:
            return result
        with self._at(x, key.seed(), local), torch.enable_grad():
            self._net.training or self._net.train()
            objective = self._objective(x, drift.about(x), local, told)
            try:
                steps, total = self._stepped(objective, x, data, training, drift, key)
            except (IndexError, ValueError) as error:
                checks.explain(error)
                raise
            own = self._staying()
            end = self._vector()
            if self.traits.looks_back and math.isfinite(total) and np.isfinite(end).all():
                own[LAST] = end.astype(np.float32)
            return TrainResult(end, steps, total / steps, own)

    def _objective(
        self, x: Vector, centre: Vector | None, local: Local, told: Told = NO_TOLD
    ) -> Objective:
        """The loss with what it sees, of the net at x, which is left there; centre: the global
        net, or None for this one.
        """
        if not self._sight.names:
            return self._sight.plain
        at = partial(self._apart, local=local)
        objective = self._sight.objective(at, local.get(LAST), centre, told)
        self._load(x, local)
        return objective

    def _stepped(
        self,
        objective: Objective,
        x: Vector,
        data: Examples,
        training: Training,
        drift: Drift,
        key: Key,
    ) -> tuple[int, float]:
        """Train step by step; how many steps, and the sum of their losses."""
        how = self._step(x, training, drift)
        correct = correction(self._flat, how)
        steps = 0
        gradient: Callable[[Batch], Tensor] = partial(self._mean, objective)
        if training.private is not None:
            how_clipped = objective, self._tensors, training, data, key, moves(self, training)
            clipped = Clipped(self._net, *how_clipped)
            gradient = partial(clipped.add, total=self._grad)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        with reaching(self._weights, training, correct is not None) as reach:
            step = stepper(self._flat, training, how, reach)
            for batch in data.batches(training, key):
                self._grad.zero_()
                total += gradient(batch)
                if how.clip is not None:
                    self._grad.mul_(clipping(self._grad, how.clip, how.moves))
                if correct is not None:
                    correct()
                step()
                steps += 1
        return steps, float(total)

    def _natively(
        self, x: Vector, data: Examples, training: Training, drift: Drift, key: Key
    ) -> TrainResult | None:
        """Train a dense net in one call; None for any other, and where PyTorch must."""
        if self._dense is None or training.private or (whole := data.arrays) is None:
            return None
        check_length(np.shape(x), self)
        fixed = [place.start for place in still(self, training)]
        return self._dense.train(x, whole, training, drift, key, fixed)

    def train_all(self, asks: Sequence[Train]) -> list[TrainResult]:
        """Train many clients, as many at once as `cohort` says; each ends with the bytes that it
        has alone.
        """
        private = any(one.training.private for one in asks)
        if not self._lanes or private or not all(one.data.plain for one in asks):
            return super().train_all(asks)
        tops = range(0, len(asks), self.cohort)
        return [one for i in tops for one in self._side_by_side(asks[i : i + self.cohort])]

    def _side_by_side(self, asks: Sequence[Train]) -> list[TrainResult]:
        """At most `cohort` clients, as one batch."""
        assert self._lanes
        with self._at(self._start, 0), torch.inference_mode(False), torch.enable_grad():
            # mostly one x for all
            here = {i: self._here(x) for i, x in {id(one.x): one.x for one in asks}.items()}
            lanes = [self._lane(here[id(one.x)], one) for one in asks]
            try:
                with checks.vmapped(), checks.undrawn(self.traits.draws):
                    found = self._lanes.train(lanes)
            except PlanError as error:
                if self._cohort:
                    raise
                log.warning("Clients train one by one: %s", error.found)
                self.cohort = 1
                self._lanes = None
                return super().train_all(asks)
        return [TrainResult(y.numpy(), steps, total / steps) for y, steps, total in found]

    def _lane(self, start: Tensor, ask: Train) -> ClientJob:
        """One client among many: where it starts, its rows, and its draws."""
        assert ask.data.arrays is not None
        whole, _ = weighed(ask.data.arrays)
        rows = ordered(ask.data, ask.training, ask.key)
        step = self._step(ask.x, ask.training, ask.drift)
        draws = math.prod(ask.training.counts(len(ask.data)))
        return ClientJob(start, whole, rows, draws, step, ask.key.seed())

    def _step(self, x: Vector, training: Training, drift: Drift) -> Step:
        """How a step of this training moves, with its vectors where the net is."""
        centre, pulls, shift = (v if v is None else self._here(v) for v in drift.vectors(x))
        pull: float | Tensor = drift.alike
        if pulls is not None:
            pull = pulls
        eta = training.learning_rate
        shares = None
        if training.rates:
            eta, each = paced(self, training)
            shares = self._here(spread(self, each))
        moved = moving(self, training)
        on = None
        if moved is not None:
            on = torch.from_numpy(moved).to(self.device)
        rates = eta, training.weight_decay
        return Step(training.optimizer, *rates, pull, centre, shift, on, training.clip, shares)

    def _mean(self, objective: Objective, batch: Batch) -> Tensor:
        """The loss of a batch; its gradient is added to the flat one."""
        loss = objective.mean(self._net, self._tensors, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    # ── scoring ──

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """The loss and the other metrics of all examples, with the net in eval mode."""
        with self._evaluated(x, local):
            objective = self._objective(x, None, local)
            return scored(self._net, objective, self._scored, self._tensors, data)

    def predict(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> Any:
        """What the net gives for each example [n, …], in eval mode."""
        with self._evaluated(x, local):
            return predicted(self._net, self._tensors, data)

    def features_of(
        self, x: Vector, data: Examples, local: Local = NO_LOCAL
    ) -> tuple[Vector, Vector]:
        """The features of all examples [n, width], with the net in eval mode, and their targets;
        PlanError where no module is named.
        """
        if self._part is None:
            return super().features_of(x, data, local)
        with self._evaluated(x, local):
            return represented(self._net, self._part, self._tensors, data)

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """Send the first rows through net and loss, as they would be scored, and compare labels
        with outputs; with PerExample or weights see that the loss is a mean over examples.
        """
        with self._at(self._start, 0), torch.enable_grad():
            self._net.eval()
            whole, weights = weighed(next(iter(data.whole())))
            few = next(pieces(whole, CHECKED))
            with passing(few, who):
                inputs, named, y = self._tensors(few)
                objective = self._objective(self._start, None, NO_LOCAL)
                given = objective.give(self._net, inputs, named)
                fit(self._known, self.loss, given[0], target(whole), who)
                check_ready(self._measured, given[0], y)
                loss = objective.of(given, y)
            at = partial(self._apart, local=NO_LOCAL)
            self._sight.check(at, self._start, self._net, inputs, named)
            check_descent(*undescendable(loss))
            finite = bool(loss.isfinite())
            if not finite and counted(objective.metrics(self._scored)["loss"], given, y):
                check_finite(loss.item(), len(y), who)
            if weighs := check_weights(self._scored, weights):
                plain(given, slice(None))
            if (weighs or (training and training.private)) and self._known not in ELEMENTWISE:
                check_alone(self._net, objective, self._tensors, whole, who)
                self._load(shaken(self._start, self.trainable), NO_LOCAL)
                check_alone(self._net, objective, self._tensors, whole, who, near=True)
            checks.check_last(self._net, self._tensors, data, who, training)
