"""Data sets: found, fetched, and refused where they are not what was published; the splits that papers report."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from hansa import Key, data
from hansa.datasets import folder
from hansa.datasets.breast_cancer import HOSPITALS, hospitals
from hansa.datasets.heart_disease import CENTRES, heart_centres, heart_disease
from hansa.datasets.mnist import mnist, mnist_clients
from hansa.errors import DataError

# ── finding and fetching ─────────────────────────────────────────────────────────────────────────────────────────────

TABLE, PACKED = b"63,1,145\n", b"a longer table, packed\n"
FILES = {"table.csv": hashlib.sha256(TABLE).hexdigest(), "packed.gz": hashlib.sha256(PACKED).hexdigest()}


def publish(place: Path, level: int = 9) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    (place / "table.csv").write_bytes(TABLE)
    (place / "packed.gz").write_bytes(gzip.compress(PACKED, level))
    return place


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A web site of our own: its folder and its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    root = publish(tmp_path / "site")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield root, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no proxy in between."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache" / "hansa" / "study"


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HANSA_DATA", raising=False)


def test_data_of_ones_own_comes_first(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$HANSA_DATA/name is used as it lies there, however its files were packed; nothing is fetched."""
    monkeypatch.setenv("HANSA_DATA", str(tmp_path / "mine"))
    for level in (1, 9):
        own = publish(tmp_path / "mine" / "study", level)
        assert folder("study", FILES, []) == own
    assert not cache.exists()


def test_what_is_not_there_is_fetched_once(site: tuple[Path, str], cache: Path, nowhere: None) -> None:
    """From the first address that has it; later calls need no network, and nothing else lies in the cache."""
    root, address = site
    assert folder("study", FILES, ["http://127.0.0.1:9/closed", address + "missing", address]) == cache
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == {
        path.name: path.read_bytes() for path in root.iterdir()
    }
    assert folder("study", FILES, []) == cache


def test_an_empty_folder_of_ones_own_does_not_stand_in_the_way(
    site: tuple[Path, str], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where HANSA_DATA lacks the files, the cache is filled."""
    monkeypatch.setenv("HANSA_DATA", str(tmp_path / "mine"))
    assert folder("study", FILES, [site[1]]) == cache


@pytest.mark.promise("P65")
@pytest.mark.parametrize(
    "content",
    [b"tampered", gzip.compress(b"tampered", mtime=0), gzip.compress(PACKED, mtime=0)[:-9], b""],
    ids=["not packed", "another file", "torn off", "empty"],
)
def test_another_file_under_the_same_name_is_not_kept(
    content: bytes, site: tuple[Path, str], cache: Path, nowhere: None
) -> None:
    """Tampered, torn off or empty: it never reaches the cache."""
    root, address = site
    (root / "packed.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"(?s)packed.gz is neither in .*gave another file.*HANSA_DATA"):
        folder("study", FILES, [address])
    assert [path.name for path in cache.iterdir()] == ["table.csv"]


@pytest.mark.promise("P65")
def test_a_file_that_changed_on_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one's own folder as in the cache."""
    monkeypatch.setenv("HANSA_DATA", str(tmp_path))
    (publish(tmp_path / "study") / "table.csv").write_bytes(TABLE + b"64,0,120\n")
    with pytest.raises(DataError, match=r"(?s)table.csv is not the published file.*Delete it"):
        folder("study", FILES, [])


def test_without_network_the_error_says_where_to_put_the_files(nowhere: None) -> None:
    """Found, why and instead."""
    with pytest.raises(DataError, match=r"not set") as error:
        folder("study", FILES, ["http://127.0.0.1:9"])
    assert "http://127.0.0.1:9/table.csv: " in error.value.why
    assert "folder 'study'" in error.value.instead


# ── four hospitals ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_patient_is_somewhere_once() -> None:
    """569 patients, 212 malignant: held out by diagnosis, the others in one hospital each; both diagnoses in each."""
    clients, (X, y) = hospitals()
    assert tuple(clients) == HOSPITALS
    assert (len(y), y.sum()) == (113, 42)
    assert [(len(y), int(y.sum())) for _, y in clients.values()] == [(146, 4), (117, 4), (171, 157), (22, 5)]
    everyone = np.concatenate([X, *(X for X, _ in clients.values())])
    assert everyone.shape == (569, 30)
    assert len(np.unique(everyone, axis=0)) == 569
    assert everyone.dtype == np.float32
    assert np.abs(everyone).max() < 2.2
    for name, patients in clients.items():
        assert data.check(patients, name)


def test_the_key_decides_who_and_not_how_many() -> None:
    """The same key gives the same patients, another one as many others."""
    (clients, test), (again, same), (others, other) = hospitals(), hospitals(), hospitals(key=Key.of(1))
    np.testing.assert_array_equal(test[0], same[0])
    assert not np.array_equal(test[0], other[0])
    for name in HOSPITALS:
        np.testing.assert_array_equal(clients[name][0], again[name][0])
        assert abs(len(clients[name][1]) - len(others[name][1])) <= 6
    half = hospitals(held_out=0.5)[1][1]
    assert (len(half), half.sum()) == (178 + 106, 106)
    with pytest.raises(DataError, match="held_out"):
        hospitals(held_out=1.0)


def test_alone_a_hospital_does_worse_than_all_together() -> None:
    """Logistic regression, mean over five splits: each hospital alone at least 4 points below all the data."""
    from sklearn.linear_model import LogisticRegression

    scores = []
    for seed in range(5):
        clients, test = hospitals(key=Key.of(seed))
        pooled = tuple(map(np.concatenate, zip(*clients.values(), strict=True)))
        scores.append(
            [LogisticRegression(C=10, max_iter=5000).fit(*d).score(*test) for d in [*clients.values(), pooled]]
        )
    *alone, together = np.mean(scores, axis=0)
    assert together > 0.96
    assert max(alone) < together - 0.04


# ── heart disease ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def public(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSA_DATA", str(shared_data))


def test_heart_disease_has_flambys_split(public: None) -> None:
    """740 patients in 4 centres, 66 % for training, as published; 13 columns."""
    centres = heart_disease()
    assert tuple(centres) == CENTRES
    sizes = [(len(c["train"][1]), len(c["test"][1])) for c in centres.values()]
    assert sizes == [(199, 104), (172, 89), (30, 16), (85, 45)]
    for centre in centres.values():
        for X, y in centre.values():
            assert X.shape == (len(y), 13)
            assert X.dtype == np.float32
            assert set(y.tolist()) <= {0, 1}
    assert [int(sum(c["train"][1]) + sum(c["test"][1])) for c in centres.values()] == [139, 98, 45, 101]


def test_heart_disease_is_normalised_as_flamby_does(public: None) -> None:
    """By each centre's training patients, or by all of them; a column that never changes becomes 0."""
    raw, local, pooled = heart_disease("none"), heart_disease(), heart_disease("pooled")
    assert raw["cleveland"]["train"][0][:, 0].min() >= 28  # years of age
    everyone = np.concatenate([c["train"][0] for c in pooled.values()])
    groups = [everyone, *(c["train"][0] for c in local.values())]
    for X in groups:
        moving = X.std(0) > 0
        np.testing.assert_allclose(X.mean(0), 0, atol=2e-6)
        np.testing.assert_allclose(X[:, moving].std(0, ddof=1), 1, atol=2e-6)
    known = raw["va"]["train"][0].astype(float)
    wanted = (raw["va"]["test"][0] - known.mean(0)) / (known.std(0, ddof=1) + 1e-9)
    np.testing.assert_allclose(local["va"]["test"][0], wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="normalise='global'"):
        heart_disease("global")  # type: ignore[arg-type]


@pytest.mark.promise("P646")
def test_fixed_units_are_those_of_no_data(public: None) -> None:
    """(age − 50) / 10, and so on, whoever else is there; cholesterol that nobody has measured is in the middle."""
    raw, fixed = heart_disease("none"), heart_disease("fixed")
    for centre, parts in raw.items():
        for part, (X, y) in parts.items():
            found, same = fixed[centre][part]
            np.testing.assert_allclose(found[:, 0], (X[:, 0] - 50) / 10, atol=1e-6)
            np.testing.assert_allclose(found[:, 5], (X[:, 5] - 140) / 25, atol=1e-6)
            np.testing.assert_array_equal(found[:, 6:], X[:, 6:])
            np.testing.assert_array_equal(found[X[:, 3] == 0, 3], 0)
            assert (same == y).all()
    assert (raw["switzerland"]["train"][0][:, 3] == 0).all()
    assert all((heart_centres().test[who][0] == fixed[who]["test"][0]).all() for who in fixed)


def test_pooled_heart_disease_scores_as_published(public: None) -> None:
    """Logistic regression on the pooled set: .7953 on the pooled test set, FLamby's own pooled result."""
    from sklearn.linear_model import LogisticRegression

    pooled = heart_disease("pooled").values()
    (X, y), test = (
        tuple(map(np.concatenate, zip(*(c[part] for c in pooled), strict=True))) for part in ("train", "test")
    )
    assert LogisticRegression().fit(X, y).score(*test) == pytest.approx(0.7953, abs=1e-4)


# ── MNIST ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_mnist_is_the_published_one(public: None) -> None:
    """60,000 and 10,000 digits, pixels from 0 to 1, the mean and spread that everybody quotes: .1307 and .3081."""
    (X, y), (A, b) = mnist()
    assert X.shape == (60_000, 28, 28)
    assert A.shape == (10_000, 28, 28)
    assert X.dtype == A.dtype == np.float32
    assert (X.min(), X.max()) == (0, 1)
    assert X.mean(dtype=float) == pytest.approx(0.1307, abs=5e-5)
    assert X.std(dtype=float) == pytest.approx(0.3081, abs=5e-5)
    assert y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert b[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_mnist_is_dealt_out_as_in_mcmahan(public: None) -> None:
    """100 clients of 600: of all digits at random, or of two shards of 300, so mostly of two digits."""
    for split, fewest, most in (("iid", 8, 10), ("shards", 1, 4)):
        clients, test = mnist_clients(split)  # type: ignore[arg-type]
        assert len(test[1]) == 10_000
        assert [len(y) for _, y in clients.values()] == 100 * [600]
        digits = [len(np.unique(y)) for _, y in clients.values()]
        assert fewest <= min(digits) <= max(digits) <= most
        counts = sum(np.bincount(y, minlength=10) for _, y in clients.values())
        assert counts[0] == 5923
    assert np.median(digits) == 2
    with pytest.raises(DataError, match="split='natural'"):
        mnist_clients("natural")  # type: ignore[arg-type]
