"""Which PyTorch networks are dense: told from their structure, before any training."""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from ...rand import shared
from ..checks import settings
from ..dense import Layer, Net

FUNCTIONS: dict[Any, str] = {
    **dict.fromkeys((nn.Identity,), "identity"),
    **dict.fromkeys((nn.ReLU, F.relu, torch.relu, "relu"), "relu"),
    **dict.fromkeys((nn.Tanh, F.tanh, torch.tanh, "tanh"), "tanh"),
    **dict.fromkeys((nn.Sigmoid, F.sigmoid, torch.sigmoid, "sigmoid"), "sigmoid"),
}
LOSSES = {
    "cross_entropy": nn.CrossEntropyLoss,
    "mse_loss": nn.MSELoss,
    "l1_loss": nn.L1Loss,
    "smooth_l1_loss": nn.SmoothL1Loss,
    "binary_cross_entropy_with_logits": nn.BCEWithLogitsLoss,
}
ADDS = (operator.add, operator.iadd, torch.add, "add")
LEAVES = (nn.Linear, nn.Flatten, *(kind for kind in FUNCTIONS if isinstance(kind, type)))
# what asks for a shape, to lay examples out flat by it
SHAPES = ("size", getattr, operator.getitem)


def dense(net: nn.Module, loss: Any) -> Net | None:
    """The net as layers, one after the other, and its loss; None where it is anything else.

    All parameters are trained and of float32, each is read by one layer, no buffer, hook or code of
    one's own lies between, and the last layer has no activation. It is told by a trace of PyTorch's
    (torch.fx).
    """
    name = next((name for name, kind in LOSSES.items() if _plain(loss, name, kind)), "")
    leaves = [one for one in net.modules() if not any(one.children())]
    if (
        not name
        or not all(type(one) in LEAVES for one in leaves)
        or any(map(_hooked, net.modules()))
    ):
        return None
    if not all(p.requires_grad and p.dtype == torch.float32 for p in net.parameters()) or list(
        net.buffers()
    ):
        return None
    whole = nn.Sequential(net)  # so that a single layer is traced as a layer
    layers, flattens = _read(whole, _operations(whole))
    if not layers or layers[-1].activation != "identity":
        return None
    used = sorted(place for one in layers for place in (one.weights, one.bias) if place >= 0)
    if used != sorted(_places(net).values()):
        return None
    return Net(tuple(layers), name, flattens)


class _Symbol(fx.Proxy):
    """PyTorch's own does not tell += from +."""

    def __iadd__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})


class _Tracer(fx.Tracer):
    """A trace with such symbols."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """The symbol of what a node gives."""
        return _Symbol(node, self)


def _operations(net: nn.Module) -> list[fx.Node]:
    """What a net's code does with its input; nothing where that cannot be told, or is drawn.

    It runs on a copy of all but the tensors, for it may keep what it gets.
    """
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        others = shared()
        try:
            copied = copy.deepcopy(net, {id(p): p for p in net.parameters()}).train()
            next(copied.children())._forward_hooks.clear()  # TorchModel's own
            nodes = list(_Tracer().trace(copied).nodes)
        except Exception:  # whatever a net's own code does when it is copied, or with a symbol
            return []
        if shared() != others or not torch.equal(before, torch.get_rng_state()):
            return []  # it draws
        return nodes


def _read(net: nn.Module, nodes: list[fx.Node]) -> tuple[list[Layer], bool]:
    """A graph as layers, and whether it lays examples out flat first; no layers where it is more
    than a dense net has.

    An operation on what the last layer gives becomes part of that layer where nothing else reads
    what was there before; else it is a layer of its own, without weights.
    """
    layers = list[Layer]()
    flattens = False
    other = (list[Layer](), False)
    values = dict.fromkeys(nodes[:1], 0)  # which activation each node is
    for node in nodes[1:]:
        if node.target in SHAPES:
            continue
        what = _operation(net, node)
        last = len(layers)
        read = [values.get(one, -1) if isinstance(one, fx.Node) else -1 for one in node.args]
        if what != "add" and read[:1] != [last]:
            return other
        if what == "output":
            if flattens and not _flat_alone(nodes[0], values):
                return other
            return layers, flattens
        if what == "identity" and isinstance(node.args[0], fx.Node):
            node.replace_all_uses_with(node.args[0])
            node.graph.erase_node(node)  # which is no reader any more
            continue
        if what == "add":
            fits = _added(layers, node, read)
        elif what == "flat":
            fits = flattens = not layers
        elif isinstance(what, Layer):
            fits = not layers or layers[-1].outputs == what.inputs
            layers.append(what)
        else:
            fits = bool(what and layers) and _applied(layers, node, what, _in_place(net, node))
        if not fits:
            return other
        values[node] = len(layers)
    return other


def _added(layers: list[Layer], node: fx.Node, read: list[int]) -> bool:
    """Add an earlier activation to the last one; False where that is not what happens.

    An addition in place is one only where nothing else reads what it writes over. `read` are the
    numbers of the two activations, −1 for what is none.
    """
    if not layers or len(read) != 2 or max(read) != len(layers) or not 0 <= min(read) < len(layers):
        return False
    skip = min(read)
    last = layers[-1]
    now = node.args[read.index(len(layers))]
    if layers[skip].inputs != last.outputs:
        return False
    in_place = node.target is operator.iadd
    free = _only(now) and last.activation == "identity" and last.skip < 0
    if in_place and not (free and now is node.args[0]):
        return False
    if free:
        layers[-1] = last._replace(skip=skip)
    else:
        layers.append(Layer(last.outputs, last.outputs, -1, -1, "identity", skip))
    return True


def _applied(layers: list[Layer], node: fx.Node, function: str, in_place: bool) -> bool:
    """Apply a function to the last activation; False where something else would read what it has
    written over.
    """
    last = layers[-1]
    if _only(node.args[0]) and last.activation == "identity":
        layers[-1] = last._replace(activation=function)
        return True
    layers.append(Layer(last.outputs, last.outputs, -1, -1, function))
    return not in_place


def _only(read: Any) -> bool:
    """Has the node one reader?"""
    return isinstance(read, fx.Node) and len(read.users) == 1


def _in_place(net: nn.Module, node: fx.Node) -> bool:
    """Does a function write over what it reads?

    By its module's or its call's `inplace`; an argument by position may be that as well.
    """
    if node.op == "call_module" and getattr(net.get_submodule(str(node.target)), "inplace", False):
        return True
    return bool(node.kwargs.get("inplace") or node.args[1:])


def _flat_alone(inputs: fx.Node, values: dict[fx.Node, int]) -> bool:
    """Are the inputs read by nothing but what lays them out flat?"""
    return all(values.get(one) == 0 or one.target in SHAPES for one in inputs.users)


def _operation(net: nn.Module, node: fx.Node) -> Layer | str:
    """What a node is: a layer, a function's name, "add", "flat", "output", or "" for all that a
    dense net has not.
    """
    if node.kwargs.keys() - {"inplace", "start_dim"}:
        return ""
    if node.op == "output":
        return "output"
    if node.op == "call_module":
        one = net.get_submodule(str(node.target))
        if isinstance(one, nn.Linear):
            return _linear(one, _places(net))
        if isinstance(one, nn.Flatten):
            return _flat((one.start_dim, one.end_dim) == (1, -1))
        return FUNCTIONS.get(type(one), "")
    if node.target in ADDS:
        return "add"
    if node.target in ("flatten", torch.flatten):
        return _flat((*node.args[1:], *node.kwargs.values()) == (1,))
    if node.target in ("view", "reshape"):
        return _flat(len(node.args) == 3 and _lays_flat(*node.args))
    return FUNCTIONS.get(node.target, "")


def _flat(does: bool) -> str:
    """ "flat" for what lays examples out flat, and nothing else does it."""
    if does:
        return "flat"
    return ""


def _lays_flat(batch: Any, rows: Any, width: Any) -> bool:
    """Is this a batch's view(−1, width), or view(len(batch), −1)?"""
    if width == -1 and _counts(rows, batch):
        return True
    return rows == -1 and isinstance(width, int)


def _linear(one: nn.Linear, places: dict[int, int]) -> Layer | str:
    """The layer, of its tensors' own shapes; "" where one is computed, or of another form."""
    w = one.weight
    b = one.bias
    if id(w) not in places or w.ndim != 2 or not w.numel():
        return ""
    if b is not None and (id(b) not in places or b.shape != w.shape[:1]):
        return ""
    bias = -1
    if b is not None:
        bias = places[id(b)]
    return Layer(w.shape[1], w.shape[0], places[id(w)], bias, "identity")


def _counts(rows: Any, batch: Any) -> bool:
    """Is this x.size(0), x.size()[0] or x.shape[0] of the batch x?"""
    if not isinstance(rows, fx.Node) or rows.args[1:] != (0,):
        return False
    whole = rows.args[0]
    if (
        rows.target is operator.getitem
        and isinstance(whole, fx.Node)
        and whole.args[1:] in ((), ("shape",))
    ):
        return whole.target in SHAPES and whole.args[0] is batch
    return rows.target == "size" and whole is batch


def _places(net: nn.Module) -> dict[int, int]:
    """Where each parameter lies in the vector."""
    places = {}
    i = 0
    for p in net.parameters():
        places[id(p)] = i
        i += p.numel()
    return places


def _plain(loss: Any, name: str, kind: type[nn.Module]) -> bool:
    """Is it PyTorch's own loss, as it is without any settings?

    A loss with settings, such as class weights, is PyTorch's to compute.
    """
    if type(loss) is kind:
        return not _hooked(loss) and settings(loss) == settings(kind())
    return loss is getattr(F, name)


def _hooked(module: nn.Module) -> bool:
    """Does something happen when it is called that is not in its class?"""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for kind in kinds) or "forward" in vars(module)
