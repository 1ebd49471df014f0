"""Trees of equal depth as vectors, and as XGBoost's JSON has them; XGBoost is not imported.

    [feature, threshold, missing, leaf]     of depth D: three times 2ᴰ − 1 numbers, and 2ᴰ

Node i of a tree has the children 2i + 1 and 2i + 2. Where nothing is split, feature is −1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..spec import Vector

PARTS = ("feature", "threshold", "missing", "leaf")
CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
NOBODY = 2**31 - 1  # XGBoost's parent of the root


def split(trees: Vector, depth: int) -> dict[str, Vector]:
    """feature, threshold, missing [trees, 2ᴰ − 1], leaf [trees, 2ᴰ]."""
    inner = 2**depth - 1
    each = trees.reshape(-1, 4 * inner + 1)
    return dict(zip(PARTS, np.split(each, [inner, 2 * inner, 3 * inner], axis=1), strict=True))


def packed(tree: Mapping[str, Any], depth: int) -> Vector:
    """A tree of XGBoost's JSON as [feature, threshold, missing, leaf]."""
    inner = 2**depth - 1
    feature = np.full(inner, -1.0)
    threshold = np.zeros(inner)
    missing = np.zeros(inner)
    leaf = np.zeros(inner + 1)
    todo = [(0, 0)]
    for node, place in todo:
        if tree["left_children"][node] < 0:
            while place < inner:
                place = 2 * place + 1
            leaf[place - inner] = tree["split_conditions"][node]
        else:
            feature[place] = tree["split_indices"][node]
            threshold[place] = tree["split_conditions"][node]
            missing[place] = tree["default_left"][node]
            children = tree["left_children"][node], tree["right_children"][node]
            todo += zip(children, (2 * place + 1, 2 * place + 2), strict=True)
    return np.concatenate([feature, threshold, missing, leaf]).astype(np.float32).astype(np.float64)


def unpacked(parts: Sequence[Vector], share: Any) -> dict[str, Any]:
    """A tree as XGBoost's JSON has it, level by level, without what only its client knows."""
    feature, threshold, missing, leaf = parts
    inner = len(feature)
    places = [0]
    parents = [NOBODY]
    left = list[int]()
    value = list[Any]()
    split = list[int]()
    default = list[int]()
    scaled = leaf.astype(np.float32) * share
    threshold = threshold.astype(np.float32)
    for node, place in enumerate(places):
        if place < inner and feature[place] >= 0:
            left.append(len(places))
            places += (2 * place + 1, 2 * place + 2)
            parents += (node, node)
            value.append(threshold[place])
            split.append(int(feature[place]))
            default.append(int(missing[place]))
        else:
            while place < inner:
                place = 2 * place + 1
            left.append(-1)
            value.append(scaled[place - inner])
            split.append(0)
            default.append(0)
    zeros = [0.0] * len(places)
    return {
        "left_children": left,
        "right_children": [child + 1 if child >= 0 else -1 for child in left],
        "parents": parents,
        # the shortest decimal that reads as this float32
        "split_conditions": [float(str(v)) for v in value],
        "split_indices": split,
        "default_left": default,
        "split_type": [0] * len(places),
        "base_weights": zeros,
        "loss_changes": zeros,
        "sum_hessian": zeros,
        **{name: [] for name in CATEGORIES},
    }
