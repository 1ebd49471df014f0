"""Three post offices adapt one public transformer to their own digits; only the adapter (LoRA) travels.

The public model has learnt handwritten digits. The offices write theirs in fainter ink, and each has few of some.

hansa run examples/lora.py
"""

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForSequenceClassification

import hansa

digits = load_digits()  # 1797 images of 8 × 8 pixels from 0 to 16; each field of 2 × 2 is one token, its mean
tokens = digits.images.reshape(-1, 4, 2, 4, 2).mean((2, 4)).astype(np.int64).reshape(-1, 16)
labels = digits.target
public, private, held = slice(0, 700), slice(700, 1300), slice(1300, None)


def public_model() -> BertForSequenceClassification:
    """A small transformer that has learnt the public digits; usually it is downloaded."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    base = BertForSequenceClassification(
        BertConfig(vocab_size=17, max_position_embeddings=16, num_labels=10, **sizes, hidden_dropout_prob=0.0)
    )
    model, training = hansa.TorchModel(base, cross_entropy), hansa.Training(30, 32, 0.003, "adamw")
    key = hansa.Key.of(0)
    fit = model.train(model.start(key), (tokens[public], labels[public]), training, hansa.models.Drift(), key)
    return model.load(fit.x)


net = get_peft_model(public_model(), LoraConfig(task_type="SEQ_CLS", r=8, target_modules=["query", "value", "dense"]))
scans = {"input_ids": tokens[private] // 2, "labels": labels[private]}
parts = hansa.data.dirichlet(labels[private], 3, alpha=0.5, key=hansa.Key.of(1))

plan = hansa.Plan(
    model=hansa.TorchModel(net, cross_entropy),
    training=hansa.Training(epochs=2, batch=32, learning_rate=0.005, optimizer="adam"),
    rounds=12,
)
app = hansa.App(
    plan=plan,
    data=hansa.data.clients(scans, parts, ["north", "south", "west"]),
    test={"input_ids": tokens[held] // 2, "labels": labels[held]},
)

if __name__ == "__main__":
    for state in app.run():
        print(state.round, state.scores["accuracy"])
    for row in app.compare(state):
        print(f"{row.name:16} {row.examples:5} {row.scores['accuracy']:.3f}")
    plan.model.load(state.x)  # into `net`; net.save_pretrained(…) writes the adapter
