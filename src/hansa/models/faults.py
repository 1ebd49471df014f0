"""What may be wrong with a network and its loss, and how both are spelled; their library is not imported for it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from ..errors import DataError

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
        good = good and isinstance(value[1], int | float) and value[1] > 0
        yield not good, f"metrics={{{name!r}: {value!r}}}.", why, "Write metrics={'accuracy': (function, 1.0)}."


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
    """Text on one line, without addresses in memory."""
    return re.sub(r"(?<=\() | (?=\))", "", " ".join(re.sub(r" at 0x[0-9a-f]+", "", text).split()))


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
    """A function's or module's name, with its settings."""
    name = spelled(function.func) if isinstance(function, partial) else type(function).__qualname__
    chosen = ", ".join(f"{key}={value!r}" for key, value in sorted(settings(function).items()))
    return getattr(function, "__qualname__", name) + (f"({condensed(chosen)})" if chosen else "")
