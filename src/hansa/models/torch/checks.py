"""What TorchModel refuses: a net, a loss or an argument that could not train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import nn

from ...data import Examples
from ...data.batches import pick, weighed
from ...errors import DataError, Fault, PlanError
from ...known import named
from ...metrics import metric
from ...rand import Key, seeded, shared
from ...training import Training
from ..checks import TOLD, code, condensed, sees, settings
from .losses import OF_LABELS

MODULE = {*vars(nn.Module())}  # what every module has: parameters, hooks, whether it trains
PLAIN = (bool, int, float, complex, str)
PARTS = (tuple, list, dict, torch.Tensor)  # with an underscore, they may be caches


def code_of(part: Any) -> list[Any]:
    """What a digest covers of a module beside its repr, layer by layer; of a loss that is none,
    itself.
    """
    if not hasattr(part, "modules"):
        return [part]
    return [_held(layer) for layer in part.modules()]


def _held(layer: nn.Module) -> tuple[Any, ...]:
    """Its class and code, its attributes, which a repr need not show, and its hooks.

    Of attributes those of plain types, and arrays and containers that are no caches; weights are
    told elsewhere.
    """
    own = {name: one for name, one in vars(layer).items() if name not in MODULE}
    values: dict[str, Any] = {name: one for name, one in own.items() if isinstance(one, PLAIN)}
    values |= {name: one for name, one in own.items() if isinstance(one, PARTS) and name[0] != "_"}
    hooks = [*layer._forward_pre_hooks.values(), *layer._forward_hooks.values()]
    return code(layer), values, hooks


def draws(net: nn.Module, metrics: Mapping[str, Any], dense: bool, loss: Any, own: bool) -> bool:
    """May code of these layers, metrics or of the caller's own loss draw? Of a dense net it is seen
    not to.

    True where nothing is known: then the generators are seeded for each training, which costs a
    little time and nothing else.
    """
    functions = [metric(one).function for one in metrics.values()]
    if own:
        functions.append(loss)
    if dense and not functions:
        return False
    plain = all(_plain(layer) for layer in net.modules())
    return not plain or not all(map(_library, functions))


def _library(function: Any) -> bool:
    """Is it a function of a library, or an object of such a class?"""
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, FunctionType | BuiltinFunctionType):
        return named(function)
    return named(type(function))


def _plain(layer: nn.Module) -> bool:
    """Is it PyTorch's own layer, and nothing added to it?"""
    added = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
    return not added and type(layer).__module__.startswith("torch.") and named(type(layer))


def check_net(net: Any) -> Iterator[Fault]:
    """Of a torch module; each only looked at where those before it are right.

    Faults for a class in place of a net, for Keras layers, for lazy, missing or half-precision
    parameters, for optimizers that layers hold, and for tied weights that are two parameters.
    """
    name = getattr(net, "__name__", type(net).__name__)
    why = "TorchModel takes a network, with its first weights."
    yield (
        isinstance(net, type),
        f"The net is the class {name}.",
        why,
        f"Make one: TorchModel({name}(…), …).",
    )
    yield (
        not hasattr(net, "named_parameters"),
        f"The net is a {name}, no nn.Module.",
        why,
        "Write nn.Linear(30, 2), say.",
    )
    foreign = any(type(part).__module__.split(".")[0] == "keras" for part in net.modules())
    why = (
        "Its layers keep their weights beside what PyTorch sees, so gradients of single examples "
        "would be lost."
    )
    yield (
        foreign,
        f"{name} is made of Keras layers.",
        why,
        "Write KerasModel(model), with its loss from compile().",
    )
    yield from _check_parameters(net, name)
    yield from _check_optimizers(net)


def _check_parameters(net: nn.Module, name: str) -> Iterator[Fault]:
    """Of a net's parameters: they have shapes, some are trained, those are of float32, and each
    lies in memory of its own.
    """
    lazy = any(
        type(part).__name__.startswith("Uninitialized")
        for part in (*net.parameters(), *net.buffers())
    )
    yield (
        lazy,
        f"{name} has parameters without a shape.",
        "The vector needs its length.",
        "Call net(x) with a batch first.",
    )
    weights = {part: p for part, p in net.named_parameters() if p.requires_grad}
    why = "Clients train the parameters with requires_grad=True."
    yield (
        not weights,
        f"{name} has no trainable parameter.",
        why,
        "Unfreeze some: net.requires_grad_(True).",
    )
    other = [
        f"{part} ({p.dtype})" for part, p in weights.items() if str(p.dtype) != "torch.float32"
    ]
    why = "All trainable parameters are views of one tensor of float32."
    yield (
        bool(other),
        f"{name} has {', '.join(other[:3])}.",
        why,
        "Write net.float(), or freeze these parameters.",
    )
    places = [p.data_ptr() for p in weights.values() if p.numel() and p.data_ptr()]
    why = "Tied weights must be one parameter with two names, or training takes them apart."
    yield (
        len(set(places)) < len(places),
        f"Two parameters of {name} share memory.",
        why,
        "Write a.weight = b.weight.",
    )


def _check_optimizers(net: nn.Module) -> Iterator[Fault]:
    """Of optimizers that layers hold."""
    found = [
        ".".join(filter(None, (part, held)))
        for part, layer in net.named_modules()
        for held, one in vars(layer).items()
        if isinstance(one, torch.optim.Optimizer)
    ]
    yield (
        bool(found),
        f"{', '.join(found[:3])} is an optimizer of the net's own.",
        "What it remembers would pass from the training of one client to that of the next.",
        "Leave it out, and write Training(optimizer=…).",
    )


def check_loss(loss: Any) -> Iterator[Fault]:
    """Of what is called with outputs and targets.

    Faults for a class in place of a loss, for what cannot be called, for parameters of its own, and
    for a reduction that is no mean.
    """
    name = getattr(loss, "__name__", type(loss).__name__)
    why = "The loss is called with outputs and targets."
    yield (
        isinstance(loss, type),
        f"The loss is the class {name}.",
        why,
        f"Make one: TorchModel(net, {name}()).",
    )
    yield (
        not callable(loss),
        f"The loss is {loss!r}.",
        why,
        "Write for example torch.nn.functional.cross_entropy.",
    )
    learns = hasattr(loss, "parameters") and any(p.requires_grad for p in loss.parameters())
    yield (
        learns,
        f"The loss {name} has parameters.",
        "Only those of the net are trained.",
        "Make them part of the net.",
    )
    reduction = settings(loss).get("reduction", "mean")
    why = "A step must not depend on how many examples a batch has."
    yield (
        reduction != "mean",
        f"The loss has reduction={reduction!r}.",
        why,
        "Write reduction='mean', or leave it out.",
    )


def check_features(net: Any, loss: Any, part: Any) -> Iterator[Fault]:
    """Of the module whose output are the features, and a loss that looks at them.

    Faults for a name that is no module's, and for a loss that asks for features where no module is
    named.
    """
    names = [name for name, _ in net.named_modules() if name]
    listed = ", ".join(names) or "none"
    why = "Features are what one module of the net gives for each example."
    yield (
        part is not None and part not in names,
        f"features={part!r} names no module of {type(net).__name__}.",
        why,
        f"Its modules are {listed}.",
    )
    looks = [name for name in sees(loss) if name != TOLD]
    yield (
        bool(looks) and part is None,
        f"The loss takes {', '.join(looks)}, and no module is named.",
        why,
        f"Write TorchModel(…, features=…); the modules are {listed}.",
    )


def check_speed(compile: Any, cohort: Any) -> Iterator[Fault]:
    """Of TorchModel's arguments on how it computes."""
    bad = cohort is not None and (not isinstance(cohort, int) or cohort < 1)
    yield (
        bad,
        f"cohort={cohort!r}.",
        "So many clients train as one batch.",
        "Write cohort=50, or None.",
    )
    why = "Dense nets train by hansa's own compiled program, or by PyTorch as others do."
    yield (
        not isinstance(compile, bool),
        f"compile={compile!r}.",
        why,
        "Write compile=True or compile=False.",
    )


def check_weighted(name: Any, loss: Any) -> None:
    """Raise PlanError for a weighted mean, of which the gradient of one example says nothing."""
    if name in OF_LABELS and settings(loss).get("weight") is not None:
        raise PlanError(
            f"PerExample cannot train with {getattr(loss, '__name__', type(loss).__name__)} and "
            "class weights.",
            "PyTorch divides by the sum of weights; for one example its weight cancels, so weights "
            "would do nothing.",
            "Write a mean over examples: lambda outputs, y: (w[y] * cross_entropy(outputs, y, "
            "reduction='none')).mean().",
        )


def check_mixing(net: Any) -> None:
    """Raise PlanError where a torch module normalises by batch, or keeps statistics of the
    examples.

    Layers that see one example alone pass: LayerNorm, GroupNorm, and InstanceNorm without running
    statistics.
    """
    for name, part in net.named_modules():
        kinds = {kind.__name__ for kind in type(part).__mro__}
        if "_BatchNorm" in kinds or ("_NormBase" in kinds and part.track_running_stats):
            raise PlanError(
                f"Noise for single examples cannot train {type(part).__name__} (the layer "
                f"{name or 'itself'}).",
                "It mixes the examples of a batch, so that none has a gradient of its own to clip; "
                "and the running "
                "statistics that it says carry no noise.",
                "Write nn.GroupNorm, nn.LayerNorm, or InstanceNorm without running statistics.",
            )


@contextmanager
def vmapped() -> Iterator[None]:
    """Say what to do where the gradients of single examples, or of many clients, cannot be taken at
    once.

    An error that tells of the data is left to `explain`; of others that PyTorch raises the words go
    along.
    """
    try:
        yield
    except (IndexError, ValueError) as error:
        explain(error)
        raise
    except RuntimeError as error:
        explain(error)
        raise PlanError(
            "The gradients of single examples or clients cannot be taken: "
            f"{condensed(str(error))[:300]}",
            "PyTorch's vmap sends many through net and loss at once, each as if it were alone.",
            "Keep .item(), branches on values and writes into buffers out of net and loss; of the "
            "recurrent layers it "
            "takes nn.LSTM, not nn.RNN or nn.GRU.",
        ) from error


@contextmanager
def undrawn(draws: bool) -> Iterator[None]:
    """Raise PlanError where many clients have had one draw; `draws` says whether any could.

    Looked at are the global generators of numpy.random and random, before and behind; PyTorch's own
    is vmap's business.
    """
    if not draws:
        yield
        return
    with seeded(Key.of(0)):
        before = shared()
        yield
        if shared() != before:
            raise PlanError(
                "The net or its loss draws from numpy.random or random.",
                "Many clients go through it at once, and all would have the same draw.",
                "Write nn.Dropout, which has draws of each client's own; or cohort=1.",
            )


def check_counting(wrong: bool) -> None:
    """Raise PlanError for a net that many clients would change together."""
    if wrong:
        raise PlanError(
            "The net changes attributes of its layers while it computes.",
            "Many clients go through it at once, and each has to find them as they were first.",
            "Write cohort=1, or leave the attributes alone.",
        )


def check_moving(wrong: bool, net: Any) -> None:
    """Raise PlanError for a net whose parameters have left the tensor that they were views of."""
    if wrong:
        raise PlanError(
            f"{type(net).__name__} moves its parameters or gradients while it computes.",
            "They are views of one tensor, and what is moved away is trained no more.",
            "Leave calls such as flatten_parameters(), zero_grad() or weight.data = … out of its "
            "forward.",
        )


def uncopied(net: Any, error: Exception) -> PlanError:
    """What a net that cannot be copied is told."""
    return PlanError(
        f"{type(net).__name__} cannot be copied: {condensed(str(error))[:200]}",
        "The federation trains a copy, so that the caller's module stays as it is.",
        "Use torch.nn.utils.parametrizations in place of the older weight_norm, and keep no "
        "results in the module.",
    )


LAST = (
    "Write Training(last='merge'), which adds it to the batch before, or last='drop'; for a client "
    "with one example use GroupNorm, or leave it out."
)


@contextmanager
def alone(who: str) -> Iterator[None]:
    """Say whose example does not go alone through a net in training, as DataError."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise DataError(
            f"{who}'s examples leave a batch of a single one, which comes to a normalisation "
            "layer.",
            "BatchNorm needs two examples at least to tell their variance.",
            LAST,
        ) from error


def check_last(
    net: nn.Module, tensors: Any, data: Examples, who: str, training: Training | None
) -> None:
    """Raise DataError where a training would come to a batch of one that the net does not take.

    Only where some batch of this training has one example: a row is put through the net in
    training, and what it raises is told as DataError.
    """
    if training is None or training.private is not None:
        return
    if 1 in data.sizes(training)[: training.steps]:
        whole, _ = weighed(next(iter(data.whole())))
        inputs, by_name, _ = tensors(pick(whole, slice(0, 1)))
        net.train()
        with alone(who):
            net(*inputs, **by_name)


def explain(error: Exception) -> None:
    """Raise DataError for what PyTorch can only see in training; return where it is something
    else.

    What it knows are a batch of one before BatchNorm, and labels or indices out of range.
    """
    text = condensed(str(error))
    if "more than 1 value per channel" in text:
        raise DataError(
            "A batch of a single example came to a normalisation layer.",
            "BatchNorm needs two examples at least to tell their variance.",
            LAST,
        ) from error
    if "out of bounds" in text or "out of range" in text:
        raise DataError(
            f"A label, or an index into an embedding, is too large or negative: {text}",
            "Both are numbered from 0, up to what the net has outputs or embeddings for.",
            "Number them from 0, or make the net's last layer or its embedding larger.",
        ) from error
