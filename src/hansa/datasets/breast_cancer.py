"""Wisconsin breast-cancer records, dealt out to four hospitals that see different patients.

The records are of one hospital. What is made of them differs as hospitals do: in size (22 to 171
patients), in how many of them are ill (3 to 92 of 100), and in how far the illness has come.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..rand import Key

# Who sees whom. Shares of the patients of one kind (diagnosis; mean radius of the cell nuclei, in
# the records' own unit: below 12, 12 to 15, from 15) that come to each hospital. The clinic screens
# healthy women and finds small tumours; the general hospital sees palpable lumps, and sends on what
# looks malignant; the centre gets what others send; to the small rural hospital patients come late.
RADIUS = (12.0, 15.0)
HOSPITALS = ("screening clinic", "general hospital", "referral centre", "rural hospital")
SHARES = {
    "benign": ((0.90, 0.02, 0.00, 0.08), (0.18, 0.75, 0.02, 0.05), (0.00, 0.00, 1.00, 0.00)),
    "malignant": ((0.70, 0.15, 0.15, 0.00), (0.03, 0.09, 0.88, 0.00), (0.00, 0.00, 0.96, 0.04)),
}

# The range of each measurement as the description of the records gives it: ten measurements of the
# cell nuclei (radius, texture, perimeter, area, smoothness, compactness, concavity, concave points,
# symmetry, fractal dimension), each as mean, standard error and worst value. Fixed and public, so
# that no hospital needs another's statistics.
LEAST = np.array(
    [
        [6.981, 9.71, 43.79, 143.5, 0.053, 0.019, 0.0, 0.0, 0.106, 0.05],
        [0.112, 0.36, 0.757, 6.802, 0.002, 0.002, 0.0, 0.0, 0.008, 0.001],
        [7.93, 12.02, 50.41, 185.2, 0.071, 0.027, 0.0, 0.0, 0.156, 0.055],
    ]
).ravel()
MOST = np.array(
    [
        [28.11, 39.28, 188.5, 2501.0, 0.163, 0.345, 0.427, 0.201, 0.304, 0.097],
        [2.873, 4.885, 21.98, 542.2, 0.031, 0.135, 0.396, 0.053, 0.079, 0.03],
        [36.04, 49.54, 251.2, 4254.0, 0.223, 1.058, 1.252, 0.291, 0.664, 0.208],
    ]
).ravel()

Examples = tuple[NDArray[np.float32], NDArray[np.int64]]  # X [n, 30], y [n]: 0 benign, 1 malignant


def hospitals(held_out: float = 0.2, key: Key = Key.of(0)) -> tuple[dict[str, Examples], Examples]:
    """(hospital → its patients, held-out patients), each (X float32 [n, 30], y int64 [n]).

        y = 1 where the tumour is malignant
        x = 4·(√v − √least) / (√most − √least) − 2,    so about −2 … 2

    First the share `held_out` of each diagnosis is taken away; the others go to the hospitals by
    `SHARES`, so the `key` decides who, and not how many. DataError where nobody would be left on
    one side. Needs scikit-learn, which brings the records.   (Street, Wolberg, Mangasarian 1993;
    569 patients, 212 malignant)
    """
    from sklearn.datasets import load_breast_cancer

    if not 0 < held_out < 1:
        raise DataError(
            f"held_out={held_out} of the patients.",
            "Some must be held out, and some be left for the hospitals.",
            "Write held_out=0.2.",
        )
    records: Any = load_breast_cancer()
    X = 4 * (np.sqrt(records.data) - np.sqrt(LEAST)) / (np.sqrt(MOST) - np.sqrt(LEAST)) - 2
    X = X.astype(np.float32)
    y = 1 - records.target.astype(np.int64)
    size = np.digitize(records.data[:, 0], RADIUS)

    order = key.rng().permutation(len(y))
    test: list[NDArray[np.int64]] = []
    participants: list[list[NDArray[np.int64]]] = [[] for _ in HOSPITALS]
    for diagnosis, shares in enumerate(SHARES.values()):
        rows = order[y[order] == diagnosis]
        held, rows = np.split(rows, [round(held_out * len(rows))])
        test.append(held)
        for kind, share in enumerate(shares):
            same = rows[size[rows] == kind]
            ends = np.round(np.cumsum(share)[:-1] * len(same)).astype(int)
            for patients, part in zip(participants, np.split(same, ends), strict=True):
                patients.append(part)

    def examples(parts: list[NDArray[np.int64]]) -> Examples:
        """The patients in these rows, in the order of the records."""
        chosen = np.sort(np.concatenate(parts))
        return X[chosen], y[chosen]

    shared = {name: examples(parts) for name, parts in zip(HOSPITALS, participants, strict=True)}
    return shared, examples(test)
