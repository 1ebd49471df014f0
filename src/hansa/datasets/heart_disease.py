"""UCI Heart Disease: 740 patients of four hospitals, by the protocol of FLamby.

The hospitals are those that took the records, so their patients differ as they do in the world:
in age, in sex, and in how many of them are ill.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..rand import Key
from . import AbsentError, Found, folder, stand_in
from .breast_cancer import hospitals

SHA256 = {  # of the records of each centre: FLamby's clients 0, 1, 2, 3
    "cleveland": "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8",
    "hungarian": "d1ad108f785768cd3d7e82dc522e6f5a61eea93cccfb3a46ee8076f73fc3d796",
    "switzerland": "834a405ccf5b66ab4056bb77794adc8df0b7125186454c0a1d002d33c6c3b314",
    "va": "e7c93d8d0d2acdadfa4c5e8de768e2191e7f618b952e29623f1f0d5949ff6b8f",
}
CENTRES = tuple(SHA256)
FILES = {f"processed.{name}.data": sha256 for name, sha256 in SHA256.items()}
URLS = ("https://archive.ics.uci.edu/ml/machine-learning-databases/heart-disease/",)

DROPPED = (10, 11, 12)  # slope, ca, thal: unknown in most hospitals
WORDS = {2: (2, 3, 4), 6: (1, 2)}  # cp, restecg: one 0/1 column for each value but the first
# What is 0 and what is 1 in fixed units: years, mmHg, mg/dl, beats a minute; columns that are not
# named stay as they are
UNITS = {0: (50, 10), 2: (130, 20), 3: (200, 100), 5: (140, 25)}
CHOLESTEROL = 3  # where it is 0 nobody has measured it: 0 in fixed units as well

Examples = tuple[NDArray[np.float32], NDArray[np.int64]]  # X [n, 13], y [n]: 0 healthy, 1 disease


def heart_disease(
    normalise: Literal["local", "pooled", "fixed", "none"] = "local",
) -> dict[str, dict[str, Examples]]:
    """centre → {"train": (X, y), "test": (X, y)}.

    With 199 + 104, 172 + 89, 30 + 16 and 85 + 45 patients.

        x ← (x − mean) / (std + 10⁻⁹),    std with n − 1

    over the training patients of the centre ("local") or of all centres ("pooled", for a model of
    all data); or in units that no data decides ("fixed", `UNITS`). Rows with a missing value are
    left out. X float32 [n, 13]: age, sex, trestbps, chol, fbs, thalach, exang, oldpeak, cp = 2, 3,
    4, restecg = 1, 2. (Janosi et al. 1988; du Terrail et al. 2022, FLamby, app. Fed-Heart-Disease)
    """
    if normalise not in ("local", "pooled", "fixed", "none"):
        raise DataError(
            f"normalise={normalise!r}.",
            "There are four ways.",
            "Write 'local', 'pooled', 'fixed' or 'none'.",
        )
    place = folder("heart_disease", FILES, URLS)
    centres = {name: _centre(place / f"processed.{name}.data") for name in CENTRES}
    pooled = np.concatenate([X[train] for X, _, train in centres.values()])
    hospitals = {}
    for name, (X, y, train) in centres.items():
        known = pooled if normalise == "pooled" else X[train]
        if normalise in ("local", "pooled"):
            X = (X - known.mean(0)) / (known.std(0, ddof=1) + 1e-9)
        if normalise == "fixed":
            X = in_fixed_units(X)
        X = X.astype(np.float32)
        hospitals[name] = {"train": (X[train], y[train]), "test": (X[~train], y[~train])}
    return hospitals


def in_fixed_units(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """(x − middle) / unit by column of X [n, 13], as measured; cholesterol that was not measured is
    0 there.
    """
    scaled = X.copy()
    for column, (middle, unit) in UNITS.items():
        scaled[:, column] = (X[:, column] - middle) / unit
    scaled[X[:, CHOLESTEROL] == 0, CHOLESTEROL] = 0
    return scaled


def heart_centres() -> Found:
    """The four centres with their patients, in fixed units, so that a value means the same in each;
    where they are not here, the four hospitals of `breast_cancer` stand in, each with a third of
    its patients held out.
    """
    try:
        centres = heart_disease("fixed")
    except AbsentError as absent:
        return stand_in(_breast_cancer(), absent)
    train = {name: parts["train"] for name, parts in centres.items()}
    test = {name: parts["test"] for name, parts in centres.items()}
    return Found(train, test, "patients of UCI Heart Disease")


def _breast_cancer() -> Found:
    """Hospitals whose patients are those of the Wisconsin records."""
    records, _ = hospitals()
    train = dict[str, Examples]()
    test = dict[str, Examples]()
    for name, (X, y) in records.items():
        order = Key.of(0).child(name).rng().permutation(len(y))
        held, known = np.split(order, [len(y) // 3])
        train[name] = X[known], y[known]
        test[name] = X[held], y[held]
    return Found(train, test, "patients of Wisconsin breast cancer", standing=True)


def _centre(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[Any]]:
    """X [n, 13] as measured, y [n], and which patients are for training."""
    table = np.genfromtxt(path, delimiter=",")  # a question mark becomes NaN
    table = np.delete(table, DROPPED, axis=1)
    table = table[~np.isnan(table).any(1)]
    numbers = np.delete(table[:, :-1], list(WORDS), axis=1)
    words = [
        (table[:, column] == value).astype(float)
        for column, values in WORDS.items()
        for value in values
    ]
    y = (table[:, -1] != 0).astype(np.int64)
    return np.column_stack([numbers, *words]), y, _training(y)


def _training(y: NDArray[np.int64]) -> NDArray[Any]:
    """Who is in FLamby's 66 %, stratified where both classes have more than two patients: bool [n].

    The draw is theirs, seed and all, so that results can be compared with the published ones.
    """
    from sklearn.model_selection import train_test_split

    strata = None
    if (np.bincount(y, minlength=2) > 2).all():
        strata = y
    rows, _ = train_test_split(
        np.arange(len(y)),
        test_size=1 - 0.66,
        train_size=0.66,
        random_state=43,
        shuffle=True,
        stratify=strata,
    )
    return np.isin(np.arange(len(y)), rows)
