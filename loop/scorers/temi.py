"""TEMI: many small clustering heads on frozen embeddings, trained by mutual information of
neighbours. ELFS takes its pseudo-labels from it.

Student and teacher (a moving average of the student) see a row and one of its nearest neighbours.
Per head the class prior pi is a moving average of the teacher's mean; pairs weigh
w = mean over heads of sum_c p_t(c|x) p_t(c|x'); the loss of a head is the mean over the two cross
pairs of w (-log sum_c (p_s p_t) ** beta / pi). The head with the lowest loss of the last epoch
gives the labels. (ELFS' code chooses the checkpoint by true accuracy; nothing here sees a label.)

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
RATE = 4e-4
DECAY = 1e-4


def heads(dims: int, classes: int, count: int, generator: torch.Generator) -> torch.nn.Module:
    """``count`` heads at once: D -> 512 -> GELU -> 256, rows to length 1, -> C by unit weights."""
    import torch

    class Heads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()

            def normal(*shape: int) -> torch.nn.Parameter:
                return torch.nn.Parameter(torch.empty(*shape).normal_(0, 0.02, generator=generator))

            self.w1, self.b1 = (
                normal(count, dims, 512),
                torch.nn.Parameter(torch.zeros(count, 1, 512)),
            )
            self.w2, self.b2 = (
                normal(count, 512, 256),
                torch.nn.Parameter(torch.zeros(count, 1, 256)),
            )
            self.w3 = normal(count, 256, classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """(B, D) -> (H, B, C) logits."""
            h = torch.nn.functional.gelu(torch.matmul(x[None], self.w1) + self.b1)
            h = torch.nn.functional.normalize(torch.matmul(h, self.w2) + self.b2, dim=2)
            return torch.matmul(h, torch.nn.functional.normalize(self.w3, dim=1))

    return Heads()


def loss(
    student: torch.Tensor, teacher: torch.Tensor, prior: torch.Tensor, beta: float = 0.6
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of each head (H,) and the new prior (H, C).

    Args:
        student, teacher: (H, 2B, C) logits, first views then second views.
        prior: (H, C), updated before it is used.
    """
    import torch

    pairs = student.shape[1] // 2
    p_s = torch.softmax(student / TEMPERATURE, dim=2)
    p_t = torch.softmax(teacher.detach() / TEMPERATURE, dim=2)
    prior = PRIOR_MOMENTUM * prior + (1 - PRIOR_MOMENTUM) * p_t.mean(dim=1)
    first, second = p_t[:, :pairs], p_t[:, pairs:]
    weight = (first * second).sum(dim=2).mean(dim=0)
    total = torch.zeros(len(student), dtype=student.dtype, device=student.device)
    for s, t in ((p_s[:, :pairs], second), (p_s[:, pairs:], first)):
        mutual = ((s * t) ** beta / prior[:, None, :]).sum(dim=2)
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
    """(N,) pseudo-labels of rows ``x`` (N, D) with ``neighbours`` (N, K), and the loss reached."""
    import torch

    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    rows = torch.from_numpy(np.ascontiguousarray(x)).to(device)
    near = torch.from_numpy(neighbours)
    student = heads(x.shape[1], classes, count, generator).to(device)
    teacher = copy.deepcopy(student).requires_grad_(False)
    adam = torch.optim.AdamW(
        student.parameters(), lr=RATE * batch / 1024, weight_decay=DECAY, fused=True
    )
    weights: list[torch.Tensor] = list(student.parameters())
    averages: list[torch.Tensor] = list(teacher.parameters())
    prior = torch.full((count, classes), 1 / classes, device=device)
    mean = torch.zeros(count, device=device)
    for _ in range(epochs):
        order = torch.randperm(len(rows), generator=generator)
        parts = [p for p in order.split(batch) if len(p) > 1]
        mean = torch.zeros(count, device=device)
        for part in parts:
            pick = torch.randint(near.shape[1], (len(part),), generator=generator)
            both = torch.cat([part, near[part, pick]]).to(device)
            each, prior = loss(student(rows[both]), teacher(rows[both]), prior)
            adam.zero_grad(set_to_none=True)
            each.mean().backward()
            adam.step()
            with torch.no_grad():
                torch._foreach_lerp_(averages, weights, 1 - TEACHER_MOMENTUM)
            prior = prior.detach()
            mean += each.detach() / len(parts)
    best = int(mean.argmin())
    with torch.no_grad():
        labels = torch.cat([teacher(part)[best].argmax(dim=1) for part in rows.split(8192)])
    return labels.cpu().numpy().astype(np.int64), {"loss": float(mean[best]), "head": float(best)}
