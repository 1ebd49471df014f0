"""A client's data, in whatever form its owner has it, and ways to deal one data set out to many
clients.

    arrays    (inputs, targets), or {"x": …, "y": …} where "y", "labels" or "label" is the target;
    NumPy, torch, pandas
    dataset   has `__len__` and `__getitem__`; its items are (x, y) or a dict with "y"; also Hugging
    Face's
    stream    batches of such arrays in their own sizes: a torch DataLoader, a tf.data pipeline, a
    list of batches, an
              object that can be read again and again, or a function without arguments that starts a
              new iterator

Whatever the form, what comes out are batches of NumPy arrays: a tuple, or a dict with the names of
the data. Several targets are called "y." and their name; ({"age": …}, {"price": …}) is the same as
{"age": …, "y.price": …}.
"""

from .batches import Batch, Part, batches, check, count, pair, samplable, whole
from .partition import dirichlet, iid, natural, quantity, shards, shifted
from .sites import Sites, Source, loaded
from .split import Sieve, clients, split, take

__all__ = [
    "Batch",
    "Part",
    "Sieve",
    "Sites",
    "Source",
    "batches",
    "check",
    "clients",
    "count",
    "dirichlet",
    "iid",
    "loaded",
    "natural",
    "pair",
    "quantity",
    "samplable",
    "shards",
    "shifted",
    "split",
    "take",
    "whole",
]
