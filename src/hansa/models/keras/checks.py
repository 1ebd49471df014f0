"""What KerasModel refuses: a net or labels that could not train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import DataError, Fault, refuse
from ...metrics import Whole, check_probabilities
from .inspect import takes_probabilities, word


def check_net(net: Any, buffers: Any) -> Iterator[Fault]:
    """Of a Keras model; each only looked at where those before it are right."""
    name = getattr(net, "__name__", type(net).__name__)
    why = "KerasModel takes a compiled model, with its weights."
    yield (
        isinstance(net, type),
        f"The model is the class {name}.",
        why,
        f"Make one: KerasModel({name}(…)).",
    )
    yield (
        not hasattr(net, "train_step"),
        f"The model is a {name}, no keras.Model.",
        why,
        "Give a keras.Model.",
    )
    unbuilt = not net.built or not all(layer.built for layer in net._flatten_layers())
    why = "Its weights have no shapes yet, and the vector needs its length."
    yield (
        unbuilt,
        f"{name} is not built.",
        why,
        "Begin it with keras.Input((features,)), or call it on a batch once.",
    )
    why = "Clients train it with the loss, the metrics and the optimizer that `compile` names."
    yield (
        not net.compiled,
        f"{name} is not compiled.",
        why,
        "Write model.compile(optimizer='adam', loss='mse').",
    )
    why = "Clients train the weights with trainable=True."
    yield (
        not net.trainable_variables,
        f"{name} has no trainable weight.",
        why,
        "Write layer.trainable = True.",
    )
    why = "Statistics such as BatchNorm's are averaged by the server, or stay with each client."
    bad = buffers not in ("average", "local")
    yield bad, f"buffers={buffers!r}.", why, "Write buffers='average' or buffers='local'."


def check_measured(metrics: Mapping[str, Whole], compiled: Any, losses: Sequence[Any]) -> None:
    """PlanError for a metric that `compile` names as well, or that takes probabilities for
    logits.
    """
    twice = [name for name in metrics if name in compiled]
    found = f"metrics name {', '.join(twice)}, and so does `compile`."
    why = "One of the two would be passed over in silence."
    refuse([(bool(twice), found, why, "Give it another name.")])
    for loss in filter(takes_probabilities, losses):
        check_probabilities(metrics, word(loss))


def check_added(net: Any, outputs: Sequence[Any], whole: bool) -> None:
    """PlanError where a loss of all examples at once cannot be had: layers add losses when they
    are called, or mask outputs, which Keras knows of one batch alone.
    """
    added = len(net.losses)
    net._clear_losses()
    masked = any(getattr(one, "_keras_mask", None) is not None for one in outputs)
    refuse(
        [
            (
                whole and (masked or added > len(net.losses)),
                f"{type(net).__name__} {'masks outputs' if masked else 'adds losses'} in a call, "
                "and its loss is not known to be a mean over examples.",
                "Such a loss is scored on all outputs at once, and Keras knows these of a batch.",
                "Write a loss of keras.losses, or a test_step of your own.",
            )
        ]
    )


def check_long_steps(net: Any) -> None:
    """PlanError where a long step of SGD tells no gradient: Keras changes weights after it, leaves
    it out, or cannot hold where it leads to.
    """
    name = type(net).__name__
    weights = net.trainable_variables
    held = [v.path for v in weights if getattr(v, "constraint", None) is not None]
    short = [v.path for v in weights if str(v.dtype) == "float16"]
    refuse(
        [
            (
                bool(held),
                f"{name} has constraints on {', '.join(held[:3])}, and its gradient is asked for.",
                "Keras brings these weights back after each step, so no step tells its gradient.",
                "Leave the constraints out, or take an algorithm that asks for no gradient.",
            ),
            (
                bool(short) or net.dtype_policy.name == "mixed_float16",
                f"{name} computes in float16, and its gradient is asked for.",
                "Where numbers leave the range of float16 Keras leaves a step out, and the "
                "gradient would seem to be 0.",
                "Build it with the policy 'mixed_bfloat16' or 'float32'.",
            ),
        ]
    )


def check_labels(
    losses: Sequence[Any], targets: Any, outputs: Sequence[tuple[Any, ...]], who: str
) -> None:
    """DataError where the targets do not fit Keras' own losses and the outputs of these shapes [n,
    …].
    """
    named = isinstance(targets, Mapping)
    columns = list(
        targets.items()
        if named
        else enumerate(targets)
        if isinstance(targets, list)
        else [("", targets)]
    )
    if len(columns) != len(outputs):
        raise DataError(
            f"{who} has {len(columns)} targets, and the model gives {len(outputs)} outputs.",
            "Each output is compared with a target of its own.",
            "Give as many targets as outputs: (inputs, {'name of an output': …, …}).",
        )
    for loss, (name, y), shape in zip(losses, columns, outputs, strict=True):
        if type(loss).__module__.startswith("keras.") or str(
            getattr(loss, "__module__", "")
        ).startswith("keras."):
            _check_label(loss, y, shape, f"{who}'s targets{f' {name!r}' if named else ''}")


def _check_label(loss: Any, y: Any, shape: tuple[Any, ...], what: str) -> None:
    word = str(getattr(loss, "name", getattr(loss, "__name__", ""))).lower()
    if word.startswith(("ctc", "circle")):
        return
    given = list(y.shape[1:])
    wanted = list(shape[1:])
    classes = wanted[-1] if wanted else 2
    if sparse := word.startswith("sparse"):
        wanted.pop()
    while given[-1:] == [1] and len(given) > len(wanted):
        given.pop()
    while wanted[-1:] == [1] and len(wanted) > len(given):
        wanted.pop()
    if given != wanted:
        raise DataError(
            f"{what} have shape {('n', *y.shape[1:])}, and the model gives {('n', *shape[1:])} for "
            f"{word}.",
            "The loss takes one whole number, the class, for each row of outputs."
            if sparse
            else "The loss compares number with number, and would broadcast what differs in shape.",
            "Give the numbers of the classes; one-hot targets go with "
            "loss='categorical_crossentropy'."
            if sparse
            else "Give targets of the shape of the outputs; classes as whole numbers go with a "
            "sparse loss.",
        )
    most = classes - 1 if sparse else 1 if "crossentropy" in word else None
    known = (
        y[y != getattr(loss, "ignore_class", None)]
        if getattr(loss, "ignore_class", None) is not None
        else y
    )
    if most is not None and known.size and (known.min() < 0 or known.max() > most):
        raise DataError(
            f"{what} lie in {known.min()} … {known.max()}.",
            f"The model and its {word} take 0 to {most}.",
            "Number the classes from 0, or give the model more outputs.",
        )
    if sparse and (known != np.round(known)).any():
        raise DataError(
            f"{what} are not all whole numbers, for {word}.",
            "They number classes, and the loss would cut the fractions off.",
            "Number the classes from 0; for targets that are measured take loss='mse'.",
        )
