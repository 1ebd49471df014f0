"""What TorchModel knows of PyTorch's own losses: what is measured beside each, and which targets
each takes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ...spec import Bound, Vector
from ..checks import check_range, check_shapes, settings

Loss = Callable[[Any, Tensor], Tensor]  # (outputs, targets) → mean over the batch
Metric = tuple[Callable[[Any, Tensor], Any], Bound]  # a function like a loss, and its bound


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of targets [n, …] that are the largest of outputs [n, classes, …]; a negative target
    does not count.
    """
    if outputs.ndim == targets.ndim:  # probabilities [n, classes, …]
        targets = targets.argmax(1)
    return (outputs.argmax(1) == targets).sum().double() / (targets >= 0).sum()


def _binary(threshold: float, outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs > threshold).reshape(targets.shape) == (targets > 0.5)).double().mean()


ACCURACY: dict[Any, Callable[[Any, Tensor], Any]] = {
    **dict.fromkeys((F.cross_entropy, F.nll_loss, nn.CrossEntropyLoss, nn.NLLLoss), accuracy),
    **dict.fromkeys(
        (F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss), partial(_binary, 0.0)
    ),
    **dict.fromkeys((F.binary_cross_entropy, nn.BCELoss), partial(_binary, 0.5)),
}
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
    for any other.
    """
    plain = loss.func if isinstance(loss, partial) else loss
    names = (*ACCURACY, *ELEMENTWISE)
    return next(
        (
            name
            for name in names
            if plain is name or (isinstance(name, type) and isinstance(loss, name))
        ),
        None,
    )


def fit(loss: Any, outputs: Any, y: Vector, who: str) -> None:
    """Raise DataError for targets that the loss cannot compare with such outputs."""
    name = known(loss)
    measure = ACCURACY.get(name)
    if not isinstance(outputs, Tensor):
        return
    if name in ELEMENTWISE:
        check_shapes(tuple(outputs.shape), y, who)
    if measure is accuracy and outputs.ndim == y.ndim + 1 and y.dtype.kind in "biu":
        check_range(y[y != settings(loss).get("ignore_index", -100)], outputs.shape[1], who)
    elif measure is not None and measure is not accuracy:
        check_range(y, 2, who)
