"""ZCore's draws in batches of torch operations, for a GPU. Same definition as the compiled loop of
loop.scorers.zcore_kernel: the same winners, and scores equal up to float32 rounding of the weights
(sums of one batch are float32, sums over batches float64).

One batch of T draws over N rows costs about 8 T N numbers of memory traffic and 24 T N bytes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

BATCH_BYTES = 2 << 30


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
        where = torch.from_numpy(dims[start : start + batch].astype(np.int64)).to(device)
        point = torch.from_numpy(points[start : start + batch].astype(np.float64)).to(device)
        win, taken = _draws(columns, where, point, min(neighbours, n - 1), exponent)
        sums += torch.bincount(win, minlength=n)
        sums -= taken
        winners[start : start + batch] = win.cpu()
    return sums.cpu().numpy(), winners.numpy()


def _draws(
    columns: torch.Tensor, dims: torch.Tensor, points: torch.Tensor, k: int, exponent: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(T,) winners and (N,) what the batch takes from each row."""
    parts = [columns[dims[:, j]] for j in range(dims.shape[1])]
    near = (parts[0].double() - points[:, :1]).abs_()
    for j in range(1, len(parts)):
        near += (parts[j].double() - points[:, j : j + 1]).abs_()
    win = near.argmin(dim=1, keepdim=True)
    del near
    far = (parts[0] - parts[0].gather(1, win)).abs_()
    for part in parts[1:]:
        far += (part - part.gather(1, win)).abs_()
    far.scatter_(1, win, float("inf"))
    edge = far.kthvalue(k, dim=1, keepdim=True).values
    least = far.amin(dim=1, keepdim=True)
    twin = least == 0
    inner = (far < edge).sum(1, keepdim=True)
    tied = (far == edge).sum(1, keepdim=True)
    share = (k - inner) / tied
    # rows that coincide with the winner take everything, in equal parts: 1 for 0 / 0, 0 for 0 / d
    ratio = torch.where(twin, (far == 0).float(), least / far)
    weight = ratio.square().square() if exponent == 4.0 else ratio.pow(exponent)
    weight *= torch.where(twin | (far < edge), 1.0, torch.where(far == edge, share, 0.0))
    scale = 1.0 / weight.sum(1, dtype=torch.float64)
    return win[:, 0], (scale.float() @ weight).double()
