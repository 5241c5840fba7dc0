"""ZCore's draws in batches of torch operations, for a GPU.

Same definition as the compiled loop of loop.scorers.zcore_kernel: the same winners, and scores
equal up to float32 rounding of the weights (sums of one batch are float32, sums over batches
float64). A batch of T draws over N rows moves about 8 T N numbers and takes 24 T N bytes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

BATCH_BYTES = 2 << 30
"""Memory of one batch of draws."""


def accumulate(
    embeddings: NDArray[np.float32],
    dims: NDArray[np.int64],
    points: NDArray[np.float64],
    neighbours: int = 1000,
    exponent: float = 4.0,
    *,
    device: str = "cuda",
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(N,) raw scores and (T,) winners of given draws; see loop.scorers.zcore.replay."""
    n = len(embeddings)
    columns = torch.from_numpy(np.ascontiguousarray(embeddings.T)).to(device)
    sums = torch.zeros(n, dtype=torch.float64, device=device)
    winners = torch.empty(len(dims), dtype=torch.int64)
    batch = max(1, BATCH_BYTES // (24 * n))
    for start in range(0, len(dims), batch):
        rows = slice(start, start + batch)
        batch_dims = torch.from_numpy(dims[rows].astype(np.int64)).to(device)
        batch_points = torch.from_numpy(points[rows].astype(np.float64)).to(device)
        batch_winners, redundancy = _draws(
            columns, batch_dims, batch_points, min(neighbours, n - 1), exponent
        )
        sums += torch.bincount(batch_winners, minlength=n)
        sums -= redundancy
        winners[rows] = batch_winners.cpu()
    return sums.cpu().numpy(), winners.numpy()


def _draws(
    columns: torch.Tensor, dims: torch.Tensor, points: torch.Tensor, k: int, exponent: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(T,) winners, and the (N,) float64 redundancy that the batch subtracts from each row.

    Args:
        columns: (D, N) float32.
        dims, points: (T, m) dimensions and coordinates of the draws.
        k: neighbours that share the redundancy of a winner.
    """
    coordinates = [columns[dims[:, j]] for j in range(dims.shape[1])]
    to_point = (coordinates[0].double() - points[:, :1]).abs_()
    for j in range(1, len(coordinates)):
        to_point += (coordinates[j].double() - points[:, j : j + 1]).abs_()
    winners = to_point.argmin(dim=1, keepdim=True)
    del to_point
    distances = (coordinates[0] - coordinates[0].gather(1, winners)).abs_()
    for values in coordinates[1:]:
        distances += (values - values.gather(1, winners)).abs_()
    distances.scatter_(1, winners, float("inf"))
    radius = distances.kthvalue(k, dim=1, keepdim=True).values
    least = distances.amin(dim=1, keepdim=True)
    has_copies = least == 0
    inside = (distances < radius).sum(1, keepdim=True)
    tied = (distances == radius).sum(1, keepdim=True)
    tie_share = (k - inside) / tied
    # copies of the winner take everything, in equal parts: ratio 1 for 0 / 0, 0 for 0 / d
    ratio = torch.where(has_copies, (distances == 0).float(), least / distances)
    weights = ratio.square().square() if exponent == 4.0 else ratio.pow(exponent)
    share = torch.where(distances == radius, tie_share, 0.0)
    weights *= torch.where(has_copies | (distances < radius), 1.0, share)
    scale = 1.0 / weights.sum(1, dtype=torch.float64)
    return winners[:, 0], (scale.float() @ weights).double()
