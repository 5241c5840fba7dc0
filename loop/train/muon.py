"""Muon: momentum SGD with orthogonalised updates of weight matrices.

So every direction of a layer learns at the same pace, the rare ones too.

Source: K. Jordan et al. 2024, https://kellerjordan.github.io/posts/muon (algorithm, coefficients);
airbench94_muon of github.com/KellerJordan/cifar10-airbench (three steps, for CIFAR-10). The Muon
of PyTorch and of timm compute in bfloat16, which a CPU without it emulates, 25 times slower than
float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

STEPS = 3
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.SGD):
    """SGD with Nesterov momentum for biases, norms, depthwise filters and the last layer; for all
    other weights the orthogonalised momentum.

    Args:
        net: its last module with weights is the classifier.
        learning_rate: of both kinds.
        weight_decay: of both kinds.
        fused: see torch.optim.SGD.
        momentum: of both kinds.
    """

    def __init__(
        self,
        net: torch.nn.Module,
        learning_rate: float,
        weight_decay: float,
        fused: bool,
        momentum: float,
    ) -> None:
        matrices, others = _kinds(net)
        groups: list[dict[str, Any]] = [
            {"params": others},
            {"params": matrices, "momentum": 0.0, "nesterov": False},
        ]
        super().__init__(
            groups,
            lr=learning_rate,
            momentum=momentum,
            nesterov=True,
            weight_decay=weight_decay,
            fused=fused,
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step; the gradients of the matrices are replaced by what is subtracted."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for alike in _by_shape(self.param_groups[1]["params"]):
            updates = orthogonal(torch.stack([self._momentum(p).flatten(1) for p in alike]))
            rows, columns = updates.shape[1:]
            updates *= max(1.0, rows / columns) ** 0.5
            for parameter, update in zip(alike, updates):
                assert parameter.grad is not None
                parameter.grad.copy_(update.view(parameter.shape))
        super().step()
        return loss

    def _momentum(self, parameter: torch.nn.Parameter) -> torch.Tensor:
        """Nesterov momentum of the gradients so far."""
        grad, state = parameter.grad, self.state[parameter]
        assert grad is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        decay = self.defaults["momentum"]
        momentum: torch.Tensor = state["momentum_buffer"].mul_(decay).add_(grad)
        return grad.add(momentum, alpha=decay)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Orthogonalised (B, M, N) float matrices: the same with all singular values near 1.

    Three Newton-Schulz steps, in bfloat16 on CUDA and float32 elsewhere.
    """
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def _kinds(net: torch.nn.Module) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Weight matrices but the last layer's, and all other parameters."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    learned = [p for p in net.parameters() if p.requires_grad]
    last = max(i for i, p in enumerate(learned) if p.ndim > 1)
    for i, p in enumerate(learned):
        is_matrix = p.ndim > 1 and min(p.shape[:2]) > 1 and i != last
        (matrices if is_matrix else others).append(p)
    return matrices, others


def _by_shape(parameters: Iterable[torch.nn.Parameter]) -> list[list[torch.nn.Parameter]]:
    """Those of one shape share the launches of their products on a GPU."""
    alike: dict[torch.Size, list[torch.nn.Parameter]] = {}
    for p in parameters:
        if p.grad is not None:
            alike.setdefault(p.shape, []).append(p)
    return list(alike.values())
