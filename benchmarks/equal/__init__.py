"""A module a model: its own code and ours with the same weights and inputs."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


def count(*modules: nn.Module) -> Tensor:
    """Return the number of trained parameters."""
    return torch.tensor(sum(each.numel() for module in modules for each in module.parameters() if each.requires_grad))


def recurrent_names(name: str, *, layers: int, bias: bool = True) -> Iterator[tuple[str, str]]:
    """Yield each weight's name in ``Bidirectional`` and in torch's own layer."""
    for layer in range(layers):
        for kind in ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if bias else ())):
            for direction, end in (("ahead", ""), ("back", "_reverse")):
                yield f"{name}.{direction}.{layer}.{kind}_l0", f"{kind}_l{layer}{end}"
