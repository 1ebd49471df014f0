"""Three post offices train one Keras model to read digits; each reads its scans with its own tf.data pipeline.

hansa run examples/keras_tensorflow.py
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from sklearn.datasets import load_digits

import hansa

digits = load_digits()  # 1797 images of 8 × 8 pixels from 0 to 16
labels, held = digits.target[:600], np.arange(600, 1797)


def pipeline(rows: np.ndarray) -> tf.data.Dataset:
    """What an office would write over its own files: read, scale, batch."""
    scans = tf.data.Dataset.from_tensor_slices((digits.images[rows], digits.target[rows]))
    return scans.batch(16).map(lambda images, y: (tf.cast(images, tf.float32)[..., None] / 16.0, y))


keras.utils.set_random_seed(0)
net = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        layers.Conv2D(16, 3, activation="relu"),
        layers.BatchNormalization(momentum=0.9),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(10),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
net.compile(optimizer=keras.optimizers.Adam(0.003), loss=loss, metrics=["accuracy"])

plan = hansa.Plan(
    model=hansa.KerasModel(net), training=hansa.Training(epochs=2, optimizer="compiled", validation=0.1), rounds=10
)
parts = hansa.data.dirichlet(labels, 3, alpha=0.3, key=hansa.Key.of(3))
app = hansa.App(
    plan=plan, data=dict(zip(["north", "south", "west"], map(pipeline, parts), strict=True)), test=pipeline(held)
)

if __name__ == "__main__":
    for state in app.run():
        print(state.round, f"{state.metrics['val_accuracy']:.3f}", f"{state.scores['accuracy']:.3f}")
    for row in app.compare(state):
        print(f"{row.name:16} {row.examples:5} {row.scores['accuracy']:.3f}")
    plan.model.load(state.x).save("digits.keras")  # the same object, with the federation's weights
