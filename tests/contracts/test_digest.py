"""What a plan's digest promises: it tells apart what computes differently, and is the same wherever it is computed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property, partial, wraps
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path
from threading import Lock
from types import ModuleType, SimpleNamespace
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from pandas import DataFrame, Series
from scipy.sparse import csr_array
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.digest import digest_of
from hansa.errors import PlanError
from hansa.transforms import Transform

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Shift(Transform):
    """Add a table to every vector."""

    table: Any = field(default=0.0, repr=False)
    other: Any = 0

    def encode(self, v: Any, at: Any) -> Any:
        """The sum of both."""
        return v + self.table


def plan(*pipe: Transform, model: Any = None) -> h.Plan:
    return h.Plan(model or h.Softmax(4, 3), pipe=(*pipe, h.Weigh("one")))


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.guards("every number of an array counts")
@pytest.mark.promise("P113")
@pytest.mark.parametrize("make", [np.array, torch.tensor, list, tuple], ids=["numpy", "torch", "list", "tuple"])
def test_one_number_of_5000_makes_another_plan(make: Callable[[Any], Any]) -> None:
    numbers = np.linspace(0, 1, 5000)
    other = numbers.copy()
    other[2500] = np.nextafter(other[2500], 1)
    first, same, second = (plan(Shift(make(one))) for one in (numbers, numbers.copy(), other))
    assert first.digest == same.digest != second.digest
    assert repr(first) == repr(second)


class Side(Enum):
    """Of a road."""

    LEFT = 1
    RIGHT = 2


def test_values_that_differ_have_different_digests() -> None:
    grid = np.arange(6.0)
    values = [
        *(0, 0.0, -0.0, False, None, "", "0", b"0", 0j, np.float64(0), np.float32(0), (), [], {}, frozenset()),
        *(Side.LEFT, Side.RIGHT, (1, 2), [1, 2], (1, (2,)), ((1,), 2), ("1", 2), {"a": 1}, {"a": 2}, {1: "a"}),
        *(grid, grid.astype(np.float32), grid.reshape(2, 3), grid.reshape(3, 2), grid.reshape(2, 3).T.copy()),
        *(np.array(["a", None], object), np.array(["a", 1], object), np.array([(1, 2.0)], "i4,f8")),
        *(torch.tensor(grid), nn.Parameter(torch.tensor(grid)), len, abs, np.log, np.exp, np.sum, F.relu, torch.relu),
        *(
            partial(F.relu, inplace=True),
            partial(F.relu, inplace=False),
            [].append,
            [1].append,
            Shift,
            Shift(),
            Shift(1),
        ),
    ]
    assert len({digest_of(value) for value in values}) == len(values)


def test_an_array_counts_by_its_numbers_and_not_by_how_they_lie() -> None:
    grid = np.arange(6.0).reshape(2, 3)
    wide = np.arange(12.0).reshape(2, 6) % 6
    wide[1, :3] = grid[1]
    assert digest_of(grid) == digest_of(np.asfortranarray(grid)) == digest_of(wide[:, :3])


def test_orders_that_mean_nothing_do_not_count() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of(frozenset("abcdef")) == digest_of(frozenset("fedcba"))


@dataclass(frozen=True)
class Cached(Shift):
    """One that keeps something for itself."""

    memo: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)


def test_what_is_neither_given_nor_compared_does_not_count() -> None:
    piece = Cached(1.0)
    before = digest_of(piece)
    piece.memo["a"] = object()
    assert digest_of(piece) == before != digest_of(Cached(2.0))


class Holds:
    """It does not say what it holds."""

    def __init__(self, numbers: Any):
        self.numbers = numbers

    def __repr__(self) -> str:
        return "Holds(numbers)"

    @cached_property
    def total(self) -> float:
        """Of what it holds."""
        return float(np.sum(self.numbers))


class Slotted(Transform):
    """It keeps its number where few look."""

    __slots__ = ("k",)

    def __init__(self, k: float) -> None:
        self.k = k


class Attributed(h.FedAvg):
    """No dataclass itself, with an attribute that is no field."""

    def __init__(self, k: float) -> None:
        super().__init__()
        object.__setattr__(self, "k", k)


class Table(dict[str, float]):
    """A mapping with an attribute."""

    def __init__(self, scale: float) -> None:
        super().__init__(a=1.0)
        self.scale = scale


class Bare(Transform):
    """It has no attributes."""


def layer(k: float) -> nn.Module:
    net = nn.Linear(2, 2, bias=False)
    nn.init.constant_(net.weight, k)
    return net


HELD: dict[str, Callable[[float], Any]] = {  # values that say little, or only a part, of what they hold
    "an object": Holds,
    "numbers that its repr rounds": lambda k: SimpleNamespace(table=np.array([k * 1e-12])),
    "slots": Slotted,
    "an attribute that is no field": Attributed,
    "an attribute of a mapping": Table,
    "a layer": layer,
    "a sparse matrix": lambda k: csr_array(k * np.eye(2)),
    "a mask": lambda k: np.ma.array([1.0, 2.0], mask=[k == 1, k == 2]),
    "an index": lambda k: Series([1.0, 2.0], index=[k, 0.0]),
    "a table": lambda k: DataFrame({"a": [1 / 3 + k * 1e-12]}),
    "what a pattern ends in": lambda k: re.compile(300 * "a" + str(k)),
    "what a missing key has": lambda k: defaultdict({1: int, 2: float}[int(k)]),
    "what is equal to itself alone": lambda k: {Bare(): k, Bare(): 3.0},
    "the order that an OrderedDict compares": lambda k: OrderedDict.fromkeys(("ab", "ba")[int(k) - 1]),
    "a number of 5000 digits": lambda k: 10**5000 + int(k),
}


@pytest.mark.guards("any other object counts by its state")
@pytest.mark.promise("P113")
@pytest.mark.parametrize("make", HELD.values(), ids=HELD)
def test_an_object_counts_by_all_that_it_holds(make: Callable[[float], Any]) -> None:
    first, same, second = (plan(Shift(make(k))) for k in (1.0, 1.0, 2.0))
    assert first.digest == same.digest != second.digest


def test_what_is_computed_from_the_rest_does_not_count() -> None:
    held = Holds([1.0, 2.0])
    before = plan(Shift(held)).digest
    assert held.total == 3.0 and plan(Shift(held)).digest == before


def test_bytes_between_the_fields_of_an_array_do_not_count() -> None:
    kind = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    first, second = (np.frombuffer(bytearray(32 * filling), kind) for filling in (b"x", b"y"))
    for array in (first, second):
        array["a"], array["b"] = 1, 2.0
    assert digest_of(first) == digest_of(second)


class Told(Holds):
    """It says what makes it what it is."""

    def fingerprint(self) -> Any:
        """Its numbers."""
        return self.numbers


@pytest.mark.guards("what cannot be told apart is refused")
@pytest.mark.promise("P113")
@pytest.mark.parametrize(
    "value",
    [Lock(), (number for number in ()), {"a": [Holds(Lock())]}],
    ids=["a lock", "a generator", "what holds a lock"],
)
def test_what_cannot_be_told_apart_is_refused_when_the_plan_is_built(value: Any) -> None:
    with pytest.raises(PlanError, match="Nobody can tell") as caught:
        plan(Shift(value))
    assert "cannot be pickled" in caught.value.why and "fingerprint()" in caught.value.instead


def test_what_has_no_attributes_counts_by_its_class() -> None:
    assert plan(Bare()).digest == plan(Bare()).digest != plan().digest


def test_a_piece_may_say_what_it_is_told_apart_by() -> None:
    one, other = Told([1.0]), Told([1.0])
    assert plan(Shift(one)).digest == plan(Shift(other)).digest
    other.numbers = [2.0]
    assert plan(Shift(one)).digest != plan(Shift(other)).digest


class Scaled(h.TorchModel):
    """A number of its own, of which its parent's fingerprint() knows nothing."""

    def __init__(self, scale: float) -> None:
        super().__init__(Net(), F.cross_entropy)
        self.scale = scale


@pytest.mark.guards("what is inherited speaks for no argument of one's own")
@pytest.mark.promise("P113")
def test_a_fingerprint_that_is_inherited_speaks_for_no_argument_of_ones_own() -> None:
    with pytest.raises(PlanError, match="Nobody can tell one Scaled") as caught:
        plan(model=Scaled(2.0))
    assert "inherits" in caught.value.why and "fingerprint()" in caught.value.instead


# ── code ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

PIECE = '''
import math
from dataclasses import dataclass, field
from enum import Enum
from functools import cache, cached_property, partial, partialmethod
import numpy as np
from hansa.transforms import Transform
import beside

RATE = 0.5
__hidden = 15.0
TABLE = {"a": (1.0, 2.0)}
GRID = np.arange(3.0)
count = 0

def helper(v):
    return deeper(v) * RATE + __hidden + helper.scale

helper.scale = 16.0
HANDLERS = {}

def deeper(v):
    return v + 1.0

@cache
def cached(n):
    return n + 2.0

def made(k):
    return lambda v: v * k

twice = made(3.0)
half = partial(deeper, v=4.0)

@dataclass
class Config:
    rate: float = 20.0

CONFIG = Config()

class Side(Enum):
    LEFT = 1
    def turn(self, v):
        return v + 17.0

def times(self, v, k):
    return HANDLERS[times] * k * CONFIG.rate
HANDLERS[times] = 18.0

class Parent(Transform):
    share = 5.0
    side = Side.LEFT
    __call__ = partialmethod(times, k=19.0)
    def inner(self, v):
        def nested(v):
            return v + 6.0
        return nested(v)

@dataclass(frozen=True)
class Mine(Parent):
    """A transform."""
    step: float = 1.0
    names: tuple = field(default_factory=lambda: ("n",))

    def encode(self, v, at):
        """Encode."""
        global count
        count += 1
        if at in {"x", "y", "z"}:
            return helper(self.inner(v))
        return self.more(v) + TABLE["a"] + GRID + beside.far(v)

    def more(self, v, low=7.0, *, high=8.0):
        return twice(v) + half() + cached(v) + low + high + self.whole + self.late + self.of(v) + self.plain(v)

    @property
    def whole(self):
        return 9.0

    @cached_property
    def late(self):
        return 10.0

    @staticmethod
    def plain(v):
        return 11.0

    @classmethod
    def of(cls, v):
        return math.sqrt(12.0)

piece = Mine()
'''
BESIDE = "def far(v):\n    return v + 13.0\n\ndef unused(v):\n    return 14.0\n"

INNER = """    def inner(self, v):
        def nested(v):
            return v + 6.0
        return nested(v)
"""
SHARE = """    share = 5.0
    side = Side.LEFT
    __call__ = partialmethod(times, k=19.0)
"""
CHANGES = {  # what makes another piece of it
    "a number in a global": ("RATE = 0.5", "RATE = 0.25"),
    "a table": ('{"a": (1.0, 2.0)}', '{"a": (1.0, 2.5)}'),
    "an array": ("np.arange(3.0)", "np.arange(4.0)"),
    "a function that a method calls": ("deeper(v) * RATE", "deeper(v) / RATE"),
    "one that this one calls": ("v + 1.0", "v + 1.5"),
    "a wrapped function": ("n + 2.0", "n + 2.5"),
    "a closure": ("made(3.0)", "made(3.5)"),
    "a partial": ("v=4.0", "v=4.5"),
    "an attribute of a parent": ("share = 5.0", "share = 5.5"),
    "a nested function": ("v + 6.0", "v + 6.5"),
    "a parent": ("class Mine(Parent)", "class Mine(Transform)"),
    "a default": ("low=7.0", "low=7.5"),
    "a default of a keyword": ("high=8.0", "high=8.5"),
    "a property": ("return 9.0", "return 9.5"),
    "a cached property": ("return 10.0", "return 10.5"),
    "a static method": ("return 11.0", "return 11.5"),
    "a class method": ("sqrt(12.0)", "sqrt(12.5)"),
    "a function of a package": ("math.sqrt", "math.cbrt"),
    "a global with a name like its own": ("__hidden = 15.0", "__hidden = 15.5"),
    "an attribute of a function": ("scale = 16.0", "scale = 16.5"),
    "a method of an Enum": ("v + 17.0", "v + 17.5"),
    "a table that holds its own reader": ("= 18.0", "= 18.5"),
    "a setting": ("rate: float = 20.0", "rate: float = 20.5"),
    "what stands for a method": ("k=19.0", "k=19.5"),
    "an operator": ("+ low + high", "+ low - high"),
    "what is compared with": ('{"x", "y", "z"}', '{"x", "y"}'),
    "a field's name": ("step: float", "stride: float"),
    "how a field is made": ('("n",)', '("m",)'),
    "a module beside it": ("v + 13.0", "v + 13.5"),
}
NOTHING = {  # what leaves it as it is
    "comments": ("return deeper(v)", "# a comment\n    return deeper(v)"),
    "lines": ("RATE = 0.5", "\n\n\nRATE = 0.5"),
    "a docstring of a class": ('"""A transform."""', '"""Another text."""'),
    "a docstring of a method": ('"""Encode."""', '"""Another text."""'),
    "annotations": ("step: float", "step: int"),
    "what it does not call": ("return 14.0", "return 14.5"),
    "what it counts": ("count = 0", "count = 5"),
    "the order of members": (SHARE + INNER, INNER + SHARE),
}

number = count()


def loaded(folder: Path, text: str, beside: str = BESIDE) -> ModuleType:
    """A module, from a file of its own beside another."""
    place = folder / f"place_{next(number)}"
    place.mkdir()
    for name, words in (("beside", beside), ("mine", text)):
        (place / f"{name}.py").write_text(words)
        spec = spec_from_file_location(name, place / f"{name}.py")
        assert spec and spec.loader
        module = sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules that are loaded here are gone afterwards."""
    with monkeypatch.context() as patch:
        for name in ("mine", "beside"):
            patch.setitem(sys.modules, name, ModuleType(name))
        yield


def changed(folder: Path, old: str, new: str) -> tuple[str, str]:
    """The digests of the piece, and of the piece with other words."""
    assert (PIECE + BESIDE).count(old) == 1
    before = digest_of(loaded(folder, PIECE).piece)
    return before, digest_of(loaded(folder, PIECE.replace(old, new), BESIDE.replace(old, new)).piece)


@pytest.mark.usefixtures("apart")
@pytest.mark.guards("code counts")
@pytest.mark.promise("P113")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_code_makes_another_plan(tmp_path: Path, change: tuple[str, str]) -> None:
    before, after = changed(tmp_path, *change)
    assert before != after


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("change", NOTHING.values(), ids=NOTHING)
def test_what_computes_the_same_is_the_same_plan(tmp_path: Path, change: tuple[str, str]) -> None:
    before, after = changed(tmp_path, *change)
    assert before == after


def test_code_is_followed_however_deep_and_values_as_deep_as_python_can() -> None:
    def added(before: Any) -> Any:
        return lambda v: before(v) + 1.0

    deep, deeper, nested = (lambda v: v), (lambda v: v * 2.0), ()
    for _ in range(2000):
        deep, deeper, nested = added(deep), added(deeper), (nested,)
    assert digest_of(deep) != digest_of(deeper)
    with pytest.raises(PlanError, match="values within values"):
        plan(Shift(nested))


def test_what_holds_itself_and_what_stands_in_many_places_ends() -> None:
    ring, wide = [1.0], (1.0,)
    ring.append(ring)  # type: ignore[arg-type]
    for _ in range(60):
        wide = (wide, wide)  # type: ignore[assignment]
    assert digest_of(ring) != digest_of([1.0, [1.0]]) and digest_of(wide)


def test_neither_the_process_nor_what_was_called_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "from os import environ\nfrom functools import singledispatch\nimport numba\n"
        "@singledispatch\ndef turned(v):\n    return v\n@numba.njit\ndef fast(v):\n    return v\n"
        "def it(v):\n    return fast(turned(v)), environ['HOME']"
    )
    it = written(text)
    before = digest_of(it)
    monkeypatch.setenv("HANSA_TEST", "another")
    it(1.0)
    assert digest_of(it) == before


@pytest.mark.guards("a name alone is no code")
def test_a_function_that_says_that_it_is_a_librarys_counts_by_its_code() -> None:
    def disguised(power: int) -> Any:
        @wraps(F.cross_entropy)
        def loss(outputs: Any, y: Any) -> Any:
            return F.cross_entropy(outputs, y) ** power

        return loss

    class Sum(h.Sum):
        """It says that it is hansa's."""

    Sum.__module__ = h.Sum.__module__
    Sum.__qualname__ = h.Sum.__qualname__
    assert len({digest_of(one) for one in (F.cross_entropy, disguised(1), disguised(2))}) == 3
    assert plan(model=None).digest != replace(plan(), aggregator=Sum()).digest
    assert repr(plan()) == repr(replace(plan(), aggregator=Sum()))


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Net(nn.Module):
    """A layer and a function, which its text does not show."""

    def __init__(self, act: Any = torch.relu):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.act = nn.Linear(4, 3), act

    def forward(self, x: Any) -> Any:
        """One after the other."""
        return self.act(self.first(x))


def of_torch(net: Any = None, loss: Any = F.cross_entropy, **more: Any) -> str:
    return plan(model=h.TorchModel(net or Net(), loss, **more)).digest


def written(text: str, **names: Any) -> Any:
    """What the text defines under the name `it`."""
    space = {"__name__": "somewhere", "F": F, "nn": nn, "Net": Net, **names}
    exec(text, space)  # noqa: S102
    return space["it"]


@pytest.mark.promise("P113")
def test_a_torch_model_counts_by_its_code() -> None:
    loss = "def it(outputs, y):\n    return F.cross_entropy(outputs, y) * {}"
    layer = "class it(Net):\n    def forward(self, x):\n        return super().forward(x) * {}"
    whole = "class it(nn.Module):\n    def forward(self, outputs, y):\n        return F.cross_entropy(outputs, y) * {}"
    digests = [
        *(of_torch(), of_torch(Net(torch.tanh)), of_torch(Net(lambda x: x)), of_torch(Net(lambda x: x + 1))),
        *(of_torch(loss=written(loss.format(k))) for k in (1, 2)),
        *(of_torch(written(layer.format(k))()) for k in (1, 2)),
        *(of_torch(loss=written(whole.format(k))()) for k in (1, 2)),
        *(of_torch(metrics={"m": (written(loss.format(k)), 1.0)}) for k in (1, 2)),
    ]
    assert len(set(digests)) == len(digests)
    assert of_torch() == of_torch() and of_torch(loss=written(loss.format(1))) == digests[4]


def setting(k: float) -> Net:
    net = Net()
    net.k, net._k = k, 2 * k
    return net


def table(k: float) -> Net:
    net = Net()
    net.table = torch.full((4,), k)
    return net


def staying(k: float, persistent: bool) -> Net:
    net = Net()
    net.register_buffer("mask", torch.full((4,), int(k)), persistent)
    return net


def hooked(k: float) -> Net:
    net = Net()
    net.register_forward_hook(lambda module, inputs, outputs: outputs * k)
    return net


NETS: dict[str, Callable[[float], nn.Module]] = {  # whose texts, numbers and code are the same
    "a number": setting,
    "a tensor": table,
    "a buffer of whole numbers": lambda k: staying(k, True),
    "a buffer that is not kept": lambda k: staying(k, False),
    "a hook": hooked,
    "heads": lambda k: nn.Sequential(nn.TransformerEncoderLayer(4, int(2 * k), 8), nn.Linear(4, 3)),
    "what comes first": lambda k: nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, norm_first=k > 1), nn.Linear(4, 3)),
}


@pytest.mark.guards("what a layer does not print counts")
@pytest.mark.promise("P113")
@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_a_torch_model_counts_by_what_its_layers_hold(make: Callable[[float], nn.Module]) -> None:
    """Not by its first weights; and it counts as before where it was sent."""
    first, same, second = (h.TorchModel(make(k), F.cross_entropy) for k in (1.0, 1.0, 2.0))
    assert repr(first) == repr(second)
    assert plan(model=first).digest == plan(model=same).digest != plan(model=second).digest
    sent = cloudpickle.loads(cloudpickle.dumps(first))
    assert plan(model=sent).digest == plan(model=first).digest


@pytest.mark.promise("P113")
def test_a_jax_model_counts_by_its_code() -> None:
    import jax
    import jax.numpy as jnp

    from hansa.models.jax import cross_entropy

    first = {"w": np.zeros((4, 3), np.float32)}
    apply, loss = (
        "def it(params, x):\n    return x @ params['w'] * {}",
        "def it(outputs, y):\n    return outputs.mean() * {}",
    )
    gradient = "it = jax.custom_jvp(lambda x: x)\nit.defjvp(lambda one, two: (one[0], two[0] * {}))"

    def of(apply_: Any = None, loss: Any = cross_entropy, **more: Any) -> str:
        return plan(model=h.JaxModel(first, apply_ or written(apply.format(1)), loss, **more)).digest

    def through(f: Any) -> Any:
        return lambda params, x: f(x @ params["w"])

    digests = [
        *(of(written(apply.format(k))) for k in (1, 2)),
        *(of(jax.jit(written(apply.format(k)))) for k in (1, 2)),
        *(of(loss=written(loss.format(k))) for k in (1, 2)),
        *(of(metrics={"m": (written(loss.format(k)), 1.0)}) for k in (1, 2)),
        *(of(through(written(gradient.format(k), jax=jax))) for k in (1, 2)),
        *(of(through(f)) for f in (jax.nn.relu, jax.nn.tanh, jnp.sin, partial(jnp.clip, max=1.0))),
    ]
    assert len(set(digests)) == len(digests)
    assert of() == digests[0]


@pytest.mark.promise("P113")
def test_a_keras_model_counts_by_its_code() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    from keras import layers

    loss = "def it(y, outputs):\n    return keras.ops.mean(outputs, -1) * {}"
    layer = "class it(keras.layers.Layer):\n    def call(self, x):\n        return x * {}"
    rate = (
        "class it(keras.optimizers.schedules.LearningRateSchedule):\n"
        "    def __call__(self, step):\n        return 0.1 * {}\n    def get_config(self):\n        return {{}}"
    )
    step = (
        "class it(keras.Sequential):\n    def train_step(self, *data):\n        return super().train_step(*data) or {}"
    )
    function = "def it(x):\n    return x * {}"

    def of(*between: Any, kind: Any = keras.Sequential, **more: Any) -> str:
        keras.utils.set_random_seed(0)
        net = kind([keras.Input((4,)), layers.Dense(5), *between, layers.Dense(3)])
        net.compile(**{"optimizer": None, "loss": "mse", **more})
        return plan(model=h.KerasModel(net)).digest

    def it(text: str, k: int) -> Any:
        return written(text.format(k), keras=keras)

    def stepped(k: int) -> str:
        training = h.Training(optimizer="compiled")
        net = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
        net.compile(optimizer=keras.optimizers.SGD(it(rate, k)()), loss="mse")
        return replace(plan(), model=h.KerasModel(net), training=training).digest

    digests = [
        of(),
        *(of(loss=it(loss, k)) for k in (1, 2)),
        *(of(metrics=[it(loss, k)]) for k in (1, 2)),
        *(of(it(layer, k)()) for k in (1, 2)),
        *(of(layers.Lambda(it(function, k))) for k in (1, 2)),
        *(of(layers.Dense(5, activation=it(function, k))) for k in (1, 2)),
        *(of(kind=it(step, k)) for k in (1, 2)),
        *(stepped(k) for k in (1, 2)),
    ]
    assert len(set(digests)) == len(digests)
    assert of() == digests[0] and of(loss=it(loss, 1)) == digests[1]


def test_an_estimator_counts_by_all_its_settings() -> None:
    from sklearn.linear_model import SGDClassifier

    weights = [dict.fromkeys(range(500), 1.0), {i: 1.0 + (i == 300) for i in range(500)}]
    models = [h.SklearnModel(SGDClassifier(class_weight=one), 4, 500) for one in weights]
    assert len({replace(plan(), model=model).digest for model in models}) == 2


# ── wherever it is computed ──────────────────────────────────────────────────────────────────────────────────────────

ALL = """
import json, os, sys
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")
from pathlib import Path
import hansa
from hansa.app.load import load
from tests.evidence import ten_plans

found = {}
for path in map(Path, sys.argv[1:]):
    found[path.stem] = load(path).plan.digest
for loop in ("synchronous", "buffered"):
    setattr(hansa, loop, lambda plan, *args, **more: [plan])
for name, make in ten_plans.PLANS.items():
    found[name] = make()[0].digest
print(json.dumps(found))
"""


def elsewhere(program: str, folder: Path, seed: int, *arguments: str) -> subprocess.Popen[str]:
    """A fresh process in that folder, with that seed of Python's hashes."""
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def printed(process: subprocess.Popen[str]) -> str:
    text = process.communicate()[0]
    assert process.returncode == 0
    return text.strip().splitlines()[-1]


@pytest.mark.promise("P113")
def test_examples_and_plans_of_all_models_have_the_same_digest_in_every_process(
    tmp_path: Path, examples: list[Path]
) -> None:
    given = list(map(str, examples))
    one, other = (elsewhere(ALL, folder, seed, *given) for folder, seed in ((ROOT, 1), (tmp_path, 2)))
    first, second = (json.loads(printed(process)) for process in (one, other))
    assert first == second
    assert len(first) == len(set(first.values())) >= 5 + 11


@pytest.mark.promise("P113")
def test_own_code_has_the_same_digest_wherever_its_file_lies(tmp_path: Path) -> None:
    """Imported, typed into a program, and sent by value."""
    program = "import sys, mine, hansa.digest; print(hansa.digest.digest_of(mine.piece))"
    text, found = PIECE.replace("@cached_property", "@property"), list[str]()  # whose lock cannot be sent
    for seed in (1, 2):
        place = tmp_path / str(seed)
        place.mkdir()
        (place / "mine.py").write_text("\n" * seed + text)
        (place / "beside.py").write_text(BESIDE)
        found.append(printed(elsewhere(f"import sys; sys.path.insert(0, {str(place)!r}); {program}", tmp_path, seed)))
    typed = f"import sys; sys.path.insert(0, {str(tmp_path / '1')!r})\n{text}\nimport hansa.digest\n"
    found.append(printed(elsewhere(typed + "print(hansa.digest.digest_of(piece))", tmp_path, 3)))
    sent = "import cloudpickle\npiece = cloudpickle.loads(cloudpickle.dumps(piece))\n"
    found.append(printed(elsewhere(typed + sent + "print(hansa.digest.digest_of(piece))", tmp_path, 4)))
    assert len(set(found)) == 1


def test_a_digest_costs_less_than_5_milliseconds_and_is_kept() -> None:
    pipe = (h.Clip(1.0, side=10.0), Shift(1.0), h.Weigh("one"), h.GaussianNoise(0.5))
    best = 1.0
    for _ in range(5):
        one = h.Plan(h.Softmax(784, 10), h.FedAvg(), pipe)
        begin = time.process_time()
        digest = one.digest
        best = min(best, time.process_time() - begin)
        assert one.digest is digest
    assert best < 0.005
