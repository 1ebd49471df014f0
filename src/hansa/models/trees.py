"""Trees of equal depth as vectors, and as XGBoost's JSON has them; XGBoost is not imported.

    [feature, threshold, missing, leaf]     of depth D: three times 2ᴰ − 1 numbers, and 2ᴰ

Node i of a tree has the children 2i + 1 and 2i + 2. Where nothing is split, feature is −1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """A tree of XGBoost's JSON as [feature, threshold, missing, leaf].

    A leaf above the last level counts in all places below it: the leftmost one is written, and no
    other is ever reached.
    """
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
    """A tree as XGBoost's JSON has it, level by level, without what only its client knows.

    share: what its leaves are multiplied by. Only nodes that are reached are written, in
    breadth-first order; thresholds are float32, as XGBoost computes.
    """
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
    right = [-1] * len(places)
    for node, child in enumerate(left):
        if child >= 0:
            right[node] = child + 1
    return {
        "left_children": left,
        "right_children": right,
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


@dataclass(frozen=True)
class Forest:
    """What a client adds to a model in a round: a share of 1, and `iterations` trees for each of
    `groups` classes, all of depth `depth` on inputs [n, features].
    """

    depth: int
    features: int
    groups: int
    iterations: int
    most: float  # the largest that a leaf can be

    @property
    def size(self) -> int:
        """Numbers that a client adds: 1 + trees · (2ᴰ⁺² − 3)."""
        return 1 + self.iterations * self.groups * int(2 ** (self.depth + 2) - 3)

    def odd(self, share: Vector, trees: Vector) -> str:
        """Why these are no trees of such a model, or nothing.

        share [n, 1] and trees [n, …] are numbers of strangers: nothing is indexed by them before
        this has passed.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            if not (np.isfinite(np.float32(trees)).all() and np.all((share > 0) & (share <= 1))):
                return "it holds numbers that no tree has"
        part = split(trees, self.depth)
        feature = part["feature"]
        missing = part["missing"]
        if ((feature < -1) | (feature >= self.features) | (feature % 1 != 0)).any():
            return f"it splits on features that are none of {self.features}"
        if ((missing != 0) & (missing != 1)).any():
            return "it sends missing values nowhere"
        if (np.abs(part["leaf"]) > self.most * (1 + 1e-6)).any():
            return f"its leaves pass max_delta_step = {self.most:g}"
        return ""

    def plant(self, model: dict[str, Any], rows: Vector) -> None:
        """Put the trees of `rows` [clients, size] into a model without trees, as XGBoost's JSON has
        it, each by its client's share.

        XGBoost reads all of these fields; those that only a client knows are 0.
        """
        shares = np.repeat(rows[:, 0], self.iterations * self.groups).astype(np.float32)
        parts = split(rows[:, 1:], self.depth)
        n = len(shares)
        common = {"num_deleted": "0", "num_feature": str(self.features), "size_leaf_vector": "1"}
        for i in range(n):
            tree = unpacked([part[i] for part in parts.values()], shares[i])
            how = {**common, "num_nodes": str(len(tree["parents"]))}
            model["trees"].append({**tree, "id": i, "tree_param": how})
        model["tree_info"] = [i % self.groups for i in range(n)]
        model["iteration_indptr"] = list(range(0, n + 1, self.groups))
        model["gbtree_model_param"]["num_trees"] = str(n)
