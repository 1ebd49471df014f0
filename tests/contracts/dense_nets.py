"""Networks that are dense, and many that are nearly so."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def layers(*sizes: int, f: Callable[[], nn.Module] = nn.ReLU, bias: bool = True) -> nn.Sequential:
    """Linear layers of such sizes, with f between them."""
    torch.manual_seed(0)
    parts = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o, bias=bias), f())]
    return nn.Sequential(*parts[:-1])


class Own(nn.Module):
    """Two layers, called in some way."""

    def __init__(self, forward: Callable[..., Any], **parts: Any):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        for name, part in parts.items():
            setattr(self, name, part)
        self.how = forward

    def forward(self, x: Any) -> Any:
        """As it was told."""
        return self.how(self, x)


FLAT: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda x: x,
    "view size(0)": lambda x: x.view(x.size(0), -1),
    "reshape shape[0]": lambda x: x.reshape(x.shape[0], -1),
    "view size()[0]": lambda x: x.view(x.size()[0], -1),
    "view(-1, K)": lambda x: x.view(-1, 8),
    "torch.flatten": lambda x: torch.flatten(x, 1),
    "start_dim": lambda x: torch.flatten(x, start_dim=1),
    "flatten": lambda x: x.flatten(1),
}
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "F.relu": (F.relu, "relu"),
    "torch.relu": (torch.relu, "relu"),
    "x.relu": (lambda x: x.relu(), "relu"),
    "in place": (lambda x: F.relu(x, inplace=True), "relu"),
    "torch.tanh": (torch.tanh, "tanh"),
    "F.sigmoid": (F.sigmoid, "sigmoid"),
    "x.sigmoid": (lambda x: x.sigmoid(), "sigmoid"),
    "none": (lambda x: x, "identity"),
}


class Doubled(nn.Linear):
    """A layer that computes something else."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Twice as much."""
        return 2 * super().forward(input)


class Called(nn.Sequential):
    """A net that is called in another way."""

    def __call__(self, x: Any) -> Any:
        """With twice as much."""
        return super().__call__(2 * x)


def hooked(kind: str, deep: bool) -> nn.Module:
    """A net with a hook of the user's own, at its root or at a layer."""
    net = layers(8, 8)
    getattr(net[0] if deep else net, f"register_{kind}")(lambda *all: None)
    return net


def parametrized(name: str) -> nn.Module:
    net = layers(8, 5, 8)
    nn.utils.parametrize.register_parametrization(net[2], name, nn.Tanh())  # type: ignore[no-untyped-call]
    return net


def with_own_forward(deep: bool) -> nn.Module:
    net = layers(8, 5, 8)
    one: nn.Module = net[2] if deep else net
    one.forward = types.MethodType(lambda self, x: 2 * type(self).forward(self, x), one)
    return net


def changed(change: Callable[[nn.Sequential], Any]) -> nn.Module:
    net = layers(8, 5, 8)
    change(net)
    return net


class Two(Own):
    """A net of two inputs."""

    def forward(self, x: Any, z: Any) -> Any:
        """Of which it takes one."""
        return self.b(self.a(x))


class Perhaps(Own):
    """A net of one input or two."""

    def forward(self, x: Any, z: Any = None) -> Any:
        """With both, something else."""
        return self.b(self.a(x if z is None else z))


def tied() -> nn.Module:
    net = Own(lambda own, x: own.b(torch.relu(own.a(x))))
    net.b.weight = net.a.weight
    return net


def residual(own: Own, x: Any, f: Callable[[Any], Any] = torch.relu) -> Any:
    """x + f(x), with two layers in f."""
    return x + own.b(f(own.a(x)))


def plus(own: Own, x: Any) -> Any:
    """The usual code of a block."""
    before = x = torch.tanh(own.c(x))
    x = own.b(torch.relu(own.a(x)))
    x += before
    return own.d(torch.relu(x))


def before_the_functions(own: Own, x: Any) -> Any:
    """Blocks that begin with the function: what is added has none."""
    h = own.c(x)
    h = h + own.a(torch.relu(h))
    h = h + own.b(torch.tanh(h))
    return own.d(torch.relu(h))


def one_in_another(own: Own, x: Any) -> Any:
    """A skip around a skip; the inputs and an activation are added twice."""
    h = torch.relu(own.a(x) + x)
    k = h + own.b(h)
    return own.d(torch.tanh(h.add(own.c(k) + x)))


def more() -> dict[str, nn.Module]:
    """Two more layers."""
    return {"c": nn.Linear(8, 8), "d": nn.Linear(8, 8)}


class Block(nn.Module):
    """x + f(x)."""

    def __init__(self, inner: int, f: Callable[[], nn.Module]):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(20, inner), f(), nn.Linear(inner, 20))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return x + self.block(x)


def blocks() -> nn.Module:
    """Blocks between two layers, none as wide as the inputs."""
    inner = Block(7, nn.ReLU), nn.ReLU(inplace=True), Block(33, nn.Sigmoid), Block(16, nn.Tanh), nn.Tanh()
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 20), *inner, nn.Linear(20, 8))


SKIPS: dict[str, Callable[[], nn.Module]] = {
    "around all": lambda: Own(residual),
    "around one layer": lambda: Own(lambda own, x: own.b(x + own.a(x))),
    "around a last layer": lambda: Own(lambda own, x: (h := own.a(x).sigmoid()) + own.b(h)),
    "function behind the sum": lambda: Own(lambda own, x: own.c(torch.tanh(residual(own, x))), c=nn.Linear(8, 8)),
    "function before the sum": lambda: Own(lambda own, x: own.b((h := own.a(x)) + own.c(h).relu()), c=nn.Linear(8, 8)),
    "sum at the end": lambda: Own(lambda own, x: (h := own.a(x).tanh()) + own.b(h).relu()),
    "torch.add": lambda: Own(lambda own, x: own.b(torch.add(own.a(x), x))),
    "x.add": lambda: Own(lambda own, x: own.b(x.add(own.a(x)))),
    "flat": lambda: Own(lambda own, x: residual(own, x.flatten(1))),
    "+=": lambda: Own(plus, **more()),
    "functions first": lambda: Own(before_the_functions, **more()),
    "one in another": lambda: Own(one_in_another, **more()),
    "two functions": lambda: nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Tanh(), nn.Linear(8, 8)),
    "modules": blocks,
}


def plus_where_it_is_read(own: Own, x: Any) -> Any:
    """The sum is read under the old name, too."""
    h = own.a(x)
    old = h
    h += x
    return own.b(h) + old


def plus_behind_a_function(own: Own, x: Any) -> Any:
    """PyTorch refuses this one: tanh's value is needed for its slope."""
    h = torch.tanh(own.a(x))
    h += x
    return own.b(h)


def plus_to_the_inputs(own: Own, x: Any) -> Any:
    """It writes into the batch."""
    h = own.a(x)
    x += h
    return own.b(x)


def under_another_name() -> nn.Module:
    """An Identity gives what it gets, and not a copy."""

    def forward(own: Own, x: Any) -> Any:
        h = own.a(x)
        return own.b(F.relu(own.c(h), inplace=True)) + h

    return Own(forward, c=nn.Identity())


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 8)),
    "F.dropout": lambda: Own(lambda own, x: own.b(F.dropout(own.a(x), 0.5))),
    "buffers": lambda: nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)),
    "own buffer": lambda: changed(lambda net: net.register_buffer("k", torch.ones(1))),
    "doubled": lambda: Own(lambda own, x: own.b((h := own.a(x)) + h)),
    "doubled skip": lambda: Own(lambda own, x: own.b(torch.add(own.a(x), x, alpha=2))),
    "constant": lambda: Own(lambda own, x: own.b(own.a(x) + 1)),
    "skip by a layer": lambda: Own(lambda own, x: own.a(x) + own.b(x)),
    "skip of another width": lambda: Own(lambda own, x: own.b(x + own.a(x)), a=nn.Linear(8, 1)),
    "skip of two activations": lambda: Own(lambda own, x: own.b((h := own.a(x)).relu() + h.tanh())),
    "skip around what is flat": lambda: Own(lambda own, x: own.b(x + own.a(x.flatten(1)))),
    "+= where it is read": lambda: Own(plus_where_it_is_read),
    "+= behind a function": lambda: Own(plus_behind_a_function),
    "+= to the inputs": lambda: Own(plus_to_the_inputs),
    "in place where it is read": lambda: Own(lambda own, x: own.b(F.relu(h := own.a(x), inplace=True)) + h),
    "in place by position": lambda: Own(lambda own, x: own.b(F.relu(h := own.a(x), True)) + h),
    "in place under another name": under_another_name,
    "parallel": lambda: Own(lambda own, x: (own.a(x), own.b(x))[1]),
    "shared": lambda: Own(lambda own, x: own.b(own.a(torch.tanh(own.a(x))))),
    "shared, another unused": lambda: Own(lambda own, x: own.a(torch.tanh(own.a(x)))),
    "tied weights": tied,
    "unused layer": lambda: Own(lambda own, x: own.a(x)),
    "unused parameter": lambda: Own(lambda own, x: own.b(own.a(x)), c=nn.Parameter(torch.ones(3))),
    "own parameter": lambda: Own(lambda own, x: own.b(own.a(x) * own.c), c=nn.Parameter(torch.ones(8))),
    "empty layer": lambda: Own(lambda own, x: own.b(own.a(x)), a=nn.Linear(8, 0), b=nn.Linear(0, 8)),
    "frozen": lambda: changed(lambda net: net[0].requires_grad_(False)),
    "frozen bias": lambda: changed(lambda net: net[0].bias.requires_grad_(False)),
    "float64": lambda: layers(8, 5, 8).double(),
    "bfloat16": lambda: layers(8, 5, 8).bfloat16(),
    "function first": lambda: nn.Sequential(nn.Tanh(), nn.Linear(8, 8)),
    "function last": lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU()),
    "LogSoftmax": lambda: nn.Sequential(nn.Linear(8, 8), nn.LogSoftmax(1)),
    "LeakyReLU": lambda: nn.Sequential(nn.Linear(8, 8), nn.LeakyReLU(), nn.Linear(8, 8)),
    "flat behind a layer": lambda: nn.Sequential(nn.Linear(8, 8), nn.Flatten(), nn.Linear(8, 8)),
    "other flat": lambda: nn.Sequential(nn.Flatten(0), nn.Linear(8, 8)),
    "subclass": lambda: nn.Sequential(Doubled(8, 8)),
    "subclass alone": lambda: Doubled(8, 8),
    "own call": lambda: Called(nn.Linear(8, 8)),
    "own forward": lambda: with_own_forward(False),
    "own forward of a layer": lambda: with_own_forward(True),
    "parametrized weight": lambda: parametrized("weight"),
    "parametrized bias": lambda: parametrized("bias"),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)),
    "other bias": lambda: changed(lambda net: setattr(net[0], "bias", nn.Parameter(torch.ones(1)))),
    "branch": lambda: Own(lambda own, x: own.b(own.a(x)) if float(x.sum()) > 0 else own.a(x)),
    "drawn branch": lambda: Own(lambda own, x: own.b(own.a(x) if torch.rand(()) < 2 else x)),
    "scaled": lambda: Own(lambda own, x: own.b(2 * own.a(x))),
    "view of the other size": lambda: Own(lambda own, x: own.b(own.a(x.view(x.size(1), -1)))),
    "view of a fixed batch": lambda: Own(lambda own, x: own.b(own.a(x.view(8, -1)))),
    "view of another's size": lambda: Own(lambda own, x: own.b(own.a(x.view(own.a(x).size(0), -1)))),
    "flatten(0)": lambda: Own(lambda own, x: own.b(own.a(x.flatten(0)))),
    "one row": lambda: Own(lambda own, x: own.b(own.a(x[0]))),
    "transposed": lambda: Own(lambda own, x: own.b(own.a(x.T))),
    "two inputs": lambda: Two(repr),
    "several outputs": lambda: Own(lambda own, x: (own.b(own.a(x)), 1)),
    "outputs by name": lambda: Own(lambda own, x: {"logits": own.b(own.a(x))}),
    "inner output": lambda: Own(lambda own, x: (hidden := own.a(x), own.b(hidden))[0]),
} | {
    f"{kind} {deep}": partial(hooked, kind, deep)
    for kind, deep in product(
        ("forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"), (False, True)
    )
}
