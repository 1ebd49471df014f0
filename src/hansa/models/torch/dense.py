"""Which PyTorch networks are dense: told from their structure, before any training."""

from __future__ import annotations

import copy
import itertools
import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from ...data.inputs import logits
from ..checks import settings
from ..dense import Layer, Net

FUNCTIONS: dict[Any, str] = {
    **dict.fromkeys((nn.Identity,), "identity"),
    **dict.fromkeys((nn.ReLU, F.relu, torch.relu, "relu"), "relu"),
    **dict.fromkeys((nn.Tanh, F.tanh, torch.tanh, "tanh"), "tanh"),
    **dict.fromkeys((nn.Sigmoid, F.sigmoid, torch.sigmoid, "sigmoid"), "sigmoid"),
}
LOSSES = {"cross_entropy": nn.CrossEntropyLoss, "mse_loss": nn.MSELoss,
          "binary_cross_entropy_with_logits": nn.BCEWithLogitsLoss}  # fmt: skip
LEAVES = (nn.Linear, nn.Flatten, *(kind for kind in FUNCTIONS if isinstance(kind, type)))
SHAPES = ("size", getattr, operator.getitem)  # what asks for a shape, to lay examples out flat by it


def dense(net: nn.Module, loss: Any) -> Net | None:
    """The net as layers, one after the other, and its loss; None where it is anything else."""
    name = next((name for name, kind in LOSSES.items() if _plain(loss, name, kind)), "")
    leaves = [one for one in net.modules() if not any(one.children())]
    if not name or not all(type(one) in LEAVES for one in leaves) or any(map(_hooked, net.modules())):
        return None
    if not all(p.requires_grad and p.dtype == torch.float32 for p in net.parameters()) or list(net.buffers()):
        return None
    whole = nn.Sequential(net)  # so that a single layer is traced as a layer
    layers, flattens = list[Layer](), False
    for what in _chain(whole, _operations(whole)):
        if isinstance(what, Layer):
            layers.append(what)
        elif what == "flat" and not layers:
            flattens = True
        elif what in FUNCTIONS.values() and layers and (what == "identity" or layers[-1].activation == "identity"):
            layers[-1] = layers[-1]._replace(activation=what if what != "identity" else layers[-1].activation)
        else:
            return None
    fits = all(one.outputs == two.inputs for one, two in itertools.pairwise(layers))
    fits = fits and bool(layers) and layers[-1].activation == "identity"
    used = sorted(place for one in layers for place in (one.weights, one.bias) if place >= 0)
    return Net(tuple(layers), name, flattens) if fits and used == sorted(_places(net).values()) else None


def _operations(net: nn.Module) -> list[fx.Node]:
    """What a net's code does with its input; nothing where that cannot be told, or is drawn.

    It runs on a copy of all but the tensors, for it may keep what it gets.
    """
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        try:
            copied = copy.deepcopy(net, {id(p): p for p in net.parameters()}).train()
            next(copied.children())._forward_hooks.clear()  # TorchModel's own
            nodes = list(fx.symbolic_trace(copied).graph.nodes)
        except Exception:  # whatever a net's own code does when it is copied, or with a symbol
            return []
        return nodes if torch.equal(before, torch.get_rng_state()) else []


def _chain(net: nn.Module, nodes: list[fx.Node]) -> Iterator[Layer | str]:
    """What each operation of a graph is: a layer, a function's name, "flat", or "" for all that a dense net has not."""
    places, before = _places(net), nodes[0] if nodes else None
    for node in nodes[1:]:
        if node.target in SHAPES:
            continue
        if not node.args or node.args[0] is not before or node.kwargs.keys() - {"inplace", "start_dim"}:
            yield ""
        elif node.op == "output":
            return
        elif node.op == "call_module":
            one = net.get_submodule(str(node.target))
            if isinstance(one, nn.Linear):
                yield _linear(one, places)
            elif isinstance(one, nn.Flatten):
                yield "flat" if (one.start_dim, one.end_dim) == (1, -1) else ""
            else:
                yield FUNCTIONS.get(type(one), "")
        elif node.target in ("flatten", torch.flatten):
            yield "flat" if (*node.args[1:], *node.kwargs.values()) == (1,) else ""
        elif node.target in ("view", "reshape"):
            rows, width = node.args[1:] if len(node.args) == 3 else ("", "")
            yield "flat" if (rows == -1 and isinstance(width, int)) or (width == -1 and _counts(rows, before)) else ""
        else:
            yield FUNCTIONS.get(node.target, "")
        before = node


def _linear(one: nn.Linear, places: dict[int, int]) -> Layer | str:
    """The layer, of its tensors' own shapes; "" where one is computed, or of another form."""
    w, b = one.weight, one.bias
    if id(w) not in places or w.ndim != 2 or not w.numel():
        return ""
    if b is not None and (id(b) not in places or b.shape != w.shape[:1]):
        return ""
    return Layer(w.shape[1], w.shape[0], places[id(w)], -1 if b is None else places[id(b)], "identity")


def _counts(rows: Any, batch: fx.Node | None) -> bool:
    """Is this x.size(0), x.size()[0] or x.shape[0] of the batch x?"""
    if not isinstance(rows, fx.Node) or rows.args[1:] != (0,):
        return False
    whole = rows.args[0]
    if rows.target is operator.getitem and isinstance(whole, fx.Node) and whole.args[1:] in ((), ("shape",)):
        return whole.target in SHAPES and whole.args[0] is batch
    return rows.target == "size" and whole is batch


def _places(net: nn.Module) -> dict[int, int]:
    """Where each parameter lies in the vector."""
    places, i = {}, 0
    for p in net.parameters():
        places[id(p)] = i
        i += p.numel()
    return places


def _plain(loss: Any, name: str, kind: type[nn.Module]) -> bool:
    """Is it PyTorch's own loss, as it is without any settings?"""
    if type(loss) is kind:
        return not _hooked(loss) and settings(loss) == settings(kind())
    return loss is getattr(F, name)


def _hooked(module: nn.Module) -> bool:
    """Does something happen when it is called that is not in its class? TorchModel's own hook changes no tensor."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    found = any(hook is not logits for kind in kinds for hook in getattr(module, kind).values())
    return found or "forward" in vars(module)
