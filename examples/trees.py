"""Four hospitals grow one ensemble of trees that tells benign from malignant tumours, with XGBoost.

Trees are no sum of vectors: the server sees each hospital's trees, by name. `hansa explain` says what that means.

hansa run examples/trees.py
"""

import hansa
from hansa.datasets.breast_cancer import hospitals

data, test = hospitals()

plan = hansa.Plan(
    model=hansa.XgboostModel({"objective": "binary:logistic", "max_depth": 3}, features=30),
    algorithm=hansa.Boosting(),
    aggregator=hansa.Ensemble(),
    training=hansa.Training(batch=0, learning_rate=0.3),
    sample=hansa.Everyone(quorum=3),  # or hansa.InTurn(): one hospital after another
    rounds=20,
)

app = hansa.App(plan=plan, data=data, test=test)

if __name__ == "__main__":
    for state in app.run():
        print(f"{state.round:2} {state.scores['accuracy']:.3f}")
    for row in app.compare(state):
        print(f"{row.name:18} {row.examples:4} examples, accuracy {row.scores['accuracy']:.3f}")
