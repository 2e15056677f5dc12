"""Muon for small models on a CPU: momentum, orthogonalised in float32, same-shaped matrices at once.

Considered: ``torch.optim.Muon``. It orthogonalises in bfloat16, which a CPU without bfloat16 instructions
emulates: more than half of a nano step was spent there. The update rule is the same (Jordan et al., 2024,
with the RMS-matching factor of Moonlight: 0.2 * sqrt(max(rows, columns))).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Returns ``(N, R, C)`` matrices pushed towards the nearest semi-orthogonal ones by Newton-Schulz."""
    a, b, c = _COEFFICIENTS
    x = matrices.float()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: torch.Tensor = x.mT if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Muon over matrices; everything else belongs to another optimiser."""

    def __init__(
        self, params: Iterable[torch.Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        """Takes matrices.

        Raises:
            ValueError: a parameter is no matrix.
        """
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        if any(p.ndim != 2 for group in self.param_groups for p in group["params"]):
            raise ValueError("Muon moves matrices only: give other parameters to AdamW")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Makes one update."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape].append(parameter)
            for shape, parameters in shapes.items():
                update = orthogonalize(
                    torch.stack([self._direction(p, group["momentum"]) for p in parameters])
                )
                scale = group["lr"] * 0.2 * max(shape) ** 0.5
                for parameter, matrix in zip(parameters, update, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(matrix, alpha=-scale)

    def _direction(self, parameter: torch.Tensor, momentum: float) -> torch.Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        buffer: torch.Tensor = state["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(buffer, momentum)  # Nesterov
