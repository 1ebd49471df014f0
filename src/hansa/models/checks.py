"""What every library's models and data are checked for."""

from __future__ import annotations

import hashlib
import inspect
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np

from ..data.batches import spelled as described
from ..data.batches import target
from ..errors import DataError, Fault, HansaError, PlanError
from ..known import named
from ..metrics import Whole, faults
from ..rand import Key
from ..spec import Vector

SHAKE = 0.1
CODE = (BuiltinFunctionType, FunctionType, MethodType, partial)

# what a loss may have parameters for, beside outputs and targets
FEATURES = "features"  # of the net in training
GLOBAL = "global_features"  # of the net that the round began with
LAST_NET = "last_features"  # of the one that the client's last training ended with
TOLD = "told"  # what the algorithm tells
SEEN = (FEATURES, GLOBAL, LAST_NET, TOLD)


def parameter_names(function: Any) -> set[str]:
    """What a function has names for; none where Python cannot tell."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set()
    return {one.name for one in found if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}


def sees(loss: Any) -> tuple[str, ...]:
    """Which of SEEN a loss has parameters for; not those that a partial has fixed."""
    if isinstance(loss, Whole):
        return sees(loss.function)
    names = parameter_names(getattr(loss, "forward", loss))  # a module's call has no names
    fixed = loss.keywords if isinstance(loss, partial) else {}
    return tuple(name for name in SEEN if name in names and name not in fixed)


def check_blind(loss: Any, kind: str) -> Iterator[Fault]:
    """Of a loss whose model gives it outputs and targets alone."""
    yield (
        bool(sees(loss)),
        f"The loss takes {', '.join(sees(loss))}.",
        f"{kind} gives a loss outputs and targets, and nothing else.",
        "Write TorchModel(net, loss, features=…), which gives the others too.",
    )


def check_choices(buffers: Any, metrics: Any, threads: Any) -> Iterator[Fault]:
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
    yield from faults(metrics)


@contextmanager
def passing(batch: Any, who: str) -> Iterator[None]:
    """Say whose examples do not go through a net and its loss, as DataError."""
    try:
        yield
    except HansaError:
        raise
    except Exception as error:
        raise DataError(
            f"{who}'s first {len(target(batch))} examples, {described(batch)}, do not go through "
            "the net and its "
            f"loss: {type(error).__name__}: {condensed(str(error))[:300]}",
            "Their shapes or types are not those that the net or the loss takes.",
            "Give inputs as the net takes them (images as [n, channels, height, width] of float32) "
            "and "
            "targets as the loss takes them (classes as whole numbers: y.astype(np.int64)), or "
            "change the net.",
        ) from error


def check_descent(wrong: bool, found: str) -> None:
    """Raise PlanError for a loss that is no mean with a gradient."""
    if wrong:
        raise PlanError(
            f"The loss gives a {found} that no gradient can be taken of.",
            "Training descends the mean loss of a batch, one number computed from the net's "
            "outputs.",
            "Let loss(outputs, targets) return a mean as a tensor, not detached, not .item().",
        )


def check_finite(loss: float, n: int, who: str) -> None:
    """Raise DataError for a loss that is no number, over the first n examples."""
    if not math.isfinite(loss):
        raise DataError(
            f"The loss of {who}'s first {n} examples is {loss}, before any training.",
            "No value in them is NaN or infinite, so net or loss leave the range of numbers: "
            "inputs of very large "
            "scale, the logarithm of 0, targets outside of what the loss takes.",
            "Standardise the inputs, and look at the loss.",
        )


def check_apart(loss: float, alone: Sequence[float], who: str) -> None:
    """Raise DataError where the loss of some examples is not the mean of what it is of each."""
    mean = sum(alone) / len(alone)
    if not abs(loss - mean) <= 1e-3 * (1 + abs(mean)):
        raise DataError(
            f"The loss of {len(alone)} of {who}'s examples is {loss:.4g}, and the mean of each "
            f"one's own {mean:.4g}.",
            "PerExample clips the gradient of each example, so it takes a loss that is a mean over "
            "examples: no weighted mean, no ranks or risk sets, no labels that are left out.",
            "Leave examples without a label out, and divide by the number of examples: "
            "(w[y] * loss of each).mean(). Or leave `private` out of the Training, and let clients "
            "or the server add noise to the update.",
        )


def shaken(x: Vector, trainable: int) -> Vector:
    """x, and weights near it: at x itself, often 0, outputs may be alike and show nothing."""
    near = np.array(x, np.float64)
    near[:trainable] += SHAKE * Key.of(0).normal((trainable,))
    return near


def check_some(n: int) -> None:
    """Raise DataError where there was nothing to score."""
    if not n:
        raise DataError(
            "There are no examples to score.",
            "A mean of none is not defined.",
            "Give it test data.",
        )


def check_length(shape: tuple[int, ...], model: Any) -> None:
    """Raise PlanError for a vector of a shape that is not the model's."""
    if shape != (model.size,):
        raise PlanError(
            f"A vector of shape {shape} is no vector of {model!r}.",
            f"It has {model.size} numbers.",
            "Take the x of a state of the same plan.",
        )


def check_shapes(outputs: tuple[int, ...], y: Any, who: str) -> None:
    """Raise DataError where targets have another shape than the outputs that they are compared
    with.
    """
    if outputs[1:] != y.shape[1:]:
        raise DataError(
            f"{who}'s targets have shape {('n', *y.shape[1:])}, and the net gives "
            f"{('n', *outputs[1:])}.",
            "The loss compares number with number, and would broadcast what differs in shape.",
            "Give targets of the same shape, such as y[:, None], or end the net in nn.Flatten(0).",
        )


def check_range(known: Any, classes: int, who: str) -> None:
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


def condensed(text: str) -> str:
    """Text on one line, without addresses in memory and colours."""
    return re.sub(
        r"(?<=\() | (?=\))", "", " ".join(re.sub(r" at 0x[0-9a-f]+|\x1b\[\d*m", "", text).split())
    )


def code(part: Any) -> Any:
    """What a digest covers of a layer or a loss beside its repr: a function, or the class and what
    code it holds.
    """
    if isinstance(part, CODE) or named(part):
        return part
    held = dict[str, Any]()
    for name, one in vars(part).items():
        if isinstance(one, CODE):
            held[name] = getattr(one, "__func__", one)
        elif not named(type(one)):
            held[name] = type(one)
    return type(part), held


def settings(function: Any) -> dict[str, Any]:
    """What a partial fixes, or the plain attributes and the buffers (class weights) of a module."""
    if isinstance(function, partial):
        return dict(function.keywords)
    if not hasattr(function, "named_buffers"):
        return {}
    plain = {
        name: value
        for name, value in vars(function).items()
        if isinstance(value, str | int | float)
    }
    buffers = {name: value.tolist() for name, value in function.named_buffers()}
    return {
        name: value for name, value in plain.items() if name[0] != "_" and name != "training"
    } | buffers


def spelled(metrics: Mapping[str, Whole]) -> list[Any]:
    """What a digest covers of metrics beside their code."""
    return [(n, type(one).__name__, spell(one.function), one.bound) for n, one in metrics.items()]


def spell(function: Any) -> str:
    """A function's or module's name, with its settings; a method's behind the object that it
    belongs to.
    """
    owner = getattr(function, "__self__", None)
    if owner is not None and hasattr(function, "__func__"):
        return f"{condensed(repr(owner))}.{function.__name__}"
    name = spell(function.func) if isinstance(function, partial) else type(function).__qualname__
    chosen = ", ".join(f"{key}={value!r}" for key, value in sorted(settings(function).items()))
    return getattr(function, "__qualname__", name) + (f"({condensed(chosen)})" if chosen else "")
