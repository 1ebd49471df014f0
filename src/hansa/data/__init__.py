"""A client's data, in whatever form its owner has it, and ways to deal one data set out to many
clients.

    arrays    (inputs, targets), or {"x": …, "y": …} where "y", "labels" or "label" is the target;
              NumPy, torch, data frames of pandas, polars or pyarrow
    dataset   has `__len__` and `__getitem__`, or is a list; its items are (x, y) or a dict with
              "y"; also Hugging Face's
    stream    batches of such arrays in their own sizes: a torch DataLoader, a tf.data pipeline, an
              object that can be read again and again, or a function without arguments that starts
              a new iterator

`Examples.of(data)` parses it, once; whatever the form, what comes out are batches of NumPy arrays:
a tuple, or a dict with the names of the data. Several targets are called "y." and their name;
({"age": …}, {"price": …}) is the same as {"age": …, "y.price": …}.
"""

from .batches import Batch, pair
from .checks import check
from .examples import Examples
from .items import Part
from .partition import clients, dirichlet, iid, natural, pathological, quantity, shards, shifted
from .sites import Sites, Source, loaded

__all__ = [
    "Batch",
    "Examples",
    "Part",
    "Sites",
    "Source",
    "check",
    "clients",
    "dirichlet",
    "iid",
    "loaded",
    "natural",
    "pair",
    "pathological",
    "quantity",
    "shards",
    "shifted",
]
