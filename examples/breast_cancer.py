"""Bayesian logistic regression on a real data set, beside scikit-learn's own fit.

    pip install 'stanley[examples]' && python examples/breast_cancer.py

The 569 tumours of scikit-learn's breast cancer data, 30 measurements each, of which 30 % are held
out. Weights are N(0, 1) on standardised columns, which is the penalty that scikit-learn has by
default. It predicts with the best weights, `stanley.draw` averages the predictions of all that the
data leave possible.
"""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import distributions as D

import stanley

data: Any = load_breast_cancer()
x, y = (torch.tensor(part, dtype=torch.float64) for part in (data["data"], data["target"]))
split = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
x_train, x_test, y_train, y_test = map(torch.as_tensor, split)
mean, std = x_train.mean(0), x_train.std(0)
x_train, x_test = (x_train - mean) / std, (x_test - mean) / std

model = stanley.Parameters(bias=stanley.real(), weights=stanley.real(30))


def log_density(bias, weights):
    prior = D.Normal(0.0, 5.0).log_prob(bias) + D.Normal(0.0, 1.0).log_prob(weights).sum()
    return prior + D.Bernoulli(logits=bias + x_train @ weights).log_prob(y_train).sum()


out = stanley.draw(model.potential(log_density), seed=0)
print(out.verdict())
for i in out["weights"].abs().mean((0, 1)).argsort(descending=True)[:5].tolist():
    row = out.summary()[f"weights[{i}]"]
    print(f"  {data['feature_names'][i]:<24}{row['mean']:6.2f} ± {row['sd']:.2f}")

logits = out["bias"][..., None] + out["weights"] @ x_test.T  # (chains, draws, tumours)
fit = LogisticRegression(max_iter=1000).fit(x_train.numpy(), y_train.numpy())
best = torch.from_numpy(fit.predict_proba(x_test.numpy())[:, 1])
for name, p in {"stanley": logits.sigmoid().mean((0, 1)), "scikit-learn": best}.items():
    right, score = ((p > 0.5) == y_test.bool()).double().mean(), D.Bernoulli(p).log_prob(y_test)
    print(f"{name:<13} held-out accuracy {right:.3f}   log score {score.mean():.4f} nats a tumour")
