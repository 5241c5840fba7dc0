"""A softmax head on frozen embeddings, trained by minibatches, so that its dynamics say much."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loop.dynamics import Dynamics
from loop.errors import TrainingFailed
from loop.train.base import Task

BATCH = 256
LEARNING_RATE = 0.01


def record(
    task: Task, labels: NDArray[np.int64], rng: np.random.Generator, *, epochs: int
) -> Dynamics:
    """Trains ``epochs`` epochs on the rows with a label and records each epoch's logits.

    Rows are standardised and scaled to a mean squared norm of 1, so that one learning rate serves
    every encoder; Adam with a cosine schedule.

    Raises:
        TrainingFailed: the loss is not finite.
    """
    import torch

    rows = np.flatnonzero(labels >= 0)
    features = task.standardised(task.pool[rows]).astype(np.float32)
    features /= np.sqrt(features.shape[1])
    x = torch.from_numpy(features).to(task.device)
    y = torch.from_numpy(labels[rows]).to(task.device)
    torch_seed = torch.Generator().manual_seed(int(rng.integers(2**31)))
    w = torch.zeros(x.shape[1], task.n_classes, device=task.device, requires_grad=True)
    b = torch.zeros(task.n_classes, device=task.device, requires_grad=True)
    adam = torch.optim.Adam([w, b], lr=LEARNING_RATE, betas=(0.9, 0.95))
    steps = epochs * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, steps))
    dynamics = Dynamics(labels)
    logits = np.zeros((len(labels), task.n_classes), dtype=np.float32)
    for epoch in range(epochs):
        for part in torch.randperm(len(rows), generator=torch_seed).split(BATCH):
            where = part.to(task.device)
            loss = torch.nn.functional.cross_entropy(x[where] @ w + b, y[where])
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
        if not torch.isfinite(loss):
            raise TrainingFailed(f"the loss is {float(loss)} in epoch {epoch + 1}")
        with torch.no_grad():
            logits[rows] = (x @ w + b).cpu().numpy()
        dynamics.update(logits)
    return dynamics
