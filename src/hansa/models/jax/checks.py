"""What JaxModel refuses, and what it finds out: parameters or functions that could not train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from ...errors import DataError, Fault, PlanError
from ...metrics import Whole, check_weights
from ...rand import shared
from ...spec import Vector


class Facts(NamedTuple):
    """What a first look at a model's data shows: may batches be padded, for training and for
    scores; may steps loop; does the loss give one number for each example?

    Of a model with a state batches are never padded in training, for filling would enter the state.
    Convolutions do not loop on a CPU.
    """

    padded: bool
    scored: bool
    fused: bool
    single: bool


def check_leaves(leaves: list[tuple[str, Any]]) -> Iterator[Fault]:
    """Of the parameters of a JaxModel, by their paths.

    A fault for no leaf at all, and for each that is no array of float32; float64 is cast.
    """
    why = (
        "JaxModel takes a pytree of arrays of float32: the numbers that are trained, and nothing "
        "else."
    )
    yield not leaves, "There are no parameters.", why, "Write params = net.init(key, x), say."
    for path, leaf in leaves:
        kind = str(getattr(leaf, "dtype", ""))
        form = f"of {kind}"
        if not kind:
            form = f"a {type(leaf).__name__}"
        yield (
            kind not in ("float32", "float64"),
            f"Of the parameters, {path or 'all'} is {form}.",
            why,
            "Keep the rest apart: eqx.partition(net, eqx.is_inexact_array), nnx.split(net, "
            "nnx.Param, ...), state=….",
        )


def check_apply(apply: Any, loss: Any, stateful: bool, takes: bool) -> Iterator[Fault]:
    """Of the functions of a JaxModel; `takes` says whether apply has a parameter called state.

    A Flax module itself is no such function, and its `apply` is.
    """
    name = getattr(apply, "__name__", type(apply).__name__)
    why = "JaxModel calls apply(params, x)."
    whole = hasattr(apply, "apply") or not callable(apply)
    yield (
        whole,
        f"apply is a {name}, no function of parameters and inputs.",
        why,
        "Write for example net.apply.",
    )
    yield (
        not callable(loss),
        f"The loss is {loss!r}.",
        "It is called with outputs and targets.",
        "Write cross_entropy.",
    )
    why = "What is called so is not trained, and goes from batch to batch."
    yield (
        stateful and not takes,
        "There is a state, and apply does not take it.",
        why,
        "Write apply(params, x, state).",
    )
    yield (
        takes and not stateful,
        "apply takes a state, and there is none.",
        why,
        "Write JaxModel(…, state=…).",
    )


def check_state(wrong: bool) -> None:
    """Raise PlanError for an apply that does not return a state like the one that it takes.

    Else the next step would be traced and compiled anew, or fail in words of JAX.
    """
    if wrong:
        raise PlanError(
            "apply takes a state, and does not return one like it.",
            "The state after a batch is that of the next one: the same tree, shapes and types.",
            "Let apply(params, x, state) return (outputs, state).",
        )


def check_losses(wrong: bool, losses: Any, n: int) -> None:
    """Raise PlanError for a loss that is neither a number for each of n examples nor one for
    all.

    `losses` are what it gave for n examples.
    """
    if wrong:
        form = type(losses).__name__
        if hasattr(losses, "shape"):
            form = f"{losses.dtype} of shape {losses.shape}"
        raise PlanError(
            f"The loss gives {form}, for {n} examples.",
            "Training descends the mean loss of a batch.",
            "Let loss(outputs, targets) return one float for each example, as optax's losses do, "
            "or their mean.",
        )


def check_mixed(wrong: bool) -> None:
    """Raise PlanError for examples that change each other's losses.

    Batch statistics without `state`, and losses of pairs, do so. A gradient of single examples, and
    a filled batch, would then be another one.
    """
    if wrong:
        raise PlanError(
            "An example's loss depends on what other examples are in its batch.",
            "Short batches are filled up, and what fills them must not count; batch statistics do "
            "mix examples.",
            "Give such statistics as state=…, or let the loss return the mean of the batch.",
        )


def check_weighted(metrics: Mapping[str, Whole], weights: Vector | None, single: bool) -> None:
    """DataError for weights of examples, where a loss or a metric is of all at once.

    `single` says whether the loss gives one number for each example.
    """
    if weights is not None and not single:
        raise DataError(
            "The loss gives one number for all examples, and these have weights.",
            "Each example's own loss counts by its weight.",
            "Let loss(outputs, targets) return one float for each example, as optax's losses do.",
        )
    check_weights(metrics, weights)


@contextmanager
def undrawn() -> Iterator[None]:
    """Raise PlanError for code that draws from a generator that JAX does not know.

    Such a draw is made once, while the program is traced, and each step would have the same one.
    """
    before = shared()
    yield
    if shared() != before:
        raise PlanError(
            "`apply` or the loss draws from numpy.random or random.",
            "JAX runs their code once, to compile it, so all steps would have the same draw.",
            "Let apply take `key`, and draw from it: jax.random.normal(key, …).",
        )


def check_stateless(wrong: bool) -> None:
    """Raise PlanError for noise for single examples in a model that has a state."""
    if wrong:
        raise PlanError(
            "Noise for single examples cannot train a model with a state.",
            "Batch statistics mix the examples of a batch, and what the state says of them carries "
            "no noise.",
            "Take layers without statistics, such as GroupNorm or LayerNorm, and leave state=… "
            "out.",
        )
