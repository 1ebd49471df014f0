"""Four offices teach one Flax network to read digits; each office sees few of some.

hansa run examples/jax_flax.py
"""

import jax
import numpy as np
from flax import linen as nn
from sklearn.datasets import load_digits

import hansa
from hansa.models.jax import cross_entropy


class Reader(nn.Module):
    """64 pixels → 10 digits, with batch normalisation and dropout."""

    @nn.compact
    def __call__(self, x, train=False):
        """Logits [n, 10]."""
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(64)(x))
        x = nn.Dropout(0.2, deterministic=not train)(nn.relu(x))
        return nn.Dense(10)(x)


digits = load_digits()
images, labels = (digits.data / 16).astype(np.float32), digits.target
train, test = slice(0, 1300), slice(1300, None)

net = Reader()
first = net.init(jax.random.key(0), images[:1])


def apply(params, x, state, key, train):
    """Outputs and the batch statistics after them."""
    return net.apply({"params": params, **state}, x, train, rngs={"dropout": key}, mutable=["batch_stats"])


plan = hansa.Plan(
    model=hansa.JaxModel(first["params"], apply, cross_entropy, state={"batch_stats": first["batch_stats"]}),
    training=hansa.Training(epochs=2, batch=16, learning_rate=0.1, optimizer="momentum"),
    rounds=15,
)
parts = hansa.data.dirichlet(labels[train], 4, alpha=0.3, key=hansa.Key.of(1))
data = hansa.data.clients((images[train], labels[train]), parts, ["north", "south", "east", "west"])
app = hansa.App(plan=plan, data=data, test=(images[test], labels[test]))

if __name__ == "__main__":
    for state in app.run():
        print(state.round, state.scores["accuracy"])
    for row in app.compare(state):
        print(f"{row.name:16} {row.examples:5} {row.scores['accuracy']:.3f}")
    params = plan.model.params(state.x)
