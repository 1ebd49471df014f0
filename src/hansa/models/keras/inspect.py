"""What can be read off a Keras model without Keras: its spelling, what it measures, what may be
wrong with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ...metrics import RATE
from ...spec import Bound
from ..checks import code

# Of a serialised model: where its code lies, and how a machine runs it.
PASSING = {"module", "registered_name", "shared_object_id", "build_config"}
PASSING |= {"jit_compile", "run_eagerly", "steps_per_execution"}
COMPILED = {"train_function", "test_function", "predict_function"}  # which come and go
OF_BATCHES = {"dice", "tversky", "circle"}  # losses of keras.losses that mix examples
# reductions; by weights of mean 1 the last two are the same
MEANS = {"mean", "sum_over_batch_size", "mean_with_sample_weight"}
CROSS_ENTROPIES = ("ce", "crossentropy")
# Keras' metrics between 0 and 1
SHARES = re.compile("Accuracy|AUC|Precision|Recall|IoU|Sensitivity|Specificity")


def spelled(net: Any, serialize: Callable[[Any], Any]) -> str:
    """Architecture, loss, optimizer and metrics, without addresses, and without names that only
    count layers.

    It is the same in each process: layers that have only a counted name are named by their place.
    """
    layers = list(net._flatten_layers())
    counted = dict[str, str]()
    for i, layer in enumerate(layers):
        kind = type(layer).__name__.lower().replace("_", "")
        if re.fullmatch(kind + r"\d*", layer.name.lower().replace("_", "")):
            counted[layer.name] = f"#{i}"
    # what a subclassed model does with its layers is code
    parts = layers
    if hasattr(net, "operations"):
        parts = [net]
    return repr(
        [_plain(_serialized(part, serialize), counted) for part in parts]
        + [_compiled(net, counted)]
    )


def word(loss: Any) -> str:
    """What a loss is called."""
    if isinstance(loss, str):
        return loss
    return str(getattr(loss, "__name__", type(loss).__name__))


def _serialized(part: Any, serialize: Callable[[Any], Any]) -> Any:
    """What Keras saves of a part, without how it is compiled; its class where it saves nothing."""
    try:
        config = serialize(part)
    # the caller's own class, that does not say how it is made
    except (NotImplementedError, TypeError, ValueError):
        return type(part).__name__
    return {key: value for key, value in config.items() if key != "compile_config"}


def _compiled(net: Any, counted: Mapping[str, str]) -> Any:
    """How the net is compiled, without the optimizer's own name, which only counts."""
    config = dict(net.get_compile_config() or {})
    if isinstance(optimizer := config.get("optimizer"), dict):
        settings = {key: value for key, value in optimizer["config"].items() if key != "name"}
        config["optimizer"] = {**optimizer, "config": settings}
    return _plain(config, counted)


def _plain(value: Any, names: Mapping[str, str]) -> Any:
    """Values that print alike in each process: numbers and text, in lists and mappings, names
    counted, without addresses.
    """
    if isinstance(value, Mapping):
        if value.get("class_name") == "__lambda__":  # its bytes name a file of this machine
            return "lambda"
        return {key: _plain(part, names) for key, part in value.items() if key not in PASSING}
    if isinstance(value, list | tuple):
        return [_plain(part, names) for part in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, bool | int | float | None):
        return value
    return names.get(str(value), re.sub(r" at 0x[0-9a-f]+", "", str(value)))


def measured(net: Any, anything: Any) -> dict[str, Bound]:
    """What `evaluate` gives by its Keras names, but for each output's own loss → its bound."""
    found: dict[str, Bound] = {"loss": math.inf}
    return found | {name: _bound(metric) for name, metric, _ in _metrics(net, anything)}


def alike(net: Any, anything: Any) -> list[str]:
    """The metrics of `measured` to which Keras gives no weights."""
    return [name for name, _, weighed in _metrics(net, anything) if not weighed]


def _metrics(net: Any, anything: Any) -> Iterator[tuple[str, Any, bool]]:
    """Each metric by its name, and whether it is one of `weighted_metrics`.

    Keras names its metrics when it sees the first batch; the outputs, or `anything`, stand in for
    it.
    """
    compiled = net._compile_metrics
    losses = net._compile_loss
    if compiled is not None:
        reply = list(getattr(net, "outputs", None) or [anything])
        given = compiled._user_metrics, compiled._user_weighted_metrics
        named = type(compiled)(*given, output_names=compiled.output_names)
        named.build(reply, reply)
        groups = [(group, False) for group in named._flat_metrics]
        groups += [(group, True) for group in named._flat_weighted_metrics]
        for group, weighed in groups:
            if group is not None:
                output = ""
                if group.output_name:
                    output = f"{group.output_name}_"
                yield from ((f"{output}{one.name}", one, weighed) for one in group.metrics)
    known = [net._loss_tracker, compiled]
    if losses is not None:
        known += losses.metrics
    for metric in net.metrics:
        if not any(metric is one for one in known):
            yield metric.name, metric, False


def own_steps(net: Any, base: Any) -> list[str]:
    """Which steps and sums of metrics of the class of all models, `base`, it does not leave to
    that.

    An own step may compute anything, so nothing is known of how it counts examples.
    """
    names = ("train_step", "test_step", "compute_metrics")
    return [name for name in names if getattr(type(net), name) is not getattr(base, name)]


def losses(net: Any, get: Callable[[Any], Any], outputs: int = 1) -> list[Any]:
    """What `compile` names for each output: functions or objects, None for what is not compared;
    nothing where it names none. `get` finds one by its name.
    """
    given = net.loss
    if given is None:
        return []
    if isinstance(given, Mapping):
        given = [given.get(name) for name in net.output_names]
    if not isinstance(given, list | tuple):
        given = [given] * outputs
    return [_found(one, get) for one in given]


def _found(loss: Any, get: Callable[[Any], Any]) -> Any:
    """A loss of that name; itself, where it is none, or Keras tells by the shapes which of the
    cross-entropies it is.
    """
    if isinstance(loss, str) and loss not in CROSS_ENTROPIES:
        return get(loss)
    return loss


def is_mean(loss: Any) -> bool:
    """Is a loss of Keras' a mean over examples, all of which count alike?

    Its reduction is a mean, no class is left out, and it is a loss of Keras' that looks at single
    examples.
    """
    if loss is None or isinstance(loss, str):
        return True
    parts = [type(loss), getattr(loss, "fn", None)]
    if hasattr(loss, "__name__"):
        parts[0] = loss
    own = all(one is None or one.__module__.startswith("keras.") for one in parts)
    whole = getattr(loss, "reduction", "sum_over_batch_size") in MEANS
    return own and whole and not leaves_out(loss) and word(loss).lower() not in OF_BATCHES


def leaves_out(loss: Any) -> bool:
    """Does it leave out the rows of a class?"""
    return getattr(loss, "ignore_class", None) is not None


def takes_probabilities(loss: Any) -> bool:
    """Is it a cross-entropy of probabilities?"""
    return "crossentropy" in word(loss).lower() and not getattr(loss, "from_logits", False)


def _bound(metric: Any) -> Bound:
    """1 for a share of Keras', and nothing for any other.

    Keras' accuracies, precisions and their like lie in 0 … 1; of errors no bound is known.
    """
    kind = type(metric)
    if kind.__module__.startswith("keras") and SHARES.search(kind.__name__):
        return RATE
    return math.inf


def own_code(net: Any) -> dict[str, Any]:
    """Classes and functions that are not Keras' own, by name; another process may not find them by
    itself.
    """
    parts = [part if hasattr(part, "__name__") else type(part) for part in _parts(net)]
    own = [part for part in parts if not part.__module__.startswith("keras.")]
    found = {part.__name__: part for part in own}
    return {name: part for name, part in found.items() if name != "<lambda>"}


def code_of(net: Any) -> Iterator[Any]:
    """What a digest covers of layers, loss, optimizer and metrics beside their spelling."""
    for part in _parts(net):
        found = code(part)
        if isinstance(found, tuple):
            kind, held = found
            found = kind, {name: one for name, one in held.items() if name not in COMPILED}
        yield found


def _parts(net: Any) -> Iterator[Any]:
    """Layers, losses, optimizer and metrics, one by one; not those that are texts."""
    yield from net._flatten_layers()
    given = [net.loss, net.optimizer, getattr(net._compile_metrics, "_user_metrics", None)]
    while given:
        part = given.pop()
        if isinstance(part, Mapping):
            given += part.values()
        elif isinstance(part, list | tuple):
            given += part
        elif part is not None and not isinstance(part, str):
            yield part
