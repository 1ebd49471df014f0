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
from ..metrics import Mean, Whole, faults
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
    """What a function has names for; none where Python cannot tell.

    Python cannot tell of some builtins, and of functions of C extensions.
    """
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set()
    return {one.name for one in found if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}


def sees(loss: Any) -> tuple[str, ...]:
    """Which of SEEN a loss has parameters for; not those that a partial has fixed.

    SEEN is what a loss may ask for beside outputs and targets; a module is asked through its
    `forward`. In the order of SEEN.
    """
    if isinstance(loss, Whole):
        return sees(loss.function)
    names = parameter_names(getattr(loss, "forward", loss))  # a module's call has no names
    if isinstance(loss, partial):
        names -= loss.keywords.keys()
    return tuple(name for name in SEEN if name in names)


def check_blind(loss: Any, kind: str) -> Iterator[Fault]:
    """Of a loss whose model gives it outputs and targets alone."""
    yield (
        bool(sees(loss)),
        f"The loss takes {', '.join(sees(loss))}.",
        f"{kind} gives a loss outputs and targets, and nothing else.",
        "Write TorchModel(net, loss, features=…), which gives the others too.",
    )


def check_choices(buffers: Any, metrics: Any, threads: Any) -> Iterator[Fault]:
    """Of the other arguments of TorchModel.

    Faults for a way of buffers that is none, for threads below 1, and for metrics without a
    function or a bound.
    """
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
    """Say whose examples do not go through a net and its loss, as DataError.

    An error of hansa's own passes as it is: it says already what to write. Of any other its kind
    and its first 300 characters are told.
    """
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
    """Raise PlanError for a loss that is no mean with a gradient.

    `found` is what the loss gives, in words. A loss that is detached, or an item, has no gradient.
    """
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
    """Raise DataError where the loss of some examples is not the mean of what it is of each.

        |loss − mean| ≤ 10⁻³ (1 + |mean|),     mean = Σ alone / n

    The tolerance is that of float32 over a few examples; NaN is never within it.
    """
    mean = sum(alone) / len(alone)
    if not abs(loss - mean) <= 1e-3 * (1 + abs(mean)):
        raise DataError(
            f"The loss of {len(alone)} of {who}'s examples is {loss:.4g}, and the mean of each "
            f"one's own {mean:.4g}.",
            "PerExample clips the gradient of each example, and weights count each one's loss, so "
            "it has to be a mean over examples: no weighted mean, no ranks or risk sets, no labels "
            "that are left out.",
            "Leave examples without a label out, and divide by the number of examples: "
            "(w[y] * loss of each).mean(). Or leave `private` out of the Training and let clients "
            "or the server add noise to the update; or leave the weights out.",
        )


def shaken(x: Vector, trainable: int) -> Vector:
    """x, and weights near it: at x itself, often 0, outputs may be alike and show nothing.

        y = x + SHAKE·z,     z ~ N(0, 1) of a fixed key, for the numbers that are trained

    Of the same x it is the same, so a check finds the same wherever it runs.
    """
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

    Both are [n, …], and n is not compared here. A loss of numbers [n, 1] against [n] would compare
    each with all.
    """
    if outputs[1:] != y.shape[1:]:
        raise DataError(
            f"{who}'s targets have shape {('n', *y.shape[1:])}, and the net gives "
            f"{('n', *outputs[1:])}.",
            "The loss compares number with number, and would broadcast what differs in shape.",
            "Give targets of the same shape, such as y[:, None], or end the net in nn.Flatten(0).",
        )


def check_range(known: Any, classes: int, who: str) -> None:
    """Raise DataError where a label lies outside of 0 … classes − 1.

    `known` are the labels that count: those that a loss leaves out are left out before.
    """
    if known.size and (known.min() < 0 or known.max() > classes - 1):
        more = ""
        if known.max() >= classes:
            more = f", or give the net {int(known.max()) + 1} outputs"
        raise DataError(
            f"{who}'s labels lie in {known.min()} … {known.max()}.",
            f"The net and its loss take labels from 0 to {classes - 1}.",
            f"Number the classes from 0{more}.",
        )


def fingerprint(buffers: Iterable[Any]) -> str:
    """A digest of these bytes.

    Buffers are read one behind the other, by BLAKE2b with 64 bits: enough to tell models apart in a
    repr, and no defence against who looks for a collision.
    """
    digest = hashlib.blake2b(digest_size=8)
    for buffer in buffers:
        digest.update(buffer)
    return digest.hexdigest()


def condensed(text: str) -> str:
    """Text on one line, without addresses in memory and colours.

    Addresses are other ones in each process, and a repr enters the digest of a plan.
    """
    return re.sub(
        r"(?<=\() | (?=\))", "", " ".join(re.sub(r" at 0x[0-9a-f]+|\x1b\[\d*m", "", text).split())
    )


def shortened(text: str, end: str = " …") -> str:
    """Text of at most 120 characters; of a longer one the first 100, and an end."""
    if len(text) <= 120:
        return text
    return text[:100].rstrip() + end


def code(part: Any) -> Any:
    """What a digest covers of a layer or a loss beside its repr: a function, or the class and what
    code it holds.

    What a library has as its own is taken by its name, for a digest must not change with the
    library's file; methods are taken without their objects.
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
    """What a partial fixes, or the plain attributes and the buffers (class weights) of a module.

    Whether a module is in training, and what begins with an underscore, is no setting. Nothing for
    a plain function.
    """
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
    """What a digest covers of metrics beside their code.

    Of each metric: its name, whether it is a mean, its function with its settings, and its bound.
    """
    return [(n, _kind(one), spell(one.function), one.bound) for n, one in metrics.items()]


def _kind(metric: Whole) -> str:
    """Whole or Mean, and whether a mean may be undefined."""
    kind = type(metric).__name__
    if isinstance(metric, Mean) and not metric.everywhere:
        return f"{kind}, not everywhere"
    return kind


def spell(function: Any) -> str:
    """A function's or module's name, with its settings; a method's behind the object that it
    belongs to.
    """
    owner = getattr(function, "__self__", None)
    if owner is not None and hasattr(function, "__func__"):
        return f"{condensed(repr(owner))}.{function.__name__}"
    name = type(function).__qualname__
    if isinstance(function, partial):
        name = spell(function.func)
    name = getattr(function, "__qualname__", name)
    chosen = ", ".join(f"{key}={value!r}" for key, value in sorted(settings(function).items()))
    if not chosen:
        return name
    return f"{name}({condensed(chosen)})"
