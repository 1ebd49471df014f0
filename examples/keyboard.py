"""Twelve hundred people write as Shakespeare's roles speak, and their keyboards learn the next character together.

hansa run examples/keyboard.py
python examples/keyboard.py RUN         completes what one types, with the model of a run: three words to choose from
"""

import sys

import numpy as np
import torch
from torch import nn

import hansa
from hansa.datasets.shakespeare import ALPHABET, Coded, shakespeare

roles = shakespeare()
held = tuple(np.concatenate(part)[::12] for part in zip(*roles.test.values(), strict=True))


class Keyboard(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(len(ALPHABET), 8)
        self.lstm = nn.LSTM(8, 128, batch_first=True)
        self.head = nn.Linear(128, len(ALPHABET))

    def forward(self, x):  # characters [n, t] → logits of the next one at each place [n, classes, t]
        return self.head(self.lstm(self.embed(x))[0]).transpose(1, 2)


torch.manual_seed(0)
net = Keyboard()
plan = hansa.Plan(
    model=hansa.TorchModel(net, nn.functional.cross_entropy),
    pipe=(hansa.Finite(), hansa.Weigh("examples", cap=100)),
    training=hansa.Training(
        epochs=3, batch=10, learning_rate=0.01, optimizer="adam", schedule=hansa.schedules.Cosine()
    ),
    sample=hansa.Uniform(20),
    rounds=40,
)
app = hansa.App(plan=plan, data=roles.train, test=held)


def completed(net, text):  # greedily on from the three likeliest characters
    for first in net(places(text))[0, :, -1].topk(3).indices.tolist():
        word = ALPHABET[first]
        while word[-1].isalpha() and len(word) < 15:
            word += ALPHABET[net(places(text + word))[0, :, -1].argmax()]
        yield (text.split(" ")[-1] + word).strip()


def places(text):
    return torch.tensor(Coded.of(("\n" + text)[-80:]).codes[None])


if __name__ == "__main__" and sys.argv[1:]:
    net = plan.model.load(hansa.Store("runs").open(sys.argv[1]).state().x)
    for line in sys.stdin:
        print(" | ".join(completed(net, line.rstrip("\n"))), flush=True)
