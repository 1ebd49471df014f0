"""What KerasModel refuses: a net or labels that could not train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import DataError, Fault, refuse
from ...metrics import Whole, check_probabilities
from .inspect import leaves_out, takes_probabilities, word


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

    Metrics here are ours, by name; `compiled` are the names of Keras'.
    """
    twice = [name for name in metrics if name in compiled]
    found = f"metrics name {', '.join(twice)}, and so does `compile`."
    why = "One of the two would be passed over in silence."
    refuse([(bool(twice), found, why, "Give it another name.")])
    for loss in filter(takes_probabilities, losses):
        check_probabilities(metrics, word(loss))


def check_added(net: Any, outputs: Sequence[Any], whole: bool, weighs: bool) -> None:
    """PlanError where a loss of all examples at once, or of each by its weight, cannot be had:
    layers add losses when they are called, or mask outputs, which Keras knows of one batch alone.
    """
    added = len(net.losses)
    net._clear_losses()
    masked = any(getattr(one, "_keras_mask", None) is not None for one in outputs)
    more = masked or added > len(net.losses)
    found = f"{type(net).__name__} {'masks outputs' if masked else 'adds losses'} in a call, and "
    refuse(
        [
            (
                whole and more,
                f"{found}its loss is not known to be a mean over examples.",
                "Such a loss is scored on all outputs at once, and Keras knows these of a batch.",
                "Write a loss of keras.losses, or a test_step of your own.",
            ),
            (
                weighs and more,
                f"{found}the examples have weights.",
                "Keras weighs what `compile` names, by example, and nothing else.",
                "Leave the weights out, or what a layer adds or masks.",
            ),
        ]
    )


def check_weighted(name: str, own: Sequence[str], alike: Sequence[str], left: bool) -> None:
    """DataError for weights of examples where Keras would pass them over: in steps of the model's
    `own`, in metrics that count all examples `alike`, beside labels that are `left` out.
    """
    refuse(
        [
            (
                left,
                "The loss leaves a class out (ignore_class), and the examples have weights.",
                "Keras divides by the examples that are left, and not by their weights.",
                "Leave these examples out of the data, or leave the weights out.",
            ),
            (
                bool(own),
                f"{name} has a {', '.join(own)} of its own, and the examples have weights.",
                "Whether an example counts by its weight there nobody can see.",
                "Leave the steps to Keras, or the weights out.",
            ),
            (
                bool(alike),
                f"{', '.join(alike)} counts all examples alike, and these have weights.",
                "Keras weighs those of weighted_metrics, and no others.",
                "Write model.compile(…, weighted_metrics=[…]), or leave the weights out.",
            ),
        ],
        DataError,
    )


def check_logs(net: Any, missing: Sequence[str]) -> None:
    """PlanError where a step gives no number for some of what it has to tell.

    A metric that gives an array, or a step that leaves `loss` out, is such.
    """
    refuse(
        [
            (
                bool(missing),
                f"{type(net).__name__} gives no number {', '.join(missing)} after a step.",
                "The loss is told to the server, and each metric is one number.",
                "Let train_step and test_step return get_metrics_result(), and give metrics that "
                "are one number each.",
            )
        ]
    )


def check_shares(weighed: float, plain: float, each: Any, shares: Any) -> None:
    """DataError where weights do not change a loss as they do the mean of what it is of each.

        |weighed − plain − mean((shares − 1)·each)| ≤ 2·10⁻³ (max each − min each) + 2·10⁻⁶ |plain|

    weighed and plain are the loss with and without weights, `each` [n] that of each example, and
    `shares` [n] weights of mean 1.
    """
    apart = abs(weighed - plain - float(np.mean((shares - 1) * each)))
    if not apart <= 2e-3 * float(np.ptp(each)) + 2e-6 * abs(plain):
        raise DataError(
            f"By weight the loss of {len(each)} examples is {weighed:.6g}, and the mean of each "
            f"one's own {np.mean(shares * each):.6g}.",
            "A weight counts the loss of one example, so the loss has to be a mean over examples, "
            "and to give Keras one number for each.",
            "Write a loss of keras.losses, or let yours return losses [n], not their mean; or "
            "leave the weights out.",
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

    Losses of the caller's own are passed over: only their author knows what they take.
    """
    columns = _columns(targets)
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
            _check_label(loss, y, shape, f"{who}'s targets{name}")


def _columns(targets: Any) -> list[tuple[str, Any]]:
    """Targets, each with what it is called: nothing, where they go by their places."""
    if isinstance(targets, Mapping):
        return [(f" {name!r}", y) for name, y in targets.items()]
    if isinstance(targets, list):
        return [("", y) for y in targets]
    return [("", targets)]


def _check_label(loss: Any, y: Any, shape: tuple[Any, ...], what: str) -> None:
    """DataError where one target [n, …] does not fit a loss and its output of this shape [n, …].

    CTC and circle losses compare otherwise, and are passed over. Of a sparse loss labels are whole
    numbers from 0, of a crossentropy shares from 0 to 1; rows of a class that is left out do not
    count.
    """
    word = str(getattr(loss, "name", getattr(loss, "__name__", ""))).lower()
    if word.startswith(("ctc", "circle")):
        return
    sparse = word.startswith("sparse")
    _check_form(y.shape, shape, word, what)
    known = y
    if leaves_out(loss):
        known = y[y != loss.ignore_class]
    most = _most(word, shape)
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


def _check_form(of_y: tuple[int, ...], of_output: tuple[Any, ...], word: str, what: str) -> None:
    """DataError where a target has another shape than a loss of this name compares with such an
    output; trailing ones count as nothing.
    """
    given = list(of_y[1:])
    wanted = list(of_output[1:])
    why = "The loss compares number with number, and would broadcast what differs in shape."
    instead = (
        "Give targets of the shape of the outputs; classes as whole numbers go with a sparse loss."
    )
    if word.startswith("sparse"):
        wanted.pop()
        why = "The loss takes one whole number, the class, for each row of outputs."
        instead = (
            "Give the numbers of the classes; one-hot targets go with "
            "loss='categorical_crossentropy'."
        )
    while given[-1:] == [1] and len(given) > len(wanted):
        given.pop()
    while wanted[-1:] == [1] and len(wanted) > len(given):
        wanted.pop()
    if given != wanted:
        raise DataError(
            f"{what} have shape {('n', *of_y[1:])}, and the model gives {('n', *of_output[1:])} "
            f"for {word}.",
            why,
            instead,
        )


def _most(word: str, shape: tuple[Any, ...]) -> int | None:
    """The largest target that a loss of this name takes, beside an output of this shape; None where
    it takes any.
    """
    if word.startswith("sparse"):
        return int(shape[-1]) - 1
    if "crossentropy" in word:
        return 1
    return None
