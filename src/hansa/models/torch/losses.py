"""What TorchModel knows of PyTorch's own losses: what is measured beside each, and which targets
each takes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...metrics import LOSS, RATE, Mean, Whole, check_joined, check_probabilities, metric
from ...spec import Bound, Vector
from ..checks import check_range, check_shapes, sees, settings, spell

Loss = Callable[[Any, Tensor], Tensor]  # (outputs, targets) → mean over the batch
IGNORED = -100  # the label that PyTorch leaves out where nobody names another


def logits(outputs: Any) -> Any:
    """What PyTorch's own losses take of a net's outputs: their `logits`, where they have such."""
    return getattr(outputs, "logits", outputs)


def accuracy(outputs: Any, targets: Tensor, ignored: int = IGNORED) -> tuple[Tensor, Tensor]:
    """How many targets [n, …] are the largest of outputs [n, classes, …], and of how many; a
    negative target, and the one that is `ignored`, does not count.
    """
    scores = logits(outputs)
    if scores.ndim == targets.ndim:  # probabilities [n, classes, …]
        targets = targets.argmax(1)
    counts = (targets >= 0) & (targets != ignored)
    right = (scores.argmax(1) == targets) & counts
    return right.sum(), counts.sum()


def _binary(threshold: float, outputs: Any, targets: Tensor) -> Tensor:
    """The share of outputs above the threshold whose target is 1, and others whose target is 0."""
    told = (logits(outputs) > threshold).reshape(targets.shape)
    right: Tensor = told == (targets > 0.5)
    return right.double().mean()


def _of_labels(loss: Any) -> Callable[[Any, Tensor], Any]:
    """The accuracy beside this loss, which leaves out the labels that the loss leaves out."""
    return partial(accuracy, ignored=settings(loss).get("ignore_index", IGNORED))


def _of_sign(loss: Any) -> Callable[[Any, Tensor], Any]:
    """Of logits: positive is 1."""
    return partial(_binary, 0.0)


def _of_half(loss: Any) -> Callable[[Any, Tensor], Any]:
    """Of probabilities: above one half is 1."""
    return partial(_binary, 0.5)


OF_LABELS = {F.cross_entropy, F.nll_loss, nn.CrossEntropyLoss, nn.NLLLoss}
# what PyTorch calls a loss → the accuracy beside such a loss
ACCURACY: dict[Any, Callable[[Any], Callable[[Any, Tensor], Any]]] = {
    **dict.fromkeys(OF_LABELS, _of_labels),
    **dict.fromkeys((F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss), _of_sign),
    **dict.fromkeys((F.binary_cross_entropy, nn.BCELoss), _of_half),
}
PROBABILITIES = {F.binary_cross_entropy, nn.BCELoss}  # these take no logits
# losses of a number against a number: targets are floating, and shaped as the outputs are
ELEMENTWISE = {
    F.binary_cross_entropy_with_logits,
    nn.BCEWithLogitsLoss,
    F.binary_cross_entropy,
    nn.BCELoss,
    F.mse_loss,
    nn.MSELoss,
    F.l1_loss,
    nn.L1Loss,
    F.smooth_l1_loss,
    nn.SmoothL1Loss,
    F.huber_loss,
    nn.HuberLoss,
}


# never negative, as nll_loss of a density can be
POSITIVE = {F.cross_entropy, nn.CrossEntropyLoss, *ELEMENTWISE}


def known(loss: Any) -> Any:
    """What PyTorch calls the loss: a function of torch.nn.functional or a class of torch.nn; None
    for any other, such as a subclass that computes something else, and for one that sees more.
    """
    if sees(loss):
        return None
    if isinstance(loss, partial):
        loss = loss.func
    names = (*ACCURACY, *ELEMENTWISE)
    return next((name for name in names if loss is name or _computes(loss, name)), None)


def _computes(loss: Any, name: Any) -> bool:
    """Is it a module of this class, with its forward?"""
    return isinstance(name, type) and getattr(type(loss), "forward", 0) is vars(name)["forward"]


def measured(name: Any, loss: Any, metrics: Mapping[str, Any] | None) -> dict[str, Whole]:
    """What is measured beside the loss: what the caller names, or else an accuracy. `name` is that
    of `known`; PlanError for ready metrics that would take probabilities for logits.
    """
    if metrics is None:
        metrics = {}
        if name in ACCURACY:
            metrics = {"accuracy": Mean(ACCURACY[name](loss), RATE)}
    found = {each: metric(one) for each, one in metrics.items()}
    if name in PROBABILITIES:
        check_probabilities(found, spell(loss))
    return found


def of_logits(loss: Any, outputs: Any, targets: Tensor) -> Any:
    """A loss of PyTorch's, of the logits."""
    return loss(logits(outputs), targets)


def copied(loss: Any, device: torch.device) -> Any:
    """A copy of a module on a device; any other loss as it is."""
    if not isinstance(loss, nn.Module):
        return loss
    return copy.deepcopy(loss).to(device)


def descended(name: Any, loss: Any) -> Any:
    """What a training descends: of a loss that PyTorch gives that of the logits. `name` is that of
    `known`.
    """
    if name is None:
        return loss
    return partial(of_logits, loss)


def as_metric(name: Any, loss: Any) -> Whole:
    """The loss as a metric: what it is on all examples at once. `name` is that of `known`.

    A mean over examples is measured in pieces, and all else on all outputs at once. The bound is
    LOSS where it is never negative.
    """
    bound: Bound = math.inf
    if name in POSITIVE:
        bound = LOSS
    if isinstance(loss, Whole):
        return loss
    if name is None:
        return Whole(loss, bound)
    if settings(loss).get("reduction", "mean") != "mean":
        return Whole(partial(of_logits, loss), bound)
    if name in OF_LABELS:
        return Mean(partial(_weighed, loss), bound)
    return Mean(partial(of_logits, loss), bound)


def _weighed(loss: Any, outputs: Any, targets: Tensor) -> tuple[Tensor, Any]:
    """(Σ w_y·ℓ, Σ w_y) over the labels that count: what PyTorch's weighted mean divides by.

    Of several pieces Σ w_y·ℓ and Σ w_y add up, where their means would not.
    """
    value = of_logits(loss, outputs, targets)
    if targets.is_floating_point():  # probabilities: a mean over rows
        return value * len(targets), len(targets)
    held = _held(loss)
    counts = targets[targets != held.get("ignore_index", IGNORED)]
    total = torch.tensor(counts.numel(), device=value.device)
    if held.get("weight") is not None:
        total = held["weight"][counts].sum()
    return torch.where(total > 0, value * total, 0.0), total


def _held(loss: Any) -> dict[str, Any]:
    """What a partial fixes, or the attributes and buffers of a module, as they are."""
    if isinstance(loss, partial):
        return dict(loss.keywords)
    if not hasattr(loss, "named_buffers"):
        return dict(vars(loss))
    return {**vars(loss), **dict(loss.named_buffers())}


def counted(metric: Whole, outputs: Any, targets: Tensor) -> bool:
    """Do any of these rows count?"""
    if not isinstance(metric, Mean):
        return True
    _, count = metric.parts(outputs, targets, len(targets))
    return bool(count > 0)


def undescendable(loss: Any) -> tuple[bool, str]:
    """Is this no number that a gradient can be taken of, and what is it?

    Said in words, for `check_descent`.
    """
    if not isinstance(loss, Tensor):
        return True, type(loss).__name__
    return bool(loss.ndim) or not loss.requires_grad, f"tensor of shape {tuple(loss.shape)}"


def mean(value: Any) -> Tensor:
    """What a metric gives, as one number in double precision."""
    return torch.as_tensor(value, dtype=torch.float64).mean()


def joined(pieces: Sequence[Any]) -> Any:
    """All rows of outputs that came in pieces: tensors, or tuples and mappings of such; a number of
    each piece becomes numbers [pieces], and of anything else it is the last.
    """
    first = pieces[0]
    if isinstance(first, Tensor):
        check_joined([tuple(piece.shape[1:]) for piece in pieces])
        return torch.cat(list(map(torch.atleast_1d, pieces)))
    if isinstance(first, Mapping):
        named = {name: joined([piece[name] for piece in pieces]) for name in first}
        return type(first)(**named)
    if isinstance(first, tuple | list):
        parts = [joined(column) for column in zip(*pieces, strict=True)]
        if hasattr(first, "_fields"):
            return type(first)(*parts)
        return type(first)(parts)
    return pieces[-1]


def fit(name: Any, loss: Any, outputs: Any, y: Vector, who: str) -> None:
    """Raise DataError for targets that the loss cannot compare with such outputs; `name` is that of
    `known`.

    Labels that the loss leaves out (ignore_index) may be any number.
    """
    outputs = logits(outputs)
    if not isinstance(outputs, Tensor):
        return
    if name in ELEMENTWISE:
        check_shapes(tuple(outputs.shape), y, who)
    if name in OF_LABELS and outputs.ndim == y.ndim + 1 and y.dtype.kind in "biu":
        check_range(y[y != settings(loss).get("ignore_index", -100)], outputs.shape[1], who)
    elif name in ACCURACY and name not in OF_LABELS:
        check_range(y, 2, who)
