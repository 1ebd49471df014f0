"""Data in every form it may have: the same batches come out, bad data is refused by name, partitions lose nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hansa as h
from hansa import Key, Softmax, Training, data
from hansa.data import Examples
from hansa.errors import DataError
from hansa.models import Drift
from hansa.plan.noise import binds

KEY = Key.of(7)
N = 50
X = np.arange(N * 3, dtype=np.float32).reshape(N, 3)
Y = np.arange(N) % 4


@dataclass
class Items:
    """A map-style dataset: a plain class, as torch's own asks for no more."""

    named: bool = False
    n: int = N

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        x, y = torch.tensor(X[i]), int(Y[i])
        return {"x": x, "y": y} if self.named else (x, y)


class Again:
    """A stream that can be read again and again, in batches of its own sizes."""

    sizes = (20, 7, 23)

    def __iter__(self) -> Iterator[Any]:
        ends = np.cumsum(self.sizes)
        return ((X[a:b], Y[a:b]) for a, b in zip(ends - self.sizes, ends, strict=True))


def loader(**options: Any) -> Any:
    return torch.utils.data.DataLoader(Items(), **{"batch_size": 8, **options})


FORMS: dict[str, Callable[[], Any]] = {
    "tuple": lambda: (X, Y),
    "list": lambda: [X, Y],
    "tensors": lambda: (torch.tensor(X), torch.tensor(Y)),
    "dict": lambda: {"x": X, "y": Y},
    "dict of tensors": lambda: {"y": torch.tensor(Y), "x": torch.tensor(X, requires_grad=True)},
    "dataset": Items,
    "dataset of dicts": lambda: Items(named=True),
    "tensor dataset": lambda: torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)),
    "loader": loader,
    "list of examples": lambda: [(torch.tensor(x), int(y)) for x, y in zip(X, Y, strict=True)],
    "re-iterable": Again,
    "function": lambda: lambda: iter(Again()),
}
SHUFFLED = ["tuple", "list", "tensors", "dict", "dict of tensors", "dataset", "dataset of dicts", "tensor dataset"]
SHUFFLED += ["list of examples"]


def joined(batches: Iterator[Any]) -> tuple[np.ndarray, np.ndarray]:
    """All examples of all batches."""
    inputs, targets = zip(*map(data.pair, batches), strict=True)
    return np.concatenate(inputs), np.concatenate(targets)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_counts_checks_and_reads_whole_alike(form: str) -> None:
    """Whatever the form, there are N examples, in order, and reading them twice gives the same."""
    given = FORMS[form]()
    assert len(Examples.of(given)) == data.check(given, "ward") == N
    for _ in range(2):
        x, y = joined(Examples.of(given).whole())
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, Y)


@pytest.mark.parametrize("form", FORMS)
def test_an_epoch_has_every_example_once(form: str) -> None:
    """Two epochs have each example twice, inputs still beside their targets."""
    x, y = joined(Examples.of(FORMS[form]()).batches(Training(epochs=2, batch=8), KEY))
    order = np.lexsort(x.T)
    np.testing.assert_array_equal(x[order], np.repeat(X, 2, axis=0))
    np.testing.assert_array_equal(y, Y[(x[:, 0] // 3).astype(int)])


@pytest.mark.promise("P47")
@pytest.mark.parametrize("form", SHUFFLED)
def test_arrays_and_datasets_are_shuffled_by_the_key_of_the_epoch(form: str) -> None:
    """Epoch e has the order key.child(e).rng().permutation(n), cut into rows of 8, the last with what is left."""
    batches = list(Examples.of(FORMS[form]()).batches(Training(epochs=2, batch=8), KEY))
    assert [len(data.pair(batch)[1]) for batch in batches] == 2 * [8, 8, 8, 8, 8, 8, 2]
    wanted = np.concatenate([KEY.child(epoch).rng().permutation(N) for epoch in (0, 1)])
    np.testing.assert_array_equal(joined(iter(batches))[0], X[wanted])


@pytest.mark.parametrize(
    ("form", "sizes"), [("re-iterable", [20, 7, 23]), ("function", [20, 7, 23]), ("loader", 6 * [8] + [2])]
)
def test_streams_keep_their_order_and_sizes(form: str, sizes: list[int]) -> None:
    """`Training.batch` and the key change nothing about a stream."""
    batches = list(Examples.of(FORMS[form]()).batches(Training(batch=5), KEY))
    assert [len(y) for _, y in batches] == sizes
    np.testing.assert_array_equal(joined(iter(batches))[0], X)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("steps", [1, 5, 17])
def test_steps_count_batches_and_cycle_through_epochs(form: str, steps: int) -> None:
    """Exactly `steps` batches, whatever `epochs` says, and the first of them are those of the epochs."""
    batches = list(Examples.of(FORMS[form]()).batches(Training(epochs=9, steps=steps, batch=8), KEY))
    assert len(batches) == steps
    epochs = list(Examples.of(FORMS[form]()).batches(Training(epochs=20, batch=8), KEY))[:steps]
    np.testing.assert_array_equal(joined(iter(batches))[0], joined(iter(epochs))[0])


@pytest.mark.parametrize("form", SHUFFLED)
@pytest.mark.parametrize("batch", [0, N, N + 1, 1000])
def test_no_batch_size_or_a_large_one_takes_all_at_once(form: str, batch: int) -> None:
    """McMahan's B = ∞."""
    assert [len(data.pair(b)[1]) for b in Examples.of(FORMS[form]()).batches(Training(batch=batch), KEY)] == [N]


def test_a_batch_has_the_form_of_the_data() -> None:
    """Dicts stay dicts with their names, tuples tuples; all are NumPy arrays, of the types they came in."""
    several = {"image": X, "age": Y.astype(np.int8), "y": Y}
    batch = next(Examples.of(several).batches(Training(batch=4), KEY))
    assert {name: (column.shape, column.dtype) for name, column in batch.items()} == {
        "image": ((4, 3), np.float32),
        "age": ((4,), np.int8),
        "y": ((4,), np.int64),
    }
    inputs, targets = data.pair(batch)
    assert list(inputs) == ["image", "age"]
    assert targets is batch["y"]
    three = next(Examples.of((X, X[:, 0], Y)).whole())
    assert [type(column) for column in three] == 3 * [np.ndarray]
    assert len(data.pair(three)[0]) == 2


@pytest.mark.parametrize("form", SHUFFLED)
def test_no_model_can_change_the_data(form: str) -> None:
    """Batches are copies: an operation in place, as in ReLU(inplace=True), leaves the client's records alone."""
    given, before = FORMS[form](), X.copy()
    for batch in [*Examples.of(given).batches(Training(batch=0), KEY), *Examples.of(given).whole()]:
        data.pair(batch)[0][:] = -1
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(joined(Examples.of(given).whole())[0], before)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_client_parses_its_data_once_in_its_first_round(
    form: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for it then: the check, the split, the model's own check, training, scoring and the digest."""
    room = sys.modules["hansa.data.examples"]
    forms, arrays = counted(monkeypatch, room, "parsed"), counted(monkeypatch, room, "as_batch")
    training = Training(epochs=2, batch=8, validation=share)
    pipe = h.Clip(1.0, side=9.0), h.Weigh("one"), h.GaussianNoise(1.0)  # its book names the data
    plan = h.Plan(Softmax(3, 4), h.Ditto(), pipe, training=training, sample=h.Everyone(quorum=1), rounds=1)
    given = FORMS[form]()
    for source in (given, data.Source(lambda: given)):
        (state,) = h.synchronous(plan, h.InProcess([h.Client("ward", plan, source)]))
        assert binds(plan) and state.participants == ("ward",)
        assert len(forms) == 1 and forms.pop() is given
        assert len(arrays) <= 1
        arrays.clear()


def counted(monkeypatch: pytest.MonkeyPatch, room: Any, name: str) -> list[Any]:
    """What a function is called with from now on."""
    inner, found = getattr(room, name), list[Any]()

    def noted(data: Any) -> Any:
        found.append(data)
        return inner(data)

    monkeypatch.setattr(room, name, noted)
    return found


class Told(Softmax):
    """A stranger's model, which notes what it is given."""

    given: list[Any] = []  # noqa: RUF012

    def train(self, x: Any, mine: Any, *more: Any) -> Any:
        self.given.append(mine)
        return super().train(x, mine, *more)

    def score(self, x: Any, data: Any, *local: Any) -> Any:
        self.given.append(data)
        return super().score(x, data)

    def check(self, data: Any, who: str, training: Any = None) -> None:
        self.given.append(data)
        super().check(data, who, training)


@pytest.mark.parametrize("form", FORMS)
def test_a_model_gets_examples_whatever_a_person_gives(form: str) -> None:
    """By position and by name, and parsed once on the way through a subclass to its parent."""
    model, x, given = Told(3, 4), np.zeros(16), FORMS[form]()
    Told.given.clear()
    model.train(x, given, Training(), Drift(), KEY)
    model.score(x, given)
    model.score(x, data=given)
    model.check(given, "ward")
    model.check(data=Examples.of(given), who="ward")
    assert len(Told.given) == 5 and all(isinstance(one, Examples) for one in Told.given)
    with pytest.raises(DataError, match="is a NoneType"):
        model.score(x, None)  # type: ignore[arg-type]


def test_large_arrays_are_gathered_and_scored_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of a piece changes no batch; scoring gives at most 4096 rows at a time."""
    training = Training(epochs=2, batch=8)
    plain = list(Examples.of((X, Y)).batches(training, KEY))
    monkeypatch.setattr(sys.modules["hansa.data.examples"], "CHUNK_BYTES", 20 * 17)
    pieces = list(Examples.of((X, Y)).batches(training, KEY))
    for (x, y), (a, b) in zip(plain, pieces, strict=True):
        np.testing.assert_array_equal(x, a)
        np.testing.assert_array_equal(y, b)
    assert [len(y) for _, y in Examples.of((X, Y)).whole()] == [17, 17, 16]
    monkeypatch.undo()
    many = np.arange(10_000)
    assert [len(y) for _, y in Examples.of((many, many)).whole()] == [4096, 4096, 1808]


def test_empty_batches_of_a_stream_are_passed_over() -> None:
    X, y = np.ones((4, 2)), np.zeros(4, int)
    batches = [(X[:0], y[:0]), (X, y), (X[:0], y[:0])]
    stream = lambda: batches  # noqa: E731
    assert data.check(stream, "anna") == 4 and len(list(Examples.of(stream).whole())) == 1
    assert np.isfinite(Softmax(2, 2).train(np.zeros(6), stream, Training(), Drift(), Key.of(0)).loss)


def test_a_stream_larger_than_memory_is_never_held() -> None:
    """Of 10¹² examples only the batches asked for are made."""
    made = []

    def endless() -> Iterator[Any]:
        for i in range(10**9):
            made.append(i)
            yield np.full((1000, 2), i, np.float32), np.zeros(1000, int)

    assert sum(len(y) for _, y in Examples.of(endless).batches(Training(steps=3), KEY)) == 3000
    train, held = Examples.of(endless).split(0.25, KEY)
    kept, out = next(iter(train.whole())), next(iter(held.whole()))
    assert kept[0][0, 0] != out[0][0, 0]
    assert len(made) <= 3 + 4 * 4


@pytest.mark.parametrize(
    ("options", "n"),
    [
        ({}, N),
        ({"drop_last": True}, 48),
        ({"shuffle": True}, N),
        ({"sampler": range(0, N, 2)}, 25),
        ({"batch_size": None}, None),
        ({"batch_size": 1, "batch_sampler": [[0, 1], [2]]}, 3),
    ],
)
def test_a_loader_is_counted_by_what_it_gives(options: dict[str, Any], n: int | None) -> None:
    """Its sampler and drop_last count, not the length of its dataset; where it does not batch, that is said."""
    if n is None:
        with pytest.raises(DataError, match="batch_size=None"):
            len(Examples.of(loader(**options)))
    else:
        examples = Examples.of(loader(**options))
        assert len(examples) == n == len(joined(examples.batches(Training(), KEY))[1])


def test_an_iterable_dataset_in_a_loader_is_a_stream() -> None:
    """It has no length: it is read to be counted."""

    class Endless(torch.utils.data.IterableDataset):  # type: ignore[misc, name-defined, unused-ignore]
        def __iter__(self) -> Iterator[Any]:
            return zip(X, Y, strict=True)

    assert data.check(torch.utils.data.DataLoader(Endless(), batch_size=16), "ward") == N


# ── bad data ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def spoilt(value: float, *rows: int) -> np.ndarray:
    x = X.copy()
    x[list(rows), 1] = value
    return x


BAD: dict[str, tuple[Any, str]] = {
    "no rows": ((X[:0], Y[:0]), "no examples"),
    "empty tuple": ((), "no examples"),
    "empty list": ([], "no examples"),
    "empty dataset": (Items(n=0), "no examples"),
    "empty stream": (lambda: iter(()), "no examples"),
    "unequal lengths": ((X, Y[:-1]), "inputs has 50, targets has 49 rows"),
    "unequal dict": ({"x": X[1:], "y": Y}, "x has 49, y has 50"),
    "NaN": ((spoilt(np.nan, 3, 9), Y), "2 of 50 rows of inputs .* first in row 3"),
    "infinity": ({"x": spoilt(-np.inf, 11), "y": Y}, "1 of 50 rows of x .* first in row 11"),
    "NaN target": ((X, spoilt(np.nan, 4)[:, 1]), "1 of 50 rows of targets .* first in row 4"),
    "NaN in tensor": ((torch.tensor(spoilt(np.nan, 5)), Y), "first in row 5"),
    "NaN in stream": (lambda: [(X, Y), (spoilt(np.nan, 2), Y), (spoilt(np.nan, 1), Y)], "2 of 150 .* first in row 52"),
    "NaN in widths": (lambda: [(X / [[np.nan]], Y), (X[:, :2] / [[np.nan]], Y)], "100 of 100 rows of inputs"),
    "strings": ((X.astype(str), Y), "inputs has type <U.*np.float32"),
    "objects": ({"x": X, "extra": X.astype(object), "y": Y}, "extra has type object"),
    "words as targets": ((X, np.array(["yes", "no"] * 25)), "targets has type <U3.*numbers from 0"),
    "times": ((np.arange(N).astype("M8[s]"), Y), "datetime64.*seconds"),
    "dict without y": ({"x": X, "target": Y}, "x, target.*'y'"),
    "dict of y alone": ({"y": Y}, "there must be one"),
    "dict of lists": ({"x": X.tolist(), "y": Y}, "x: a list .*asarray"),
    "tuple of lists": (([1.0, 2.0], [0, 1]), "a tuple of list.*np.stack"),
    "array and list": ((X, Y.tolist()), "targets: a list .*asarray"),
    "list of batches": ([(X, Y), (X, Y)], "one example, or a batch of many.*lambda: batches"),
    "list of a loader": (list(loader()), "list of list.*lambda: batches"),
    "one array": (X, "one ndarray.*which part of it is the target"),
    "one tensor": (torch.tensor(X), "one Tensor"),
    "inputs alone": ((X,), "tuple of length 1.*no targets"),
    "number": (3, "is a int"),
    "text": ("records.csv", "is a str: 'records.csv'"),
    "nothing": (None, "is a NoneType"),
    "bfloat16": ((torch.ones(N, 2, dtype=torch.bfloat16), Y), "cannot read"),
    "ragged items": ([{"x": X, "y": 0}, {"x": X}], "do not fit into one batch: 'y'"),
    "ragged batches": (lambda: [{"x": X, "y": Y}, {"x": X}], "names x"),
    "function that gives arrays": (lambda: (X, Y), "ndarray stands where a batch should"),
}


@pytest.mark.promise("P63")
@pytest.mark.parametrize("kind", BAD)
def test_bad_data_is_refused_by_the_clients_name(kind: str) -> None:
    """Every refusal names the client, says why it cannot be used, and what to do."""
    given, message = BAD[kind]
    with pytest.raises(DataError, match=f"(?s)^St. Mary: .*{message}") as error:
        data.check(given, "St. Mary")
    assert error.value.why
    assert error.value.instead


@pytest.mark.promise("P63")
@pytest.mark.parametrize("once", [iter(Again()), (b for b in Again()), zip(X, Y, strict=True), iter(loader())])
def test_what_can_be_read_once_is_refused_before_it_is_read(once: Any) -> None:
    """A generator would train the first epoch and leave nothing to the second; it is left untouched."""
    with pytest.raises(DataError, match=r"(?s)ward: .*only once.*function that makes it"):
        data.check(once, "ward")
    with pytest.raises(DataError, match=r"^The data is .*only once"):
        Examples.of(once)
    assert next(once) is not None


def test_a_function_that_gives_the_same_iterator_again_is_found_out() -> None:
    """The second epoch comes up empty, which is an error and not an endless loop."""
    once = iter(Again())
    batches = Examples.of(lambda: once).batches(Training(steps=100), KEY)
    with pytest.raises(DataError, match=r"(?s)no examples.*new iterator at each call"):
        list(batches)


def test_items_that_do_not_fit_into_one_batch() -> None:
    """Images of different sizes are the usual case."""

    class Images(Items):
        def __getitem__(self, i: int) -> Any:
            return np.zeros((i + 1, 2)), 0

    with pytest.raises(DataError, match=r"(?s)ward: The items of the Images do not fit.*Pad, crop or resize"):
        data.check(Images(), "ward")


# ── split and take ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_a_split_loses_nothing_and_is_the_same_for_the_same_key(form: str, share: float) -> None:
    """Each example is on one side, and stays there; each side is itself data."""
    train, held = Examples.of(FORMS[form]()).split(share, KEY)
    again = Examples.of(FORMS[form]()).split(share, KEY)
    for part, other in zip((train, held), again, strict=True):
        assert data.check(part, "ward") == len(part) > 0
        np.testing.assert_array_equal(joined(part.whole())[0], joined(other.whole())[0])
    x = np.concatenate([joined(part.whole())[0] for part in (train, held)])
    np.testing.assert_array_equal(x[np.lexsort(x.T)], X)
    if form in SHUFFLED:
        assert len(held) == round(share * N)
        different = Examples.of(FORMS[form]()).split(share, Key.of(8))[1]
        assert not np.array_equal(joined(held.whole())[0], joined(different.whole())[0])


@given(n=st.integers(2, 60), share=st.floats(0.01, 0.99), seed=st.integers(0, 9))
def test_neither_part_of_a_split_is_empty(n: int, share: float, seed: int) -> None:
    """At least one example is held out, and at least one is kept."""
    train, held = Examples.of((np.arange(n), np.arange(n))).split(share, Key.of(seed))
    assert len(held) == min(n - 1, max(1, round(share * n)))
    assert sorted([*train.arrays[1], *held.arrays[1]]) == list(range(n))


@given(k=st.integers(2, 12), n=st.integers(12, 40), seed=st.integers(0, 99))
def test_of_a_stream_every_kth_batch_is_held(k: int, n: int, seed: int) -> None:
    """For a share of 1/k the held batches lie k apart; which one comes first is the key's choice."""
    batches = [(np.array([i]), np.array([i])) for i in range(n)]
    train, held = Examples.of(lambda: batches).split(1 / k, Key.of(seed))
    places = [int(y[0]) for _, y in held.whole()]
    assert places == list(range(places[0], n, k))
    assert places[0] < k
    assert [int(y[0]) for _, y in train.whole()] == [i for i in range(n) if i not in places]


@pytest.mark.parametrize("share", [-0.1, 0.0, 1.0, 2.0, np.nan])
def test_a_share_that_leaves_a_part_empty_is_refused(share: float) -> None:
    """0 and 1 are no splits."""
    with pytest.raises(DataError, match="would be empty"):
        Examples.of((X, Y)).split(share, KEY)


@pytest.mark.promise("P63")
def test_what_cannot_be_split_says_so() -> None:
    """One example, one batch, or a loader that deals its batches anew in each epoch."""
    with pytest.raises(DataError, match="1 examples cannot be split"):
        Examples.of((X[:1], Y[:1])).split(0.5, KEY)
    with pytest.raises(DataError, match=r"(?s)50 examples cannot be split.*smaller batches"):
        Examples.of(lambda: [(X, Y)]).split(0.5, KEY)
    with pytest.raises(DataError, match=r"(?s)shuffles \(its sampler is a RandomSampler\).*\.dataset"):
        Examples.of(loader(shuffle=True)).split(0.5, KEY)


def test_rows_are_taken_in_the_order_given() -> None:
    """By index or by mask, from arrays and from datasets; a stream has no rows."""
    rows = np.array([4, 1, 30])
    for form in SHUFFLED:
        np.testing.assert_array_equal(joined(Examples.of(FORMS[form]()).take(rows).whole())[0], X[rows])
        np.testing.assert_array_equal(joined(Examples.of(FORMS[form]()).take(Y == 2).whole())[0], X[Y == 2])
    with pytest.raises(DataError, match="no rows to choose from"):
        Examples.of(Again()).take(rows)


def test_clients_get_names() -> None:
    """Their own, or numbers that sort; never the same twice."""
    parts = data.iid(N, 11, KEY)
    named = data.clients((X, Y), parts)
    assert list(named) == sorted(named) == [f"client-{i:02d}" for i in range(11)]
    np.testing.assert_array_equal(named["client-03"][0], X[parts[3]])
    assert list(data.clients(Items(), parts[:2], ["east", "west"])) == ["east", "west"]
    assert set(data.clients({"x": X, "y": Y}, data.natural(Y))) == {"0", "1", "2", "3"}
    for names in (["a"], ["a", "a"], ["a", "b", "c"]):
        with pytest.raises(DataError, match="name of its own"):
            data.clients((X, Y), parts[:2], names)


# ── partitions ───────────────────────────────────────────────────────────────────────────────────────────────────────

labelled = st.lists(st.integers(0, 5), min_size=12, max_size=120).map(np.array)
clients = st.integers(1, 12)
alphas = st.sampled_from([1e-8, 0.01, 0.1, 1.0, 100.0, 1e6])
seeds = st.integers(0, 99)


def exactly_once(parts: list[np.ndarray], n: int) -> None:
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))


def same(parts: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return len(parts) == len(others) and all(map(np.array_equal, parts, others))


@pytest.mark.promise("P64")
@given(n=st.integers(12, 200), m=clients, seed=seeds)
def test_iid(n: int, m: int, seed: int) -> None:
    """Every row once, in parts of equal size but for one."""
    parts = data.iid(n, m, Key.of(seed))
    exactly_once(parts, n)
    assert {len(part) for part in parts} <= {n // m, -(-n // m)}
    assert same(parts, data.iid(n, m, Key.of(seed)))


@pytest.mark.promise("P64")
@given(y=labelled, m=st.integers(1, 6), alpha=alphas, least=st.integers(0, 2), seed=seeds)
def test_dirichlet(y: np.ndarray, m: int, alpha: float, least: int, seed: int) -> None:
    """Every row once, and nobody below `least`, for any α."""
    parts = data.dirichlet(y, m, alpha, Key.of(seed), least)
    exactly_once(parts, len(y))
    assert len(parts) == m
    assert min(map(len, parts)) >= least
    assert same(parts, data.dirichlet(y, m, alpha, Key.of(seed), least))


@pytest.mark.promise("P64")
@given(y=labelled, m=st.integers(1, 6), per_client=st.integers(1, 2), seed=seeds)
def test_shards(y: np.ndarray, m: int, per_client: int, seed: int) -> None:
    """Every row once, in parts of equal size but for one row per shard."""
    parts = data.shards(y, m, per_client, Key.of(seed))
    exactly_once(parts, len(y))
    shard = len(y) // (m * per_client)
    assert all(per_client * shard <= len(part) <= per_client * (shard + 1) for part in parts)
    assert same(parts, data.shards(y, m, per_client, Key.of(seed)))


@pytest.mark.promise("P64")
@given(n=st.integers(12, 200), m=clients, alpha=alphas, seed=seeds)
def test_quantity(n: int, m: int, alpha: float, seed: int) -> None:
    """Every row once, and at least one row for everybody."""
    parts = data.quantity(n, m, alpha, Key.of(seed))
    exactly_once(parts, n)
    assert len(parts) == m
    assert min(map(len, parts)) >= 1
    assert same(parts, data.quantity(n, m, alpha, Key.of(seed)))


@given(keys=st.lists(st.sampled_from(["Cleveland", "Zürich", "Long Beach", "10", "9"]), min_size=1, max_size=60))
def test_natural(keys: list[str]) -> None:
    """Every row once, under its own key."""
    parts = data.natural(keys)
    exactly_once(list(parts.values()), len(keys))
    assert all(keys[row] == name for name, rows in parts.items() for row in rows)


def test_natural_keys_of_any_type() -> None:
    """Numbers keep their order; words and numbers may be mixed; a missing key is refused."""
    assert list(data.natural([10, 9, 10])) == ["9", "10"]
    assert list(data.natural(np.array(["b", 1, "b"], object))) == ["1", "b"]
    for missing in (np.array([1.0, np.nan]), np.array(["a", None], object), np.array(["a", np.nan], object)):
        with pytest.raises(DataError, match="1 of 2 keys are missing, the first in row 1"):
            data.natural(missing)


def entropy(y: np.ndarray, parts: list[np.ndarray]) -> float:
    """Mean entropy of the clients' mixes of classes, in nats."""
    mixes = [np.bincount(y[part]) / len(part) for part in parts]
    return float(np.mean([-(p[p > 0] * np.log(p[p > 0])).sum() for p in mixes]))


def test_alpha_sets_the_skew() -> None:
    """Label entropy rises from hardly any to ln 10 with α; sizes from one giant to equal ones."""
    y = np.arange(10_000) % 10
    mixed = [entropy(y, data.dirichlet(y, 20, alpha, KEY)) for alpha in (0.01, 0.1, 1.0, 10.0, 1000.0)]
    assert mixed == sorted(mixed)
    assert mixed[0] < 0.6
    assert mixed[-1] == pytest.approx(np.log(10), abs=0.02)
    largest = [max(map(len, data.quantity(10_000, 20, alpha, KEY))) for alpha in (0.01, 1.0, 100.0)]
    assert largest[0] > 5_000 > largest[1] > largest[2]
    assert largest[2] < 700


def test_dirichlet_shares_have_the_moments_of_the_distribution() -> None:
    """Of one class among m clients, shares have mean 1/m and variance (m−1)/(m²(mα+1)), over 400 draws."""
    m, alpha, n = 5, 0.7, 2000
    share = [[len(p) / n for p in data.dirichlet(np.zeros(n), m, alpha, KEY.child(i), least=0)] for i in range(400)]
    wanted = (m - 1) / (m**2 * (m * alpha + 1))
    assert np.mean(share, axis=0) == pytest.approx(np.full(m, 1 / m), abs=4 * np.sqrt(wanted / 400))
    assert np.var(share) == pytest.approx(wanted, rel=0.15)


def test_quantity_favours_nobody() -> None:
    """Over 2000 draws of 40 examples for 8 clients each has 5 on average, as far as chance goes, with α = 1."""
    sizes = np.array([[len(part) for part in data.quantity(40, 8, 1.0, KEY.child(i))] for i in range(2000)])
    assert np.abs(sizes.mean(0) - 5).max() < 4 * sizes.std() / np.sqrt(2000)


def test_rows_of_a_class_are_dealt_at_random() -> None:
    """A client's examples come from all over the data, not from one stretch of it."""
    for deal in (data.dirichlet(np.zeros(3000), 3, 100.0, KEY), data.quantity(3000, 3, 100.0, KEY)):
        assert all(abs(part.mean() - 1500) < 4 * 866 / np.sqrt(len(part)) for part in deal)


def test_two_shards_are_two_classes() -> None:
    """McMahan's partition: no client sees more than two digits where shards are cut along the classes."""
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 600))
    parts = data.shards(y, 10, 2, KEY)
    assert {len(part) for part in parts} == {600}
    assert max(len(np.unique(y[part])) for part in parts) == 2


def test_different_keys_give_different_partitions() -> None:
    """Equal keys are tested with each partition."""
    other = Key.of(8)
    assert not same(data.iid(N, 5, KEY), data.iid(N, 5, other))
    assert not same(data.dirichlet(Y, 5, 1.0, KEY), data.dirichlet(Y, 5, 1.0, other))
    assert not same(data.shards(Y, 5, 2, KEY), data.shards(Y, 5, 2, other))
    assert not same(data.quantity(N, 5, 1.0, KEY), data.quantity(N, 5, 1.0, other))


@pytest.mark.parametrize(
    ("deal", "message"),
    [
        (lambda: data.iid(4, 5, KEY), "4 examples for 5 clients"),
        (lambda: data.iid(4, 0, KEY), "0 clients"),
        (lambda: data.iid(0, 1, KEY), "Bring more examples"),
        (lambda: data.dirichlet(Y, 60, 1.0, KEY), "50 examples for 60 clients"),
        (lambda: data.dirichlet(Y, 20, 1.0, KEY, least=3), "3 for each at least.*1 to 16 clients"),
        (lambda: data.dirichlet(Y, 5, 0.0, KEY), "alpha=0.0"),
        (lambda: data.dirichlet(Y, 5, -1.0, KEY), "must be positive"),
        (lambda: data.dirichlet(Y, 5, np.inf, KEY), "finite"),
        (lambda: data.dirichlet(Y, 5, np.nan, KEY), "alpha=nan"),
        (lambda: data.dirichlet(np.eye(4), 2, 1.0, KEY), r"shape \(4, 4\).*argmax"),
        (lambda: data.shards(Y, 26, 2, KEY), "50 examples for 26 clients, 2 for each"),
        (lambda: data.shards(Y, 5, 0, KEY), "per_client=0"),
        (lambda: data.quantity(3, 4, 1.0, KEY), "3 examples for 4 clients"),
        (lambda: data.quantity(30, 4, 0, KEY), "alpha=0"),
        (lambda: data.natural([]), "Bring more examples"),
        (lambda: data.natural(np.zeros((2, 2))), "one column"),
        (lambda: data.shifted((Y, Y), 2, KEY), "0 floating inputs.*astype"),
        (lambda: data.shifted((X, Y[1:]), 2, KEY), r"lengths \[49, 50\]"),
        (lambda: data.shifted((X, Y), 51, KEY), "50 examples for 51 clients"),
    ],
)
def test_what_cannot_be_dealt_out_is_refused(deal: Callable[[], Any], message: str) -> None:
    """With what was found, why, and what to write."""
    with pytest.raises(DataError, match=f"(?s){message}"):
        deal()


def test_feature_shift_is_one_line_for_each_client_and_feature() -> None:
    """x ← gain·x + offset with one gain and offset for each client and feature; targets stay, gain = offset = 0 too."""
    many, y = np.random.default_rng(0).normal(size=(900, 3)).astype(np.float32) * [1, 10, 100], np.arange(900)
    many = many.astype(np.float32)
    dealt = data.shifted({"x": many, "y": y}, 30, KEY, gain=0.1, offset=0.5)
    lines = np.array([[np.polyfit(many[d["y"], f], d["x"][:, f], 1) for f in range(3)] for d in dealt.values()])
    for d, line in zip(dealt.values(), lines, strict=True):
        np.testing.assert_allclose(d["x"], many[d["y"]] * line[:, 0] + line[:, 1], rtol=1e-3, atol=1e-2)
        assert d["x"].dtype == np.float32
    exactly_once([d["y"] for d in dealt.values()], 900)
    assert np.log(lines[:, :, 0]).std() == pytest.approx(0.1, rel=0.25)
    assert (lines[:, :, 1] / many.std(0)).std() == pytest.approx(0.5, rel=0.25)
    still = data.shifted((many, y), 30, KEY, gain=0.0, offset=0.0)
    for x, rows in still.values():
        np.testing.assert_array_equal(x, many[rows])


def test_feature_shift_of_images_is_one_instrument_for_each_client() -> None:
    """One gain and one offset for the whole image; integer inputs beside it stay as they are."""
    image, age = np.random.default_rng(0).random((40, 4, 4)), np.arange(40)
    dealt = data.shifted({"image": image, "age": age, "y": Y[:40]}, 4, KEY)
    for d in dealt.values():
        slope, offset = np.polyfit(image[d["age"]].ravel(), d["image"].ravel(), 1)
        np.testing.assert_allclose(d["image"], image[d["age"]] * slope + offset)
        np.testing.assert_array_equal(d["y"], Y[:40][d["age"]])
