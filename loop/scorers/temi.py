"""TEMI: deep clustering of frozen embeddings by heads that maximise the mutual information of
neighbours. ELFS takes its pseudo-labels from it.

Student and teacher (a moving average of the student) see a row and one of its nearest neighbours.
Per head the class prior pi is a moving average of the teacher's mean output; pairs weigh
w = mean over heads of sum_c p_t(c|x) p_t(c|x'); the loss of a head is the mean over the two cross
pairs of w (-log sum_c (p_s p_t) ** beta / pi). The head of the lowest loss in the last epoch gives
the labels. (ELFS' code chooses the checkpoint by true accuracy; no label is used here.)

Source: Adaloglou et al., BMVC 2023; TEMI-official-BMVC2023 (c6a81a6); settings of eltsai/elfs.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

TEMPERATURE = 0.1
PRIOR_MOMENTUM = 0.9
TEACHER_MOMENTUM = 0.996
LEARNING_RATE = 4e-4
"""For batches of 1024 pairs; scaled in proportion to the batch."""
WEIGHT_DECAY = 1e-4
PREDICT_ROWS = 8192
"""Rows per forward pass when labels are read off."""


def heads(dims: int, classes: int, count: int, generator: torch.Generator) -> torch.nn.Module:
    """``count`` heads at once: D -> 512 -> GELU -> 256 -> unit length -> C by unit weights."""
    import torch

    class Heads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()

            def normal(*shape: int) -> torch.nn.Parameter:
                return torch.nn.Parameter(torch.empty(*shape).normal_(0, 0.02, generator=generator))

            def zeros(*shape: int) -> torch.nn.Parameter:
                return torch.nn.Parameter(torch.zeros(*shape))

            self.w1, self.b1 = normal(count, dims, 512), zeros(count, 1, 512)
            self.w2, self.b2 = normal(count, 512, 256), zeros(count, 1, 256)
            self.w3 = normal(count, 256, classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """(B, D) -> (H, B, C) logits."""
            hidden = torch.nn.functional.gelu(torch.matmul(x[None], self.w1) + self.b1)
            features = torch.matmul(hidden, self.w2) + self.b2
            features = torch.nn.functional.normalize(features, dim=2)
            return torch.matmul(features, torch.nn.functional.normalize(self.w3, dim=1))

    return Heads()


def loss(
    student: torch.Tensor, teacher: torch.Tensor, prior: torch.Tensor, beta: float = 0.6
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of each head (H,) and the new class prior (H, C).

    Args:
        student, teacher: (H, 2B, C) logits of B rows, then of their B neighbours.
        prior: (H, C), updated before it is used.
    """
    import torch

    pairs = student.shape[1] // 2
    student_probabilities = torch.softmax(student / TEMPERATURE, dim=2)
    teacher_probabilities = torch.softmax(teacher.detach() / TEMPERATURE, dim=2)
    mean_probabilities = teacher_probabilities.mean(dim=1)
    prior = PRIOR_MOMENTUM * prior + (1 - PRIOR_MOMENTUM) * mean_probabilities
    first, second = student_probabilities[:, :pairs], student_probabilities[:, pairs:]
    teacher_first = teacher_probabilities[:, :pairs]
    teacher_second = teacher_probabilities[:, pairs:]
    weight = (teacher_first * teacher_second).sum(dim=2).mean(dim=0)
    total = torch.zeros(len(student), dtype=student.dtype, device=student.device)
    for predicted, other in ((first, teacher_second), (second, teacher_first)):
        mutual = ((predicted * other) ** beta / prior[:, None, :]).sum(dim=2)
        total = total - (weight * torch.log(mutual)).mean(dim=1) / 2
    return total, prior


def cluster(
    x: NDArray[np.float32],
    neighbours: NDArray[np.int64],
    classes: int,
    rng: np.random.Generator,
    *,
    count: int = 4,
    epochs: int = 30,
    batch: int = 512,
    device: str = "cpu",
) -> tuple[NDArray[np.int64], dict[str, float]]:
    """(N,) int64 pseudo-labels, and the loss of the head that gave them.

    Args:
        x: (N, D) unit rows.
        neighbours: (N, K) nearest neighbours of each row.
        count: number of heads, H.
        batch: pairs per step.
    """
    import torch

    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    rows = torch.from_numpy(np.ascontiguousarray(x)).to(device)
    index = torch.from_numpy(neighbours)
    student = heads(x.shape[1], classes, count, generator).to(device)
    teacher = copy.deepcopy(student).requires_grad_(False)
    learning_rate = LEARNING_RATE * batch / 1024
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY, fused=True
    )
    weights: list[torch.Tensor] = list(student.parameters())
    averages: list[torch.Tensor] = list(teacher.parameters())
    prior = torch.full((count, classes), 1 / classes, device=device)
    epoch_losses = torch.zeros(count, device=device)
    for _ in range(epochs):
        pairs = _pairs_of_neighbours(index, batch, generator)
        epoch_losses = torch.zeros(count, device=device)
        for batch_pairs in pairs:
            both = rows[batch_pairs.to(device)]
            losses, prior = loss(student(both), teacher(both), prior)
            optimizer.zero_grad(set_to_none=True)
            losses.mean().backward()
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(averages, weights, 1 - TEACHER_MOMENTUM)
            prior = prior.detach()
            epoch_losses += losses.detach() / len(pairs)
    best = int(epoch_losses.argmin())
    with torch.no_grad():
        predicted = [teacher(part)[best].argmax(dim=1) for part in rows.split(PREDICT_ROWS)]
    labels = torch.cat(predicted).cpu().numpy().astype(np.int64)
    return labels, {"loss": float(epoch_losses[best]), "head": float(best)}


def _pairs_of_neighbours(
    index: torch.Tensor, batch: int, generator: torch.Generator
) -> list[torch.Tensor]:
    """Batches of one epoch, each (2B,): every row once, then a random neighbour of each of them.

    A last batch of a single row is left out.
    """
    import torch

    order = torch.randperm(len(index), generator=generator)
    pairs = []
    for part in order.split(batch):
        if len(part) > 1:
            choice = torch.randint(index.shape[1], (len(part),), generator=generator)
            pairs.append(torch.cat([part, index[part, choice]]))
    return pairs
