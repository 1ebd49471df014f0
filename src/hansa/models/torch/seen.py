"""What a loss sees beside outputs and targets: features of the net in training, of the global one
and of the client's last one, and what an algorithm tells.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ...data.batches import Batch, relative, weighed
from ...errors import DataError, PlanError
from ...metrics import Whole
from ...spec import Vector
from .. import Told
from ..checks import FEATURES, GLOBAL, LAST_NET, TOLD
from .losses import Loss
from .tensors import Tensors

Weights = Mapping[str, Tensor]  # name → parameter or buffer
At = Callable[[Vector], Weights]  # the tensors of a net
Given = tuple[Any, dict[str, Any]]  # outputs of a net, and features by the names of a loss


class Tellings(dict[str, Tensor]):
    """What an algorithm tells, as tensors of float32; PlanError for what it has not told."""

    def __missing__(self, name: str) -> Tensor:
        raise PlanError(
            f"The loss asks for told[{name!r}], and the algorithm has told "
            f"{', '.join(self) or 'nothing'}.",
            "Nothing is told where a model is scored or checked, nor by an algorithm that has no "
            "Train(…, told=…).",
            f"Write told.get({name!r}), and let the loss do without where that is None.",
        )


@dataclass(frozen=True)
class Objective:
    """A loss of a net, with what it sees of other nets.

    own      the names by which the loss gets the features of the net itself
    others   names → the tensors of another net, whose features go by them
    """

    loss: Loss
    part: str = ""  # the module that gives the features
    own: tuple[str, ...] = ()
    others: tuple[tuple[tuple[str, ...], Weights], ...] = ()
    still: nn.Module | None = None  # the other nets, in eval mode
    told: Mapping[str, Any] = field(default_factory=dict)

    def __call__(
        self, net: nn.Module, inputs: Any, named: Any, y: Tensor, weights: Weights | None = None
    ) -> Tensor:
        """The loss of a batch; of the net with these weights, where they are given.

        inputs go by position and `named` by name, y are the targets [n, …].
        """
        if weights is None and not self.own and not self.others:  # the usual loss, at each step
            return self.loss(net(*inputs, **named), y, **self.told)
        return self.of(self.give(net, inputs, named, weights), y)

    def give(
        self, net: nn.Module, inputs: Any, named: Any, weights: Weights | None = None
    ) -> Given:
        """What the loss sees of a batch, but for the targets and for what is told."""
        part = ""
        if self.own:
            part = self.part
        outputs, found = passed(net, inputs, named, part, weights)
        seen = dict[str, Any].fromkeys(self.own, found)
        for names, tensors in self.others:
            assert self.still is not None
            with torch.no_grad():
                _, found = passed(self.still, inputs, named, self.part, tensors)
            seen |= dict.fromkeys(names, found)
        return outputs, seen

    def of(self, given: Given, y: Tensor) -> Tensor:
        """The loss of what it sees."""
        outputs, seen = given
        return self.loss(outputs, y, **seen, **self.told)

    def mean(self, net: nn.Module, tensors: Tensors, batch: Batch) -> Tensor:
        """The mean loss of a batch; Σ wᵢ lᵢ / Σ wᵢ where its examples have weights.

        DataError where examples have weights and the loss sees more than outputs in one tensor.
        """
        batch, weights = weighed(batch)
        inputs, named, y = tensors(batch)
        if (share := relative(weights)) is None:
            return self(net, inputs, named, y)
        outputs, _ = plain(self.give(net, inputs, named), slice(None))
        each = vmap(lambda z, y: self.loss(z[None], y[None]))(outputs, y)
        return (each * torch.as_tensor(share).to(each)).mean()

    def metrics(self, scored: Mapping[str, Whole]) -> dict[str, Whole]:
        """Metrics of outputs, the loss among them, as metrics of what the loss sees.

        They get (outputs, features by name) in place of outputs, and the loss what is told as well.
        """
        found = dict[str, Whole]()
        for name, one in scored.items():
            found[name] = replace(one, function=partial(_of, one.function))
        seeing = partial(_of_all, scored["loss"].function, self.told)
        return {**found, "loss": replace(scored["loss"], function=seeing)}


def plain(given: Given, rows: Any) -> Given:
    """Some rows of what a loss sees; DataError where that is more than one tensor."""
    outputs, seen = given
    if isinstance(outputs, Tensor) and not seen:
        return outputs[rows], {}
    raise DataError(
        "Examples have weights, and the loss sees more than outputs in one tensor.",
        "Each example's own loss is computed from its row of them.",
        "Leave the weights out, or let the net give one tensor.",
    )


def _of(function: Any, given: Given, y: Tensor) -> Any:
    """A metric of the outputs among what the loss sees."""
    return function(given[0], y)


def _of_all(function: Any, told: Mapping[str, Any], given: Given, y: Tensor) -> Any:
    """The loss of all that it sees."""
    outputs, seen = given
    return function(outputs, y, **seen, **told)


def passed(
    net: nn.Module, inputs: Any, named: Any, part: str = "", weights: Weights | None = None
) -> tuple[Any, Tensor | None]:
    """Outputs of a net, and the features that its part gives meanwhile, [n, width].

    PlanError where that is no tensor with a row for each example, once in a pass.
    """
    if not part:
        return _outputs(net, inputs, named, weights), None
    with _watched(net.get_submodule(part)) as found:
        outputs = _outputs(net, inputs, named, weights)
    n = len(next(iter((*inputs, *named.values()))))
    return outputs, _rows(found, n, part)


def _outputs(net: nn.Module, inputs: Any, named: Any, weights: Weights | None) -> Any:
    """What a net gives; with these weights in the place of its own, where they are given."""
    if weights is None:
        return net(*inputs, **named)
    return functional_call(net, dict(weights), tuple(inputs), named)


def _rows(found: list[Any], n: int, part: str) -> Tensor:
    """The one output of a part, laid out flat for each of n examples; else PlanError."""
    shapes = [tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__ for one in found]
    if len(found) == 1 and shapes[0][:1] == (n,):
        rows: Tensor = found[0].reshape(n, -1)
        return rows
    raise PlanError(
        f"In one pass of {n} examples the module {part!r} gives "
        f"{', '.join(map(str, shapes)) or 'nothing'}.",
        "Features are one tensor with a row for each example.",
        "Name another module: TorchModel(…, features=…).",
    )


@contextmanager
def _watched(part: nn.Module) -> Iterator[list[Any]]:
    """What the part of a net gives, each time that it computes.

    A copy, where the next module may write over it. The hook is taken away behind the pass.
    """
    found = list[Any]()

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            output = output.clone()  # for the next module may write over it
        found.append(output)

    hook = part.register_forward_hook(note)
    try:
        yield found
    finally:
        hook.remove()


class Sight:
    """What a loss has names for, and where it is found: the part whose output are the features, and
    a second net for the others.

    The other nets compute in eval mode, without gradient, on tensors of their own (as in MOON's
    code, Li et al. 2021), so running statistics stay as the training has them.
    """

    def __init__(self, net: nn.Module, loss: Loss, part: str | None, names: tuple[str, ...]):
        self.names = names
        self._device = next(net.parameters()).device
        still = None
        if GLOBAL in names or LAST_NET in names:
            shared = {id(p): p for p in net.parameters()}  # so that none are held twice
            still = copy.deepcopy(net, shared).eval()
        self.plain = Objective(loss, part or "", still=still)

    def objective(
        self, at: At, last: Vector | None, centre: Vector | None = None, told: Told | None = None
    ) -> Objective:
        """The loss with all that it sees; `at` gives the tensors of a net.

        last: the client's last net; none yet: the global one. centre: the global net; none: the
        one that computes, as where a model is scored.
        """
        if last is None:
            last = centre
        whole = {FEATURES: None, GLOBAL: centre, LAST_NET: last}
        seen = {name: v for name, v in whole.items() if name in self.names}
        own = tuple(name for name, v in seen.items() if v is None)
        others = []
        for one in {id(v): v for v in seen.values() if v is not None}.values():
            names = tuple(name for name, v in seen.items() if v is one)
            others.append((names, at(one)))
        more = {}
        if TOLD in self.names:
            more = {TOLD: self._tellings(told or {})}
        return replace(self.plain, own=own, others=tuple(others), told=more)

    def check(self, at: At, x: Vector, net: nn.Module, inputs: Any, named: Any) -> None:
        """Raise PlanError where a net on tensors of its own gives other features than a net into
        which they are loaded; `at` loads them into `net`, which comes and goes at x.
        """
        if self.plain.still is None:
            return
        tensors = at(x / 2)
        _, loaded = passed(net, inputs, named, self.plain.part)
        at(x)
        _, apart = passed(self.plain.still, inputs, named, self.plain.part, tensors)
        assert loaded is not None and apart is not None
        if not torch.allclose(loaded, apart, 1e-3, 1e-5, equal_nan=True):
            raise PlanError(
                f"{type(net).__name__} reads weights that PyTorch does not see, such as a list's.",
                "The global net and the client's last one are computed by functional_call, which "
                "puts their tensors in the place of the parameters.",
                "Let its forward read each weight from its module.",
            )

    def _tellings(self, told: Told) -> Tellings:
        """What is told, where the net is."""
        arrays = {name: torch.from_numpy(np.array(v, np.float32)) for name, v in told.items()}
        return Tellings({name: array.to(self._device) for name, array in arrays.items()})
