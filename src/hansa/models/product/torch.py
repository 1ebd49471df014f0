"""The products of a traced graph that kernels of ours compute: those with few rows, where libraries are slow."""

from __future__ import annotations

import copy
import ctypes
import logging
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from ... import native

SOURCE = Path(__file__).with_name("product.cpp")
HEADER = SOURCE.with_name("products.hpp")
FEW, LARGE, UNIT = 64, 1 << 16, 16  # rows at most, numbers at least in the largest matrix, numbers in a vector
CALL = (
    "AOTITorchError aoti_torch_cpu_product(AtenTensorHandle* first, AtenTensorHandle a, AtenTensorHandle b, "
    "AtenTensorHandle* out)"
)

aten = torch.ops.aten
log = logging.getLogger("hansa")


@torch.library.custom_op("hansa::product", mutates_args=())
def product(first: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """first + a b; a [m, k], b [k, n], first [n], [m, n] or none."""
    return a @ b if first is None else first + a @ b


@product.register_fake
def _(first: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[1])


class Ours(NamedTuple):
    """A graph with our products in it, what they are made of, and what tells Inductor of them."""

    graph: GraphModule
    library: str
    options: dict[str, Any]


@cache
def loaded() -> str:
    """The library of our products, where every program finds it: its name; "" where there is none, said once."""
    lib = Path(torch.__file__).parent / "lib"
    library = native.loaded(SOURCE, HEADER, links=(f"-L{lib}", "-ltorch_cpu"), mode=ctypes.RTLD_GLOBAL)
    if isinstance(library, ctypes.CDLL):
        return Path(library._name).name
    log.warning("Compiled programs go without our own products: %s", library)
    return ""


def replaced(graph: GraphModule) -> Ours | None:
    """The graph with our products for those that fit; None where none does, or we have none."""
    if not any(fits(node) for node in graph.graph.nodes) or not (library := loaded()):
        return None
    made = copy.deepcopy(graph)
    for node in made.graph.nodes:
        if fits(node):
            *first, a, b = node.args
            _put(made, node, first[0] if first else None, a, b)
        elif found := descent(node):
            y, eta, a, b = found
            with made.graph.inserting_before(node):
                back = made.graph.call_function(aten.neg.default, (eta,))
                a = made.graph.call_function(aten.mul.Tensor, (a, back))
            _put(made, node, y, a, b)
    made.graph.eliminate_dead_code()
    made.recompile()
    shims = {torch.ops.hansa.product.default: [CALL]}
    return Ours(made, library, {"aot_inductor.custom_ops_to_c_shims": shims})


def fits(node: Any) -> bool:
    """Is this first + a b, with few rows or few terms, a large matrix, and all of them laid out as the kernels read?"""
    if node.target not in (aten.mm.default, aten.addmm.default) or node.kwargs:
        return False
    *first, a, b = (one.meta["val"] for one in node.args)
    (m, k), n = a.shape, b.shape[1]
    if any(t.dtype != torch.float32 or t.device.type != "cpu" for t in (*first, a, b)):
        return False
    if any(tuple(t.shape) != (n,) or t.stride() != (1,) for t in first):
        return False
    dotted = m <= FEW and k % UNIT == 0 and a.stride() == (k, 1) and b.stride() == (1, k)
    return (dotted or (min(m, k) <= FEW and rowwise(b))) and k > 0 and max(m * k, k * n, m * n) >= LARGE


def rowwise(t: Tensor) -> bool:
    """Does the matrix lie in memory row by row, each of whole vectors?"""
    return t.stride() == (t.shape[1], 1) and t.shape[1] % UNIT == 0


def descent(node: Any) -> tuple[Node, Node, Node, Node] | None:
    """y, η, a, b where the node is y − η a b: a step of plain descent, which is a sum that begins with y."""
    if node.target != aten.sub.Tensor or node.kwargs or getattr(node.args[1], "target", None) != aten.mul.Tensor:
        return None
    y, (eta, g) = node.args[0], node.args[1].args
    if not all(isinstance(one, Node) for one in (y, eta, g)):
        return None
    while g.target == aten.t.default and g.args[0].target == aten.t.default:
        g = g.args[0].args[0]
    if g.target != torch.ops.hansa.product.default:
        return None
    first, a, b = g.args
    if first is not None or eta.meta["val"].dim() or y.meta["val"].shape != g.meta["val"].shape:
        return None
    return (y, eta, a, b) if rowwise(y.meta["val"]) and rowwise(b.meta["val"]) else None


def _put(graph: GraphModule, node: Node, *args: Any) -> None:
    """Our product in place of the node."""
    with graph.graph.inserting_before(node):
        ours = graph.graph.call_function(torch.ops.hansa.product.default, args)
    ours.meta = node.meta
    node.replace_all_uses_with(ours)
    graph.graph.erase_node(node)
