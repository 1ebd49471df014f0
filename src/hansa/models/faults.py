"""What may be wrong with a network and its loss, and how both are spelled; their library is not imported for it."""

from __future__ import annotations

import hashlib
import inspect
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..errors import DataError, HansaError, PlanError
from ..spec import Interval
from .batch import spelled as described
from .batch import target

Fault = tuple[bool, str, str, str]  # is it so?  what was found, why it cannot work, what to write instead


def of_net(net: Any) -> Iterator[Fault]:
    """Of a torch module; each only looked at where those before it are right."""
    name, why = getattr(net, "__name__", type(net).__name__), "TorchModel takes a network, with its first weights."
    yield isinstance(net, type), f"The net is the class {name}.", why, f"Make one: TorchModel({name}(…), …)."
    yield (
        not hasattr(net, "named_parameters"),
        f"The net is a {name}, no nn.Module.",
        why,
        "Write nn.Linear(30, 2), say.",
    )
    foreign = any(type(part).__module__.split(".")[0] == "keras" for part in net.modules())
    why = "Its layers keep their weights beside what PyTorch sees, so gradients of single examples would be lost."
    yield foreign, f"{name} is made of Keras layers.", why, "Write KerasModel(model), with its loss from compile()."
    lazy = any(type(part).__name__.startswith("Uninitialized") for part in (*net.parameters(), *net.buffers()))
    yield (
        lazy,
        f"{name} has parameters without a shape.",
        "The vector needs its length.",
        "Call net(x) with a batch first.",
    )
    weights = {part: p for part, p in net.named_parameters() if p.requires_grad}
    why = "Clients train the parameters with requires_grad=True."
    yield not weights, f"{name} has no trainable parameter.", why, "Unfreeze some: net.requires_grad_(True)."
    other = [f"{part} ({p.dtype})" for part, p in weights.items() if str(p.dtype) != "torch.float32"]
    why = "All trainable parameters are views of one tensor of float32."
    yield bool(other), f"{name} has {', '.join(other[:3])}.", why, "Write net.float(), or freeze these parameters."
    places = [p.data_ptr() for p in weights.values() if p.numel() and p.data_ptr()]
    why = "Tied weights must be one parameter with two names, or training takes them apart."
    yield len(set(places)) < len(places), f"Two parameters of {name} share memory.", why, "Write a.weight = b.weight."


def of_loss(loss: Any) -> Iterator[Fault]:
    """Of what is called with outputs and targets."""
    name, why = getattr(loss, "__name__", type(loss).__name__), "The loss is called with outputs and targets."
    yield isinstance(loss, type), f"The loss is the class {name}.", why, f"Make one: TorchModel(net, {name}())."
    yield not callable(loss), f"The loss is {loss!r}.", why, "Write for example torch.nn.functional.cross_entropy."
    learns = hasattr(loss, "parameters") and any(p.requires_grad for p in loss.parameters())
    yield learns, f"The loss {name} has parameters.", "Only those of the net are trained.", "Make them part of the net."
    reduction, why = settings(loss).get("reduction", "mean"), "A step must not depend on how many examples a batch has."
    yield reduction != "mean", f"The loss has reduction={reduction!r}.", why, "Write reduction='mean', or leave it out."


def of_choices(buffers: Any, metrics: Any, threads: Any) -> Iterator[Fault]:
    """Of the other arguments of TorchModel."""
    why = "Statistics such as BatchNorm's are averaged by the server, or stay with each client."
    yield (
        buffers not in ("average", "local"),
        f"buffers={buffers!r}.",
        why,
        "Write buffers='average' or buffers='local'.",
    )
    bad = not isinstance(threads, int) or threads < 1
    yield bad, f"threads={threads!r}.", "One thread at least computes.", "Write threads=1."
    why = "A metric is a mean over examples; a bound on it lets noise hide it; and the loss is always there."
    named = metrics is None or hasattr(metrics, "items")
    yield not named, f"metrics={metrics!r}.", why, "Write metrics={'accuracy': (function, 1.0)}."
    for name, value in (metrics or {}).items():
        good = isinstance(value, tuple) and len(value) == 2 and callable(value[0]) and name != "loss"
        good = good and (isinstance(value[1], Interval) or (isinstance(value[1], int | float) and value[1] > 0))
        yield not good, f"metrics={{{name!r}: {value!r}}}.", why, "Write metrics={'accuracy': (function, 1.0)}."


def of_speed(compile: Any, cohort: Any) -> Iterator[Fault]:
    """Of TorchModel's arguments on how it computes."""
    bad = cohort is not None and (not isinstance(cohort, int) or cohort < 1)
    yield bad, f"cohort={cohort!r}.", "So many clients train as one batch.", "Write cohort=50, or None."
    why = "Dense nets train by hansa's own compiled program, or by PyTorch as others do."
    yield not isinstance(compile, bool), f"compile={compile!r}.", why, "Write compile=True or compile=False."


def of_leaves(leaves: list[tuple[str, Any]]) -> Iterator[Fault]:
    """Of the parameters of a JaxModel, by their paths."""
    why = "JaxModel takes a pytree of arrays of float32: the numbers that are trained, and nothing else."
    yield not leaves, "There are no parameters.", why, "Write params = net.init(key, x), say."
    for path, leaf in leaves:
        kind = str(getattr(leaf, "dtype", type(leaf).__name__))
        yield (
            kind not in ("float32", "float64"),
            f"Of the parameters, {path or 'all'} is {'of ' if hasattr(leaf, 'dtype') else 'a '}{kind}.",
            why,
            "Keep the rest apart: eqx.partition(net, eqx.is_inexact_array), nnx.split(net, nnx.Param, ...), state=….",
        )


def of_apply(apply: Any, loss: Any, stateful: bool, takes: bool) -> Iterator[Fault]:
    """Of the functions of a JaxModel; `takes` says whether apply has a parameter called state."""
    name, why = getattr(apply, "__name__", type(apply).__name__), "JaxModel calls apply(params, x)."
    whole = hasattr(apply, "apply") or not callable(apply)
    yield whole, f"apply is a {name}, no function of parameters and inputs.", why, "Write for example net.apply."
    yield not callable(loss), f"The loss is {loss!r}.", "It is called with outputs and targets.", "Write cross_entropy."
    why = "What is called so is not trained, and goes from batch to batch."
    yield stateful and not takes, "There is a state, and apply does not take it.", why, "Write apply(params, x, state)."
    yield takes and not stateful, "apply takes a state, and there is none.", why, "Write JaxModel(…, state=…)."


def names(function: Any) -> set[str]:
    """What a function has names for; none where Python cannot tell."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set()
    return {one.name for one in found if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}


def unlike(wrong: bool) -> None:
    """Raise PlanError for an apply that does not return a state like the one that it takes."""
    if wrong:
        raise PlanError(
            "apply takes a state, and does not return one like it.",
            "The state after a batch is that of the next one: the same tree, shapes and types.",
            "Let apply(params, x, state) return (outputs, state).",
        )


def unmeasured(wrong: bool, losses: Any, n: int) -> None:
    """Raise PlanError for a loss that is neither a number for each of n examples nor one for all."""
    if wrong:
        form = f"{losses.dtype} of shape {losses.shape}" if hasattr(losses, "shape") else type(losses).__name__
        raise PlanError(
            f"The loss gives {form}, for {n} examples.",
            "Training descends the mean loss of a batch.",
            "Let loss(outputs, targets) return one float for each example, as optax's losses do, or their mean.",
        )


def mixed(wrong: bool) -> None:
    """Raise PlanError for examples that change each other's losses."""
    if wrong:
        raise PlanError(
            "An example's loss depends on what other examples are in its batch.",
            "Short batches are filled up, and what fills them must not count; batch statistics do mix examples.",
            "Give such statistics as state=…, or let the loss return the mean of the batch.",
        )


def stateful(wrong: bool) -> None:
    """Raise PlanError for noise for single examples in a model that has a state."""
    if wrong:
        raise PlanError(
            "Noise for single examples cannot train a model with a state.",
            "Batch statistics mix the examples of a batch, and what the state says of them carries no noise.",
            "Take layers without statistics, such as GroupNorm or LayerNorm, and leave state=… out.",
        )


def mixing(net: Any) -> None:
    """Raise PlanError where a torch module normalises by batch, or keeps statistics of the examples."""
    for name, part in net.named_modules():
        kinds = {kind.__name__ for kind in type(part).__mro__}
        if "_BatchNorm" in kinds or ("_NormBase" in kinds and part.track_running_stats):
            raise PlanError(
                f"Noise for single examples cannot train {type(part).__name__} (the layer {name or 'itself'}).",
                "It mixes the examples of a batch, so that none has a gradient of its own to clip; and the running "
                "statistics that it says carry no noise.",
                "Write nn.GroupNorm, nn.LayerNorm, or InstanceNorm without running statistics.",
            )


@contextmanager
def vmapped() -> Iterator[None]:
    """Say what to do where the gradients of single examples, or of many clients, cannot be taken at once."""
    try:
        yield
    except (IndexError, ValueError) as error:
        explain(error)
        raise
    except RuntimeError as error:
        explain(error)
        raise PlanError(
            f"The gradients of single examples or clients cannot be taken: {condensed(str(error))[:300]}",
            "PyTorch's vmap sends many through net and loss at once, each as if it were alone.",
            "Keep .item(), branches on values and writes into buffers out of net and loss; of the recurrent layers it "
            "takes nn.LSTM, not nn.RNN or nn.GRU.",
        ) from error


@contextmanager
def passing(batch: Any, who: str) -> Iterator[None]:
    """Say whose examples do not go through a net and its loss, as DataError."""
    try:
        yield
    except HansaError:
        raise
    except Exception as error:
        raise DataError(
            f"{who}'s first {len(target(batch))} examples, {described(batch)}, do not go through the net and its "
            f"loss: {type(error).__name__}: {condensed(str(error))[:300]}",
            "Their shapes or types are not those that the net or the loss takes.",
            "Give inputs as the net takes them (images as [n, channels, height, width] of float32) and "
            "targets as the loss takes them (classes as whole numbers: y.astype(np.int64)), or change the net.",
        ) from error


def descent(wrong: bool, found: str) -> None:
    """Raise PlanError for a loss that is no mean with a gradient."""
    if wrong:
        raise PlanError(
            f"The loss gives a {found} that no gradient can be taken of.",
            "Training descends the mean loss of a batch, one number computed from the net's outputs.",
            "Let loss(outputs, targets) return a mean as a tensor, not detached, not .item().",
        )


def infinite(loss: float, n: int, who: str) -> None:
    """Raise DataError for a loss that is no number, over the first n examples."""
    if not math.isfinite(loss):
        raise DataError(
            f"The loss of {who}'s first {n} examples is {loss}, before any training.",
            "No value in them is NaN or infinite, so net or loss leave the range of numbers: inputs of very large "
            "scale, the logarithm of 0, targets outside of what the loss takes.",
            "Standardise the inputs, and look at the loss.",
        )


def length(shape: tuple[int, ...], model: Any) -> None:
    """Raise PlanError for a vector of a shape that is not the model's."""
    if shape != (model.size,):
        raise PlanError(
            f"A vector of shape {shape} is no vector of {model!r}.",
            f"It has {model.size} numbers.",
            "Take the x of a state of the same plan.",
        )


def moving(wrong: bool, net: Any) -> None:
    """Raise PlanError for a net whose parameters have left the tensor that they were views of."""
    if wrong:
        raise PlanError(
            f"{type(net).__name__} moves its parameters or gradients while it computes.",
            "They are views of one tensor, and what is moved away is trained no more.",
            "Leave calls such as flatten_parameters(), zero_grad() or weight.data = … out of its forward.",
        )


def uncopied(net: Any, error: Exception) -> PlanError:
    """What a net that cannot be copied is told."""
    return PlanError(
        f"{type(net).__name__} cannot be copied: {condensed(str(error))[:200]}",
        "The federation trains a copy, so that the caller's module stays as it is.",
        "Use torch.nn.utils.parametrizations in place of the older weight_norm, and keep no results in the module.",
    )


def shapes(outputs: tuple[int, ...], y: Any, who: str) -> None:
    """Raise DataError where targets have another shape than the outputs that they are compared with."""
    if outputs[1:] != y.shape[1:]:
        raise DataError(
            f"{who}'s targets have shape {('n', *y.shape[1:])}, and the net gives {('n', *outputs[1:])}.",
            "The loss compares number with number, and would broadcast what differs in shape.",
            "Give targets of the same shape, such as y[:, None], or end the net in nn.Flatten(0).",
        )


def labels(known: Any, classes: int, who: str) -> None:
    """Raise DataError where a label lies outside of 0 … classes − 1."""
    if known.size and (known.min() < 0 or known.max() > classes - 1):
        more = f", or give the net {int(known.max()) + 1} outputs" if known.max() >= classes else ""
        raise DataError(
            f"{who}'s labels lie in {known.min()} … {known.max()}.",
            f"The net and its loss take labels from 0 to {classes - 1}.",
            f"Number the classes from 0{more}.",
        )


def fingerprint(buffers: Iterable[Any]) -> str:
    """A digest of these bytes."""
    digest = hashlib.blake2b(digest_size=8)
    for buffer in buffers:
        digest.update(buffer)
    return digest.hexdigest()


def explain(error: Exception) -> None:
    """Raise DataError for what PyTorch can only see in training; return where it is something else."""
    text = condensed(str(error))
    if "more than 1 value per channel" in text:
        raise DataError(
            "A batch of a single example came to a normalisation layer.",
            "BatchNorm needs two examples at least to tell their variance.",
            "Choose another Training(batch=…), so that the last batch has more than one, or use GroupNorm.",
        ) from error
    if "out of bounds" in text or "out of range" in text:
        raise DataError(
            f"A label, or an index into an embedding, is too large or negative: {text}",
            "Both are numbered from 0, up to what the net has outputs or embeddings for.",
            "Number them from 0, or make the net's last layer or its embedding larger.",
        ) from error


def condensed(text: str) -> str:
    """Text on one line, without addresses in memory and colours."""
    return re.sub(r"(?<=\() | (?=\))", "", " ".join(re.sub(r" at 0x[0-9a-f]+|\x1b\[\d*m", "", text).split()))


def settings(function: Any) -> dict[str, Any]:
    """What a partial fixes, or the plain attributes and the buffers (class weights) of a module."""
    if isinstance(function, partial):
        return dict(function.keywords)
    if not hasattr(function, "named_buffers"):
        return {}
    plain = {name: value for name, value in vars(function).items() if isinstance(value, str | int | float)}
    buffers = {name: value.tolist() for name, value in function.named_buffers()}
    return {name: value for name, value in plain.items() if name[0] != "_" and name != "training"} | buffers


def spelled(function: Any) -> str:
    """A function's or module's name, with its settings; a method's behind the object that it belongs to."""
    owner = getattr(function, "__self__", None)
    if owner is not None and hasattr(function, "__func__"):
        return f"{condensed(repr(owner))}.{function.__name__}"
    name = spelled(function.func) if isinstance(function, partial) else type(function).__qualname__
    chosen = ", ".join(f"{key}={value!r}" for key, value in sorted(settings(function).items()))
    return getattr(function, "__qualname__", name) + (f"({condensed(chosen)})" if chosen else "")
