"""Recurrent layers in both directions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cpnet.models.layers.masking import zero_padding
from cpnet.models.layers.scan import states_of

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Bidirectional(nn.Module):
    """An LSTM or GRU in both directions over the real steps of each sequence, as torch's on packed sequences.

    Two plain layers and a reversal within each sequence take its place, because packed sequences cannot be exported.

    Args:
        cell: ``lstm`` or ``gru``
        input_dim: width of x
        width: D of each direction
        layers: number of layers; each but the first reads both directions of the one below
        dropout: probability between layers
        bias: whether the cells have biases

    Shape: x (B, L, input_dim), mask (B, L) bool, True = real -> steps (B, L, 2D), 0 where padded, and the last states
        of both directions of the last layer (B, 2D)

    >>> steps, last = Bidirectional("gru", 3, 4)(torch.zeros(2, 5, 3), torch.ones(2, 5, dtype=torch.bool))
    >>> steps.shape, last.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 8]))
    """

    def __init__(
        self, cell: str, input_dim: int, width: int, *, layers: int = 1, dropout: float = 0.0, bias: bool = True
    ) -> None:
        super().__init__()
        widths = [input_dim, *[2 * width] * (layers - 1)]
        self.ahead, self.back = (
            nn.ModuleList(CELLS[cell](each, width, batch_first=True, bias=bias) for each in widths) for _ in range(2)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states of all steps, and the last ones."""
        for layer, (ahead, back) in enumerate(zip(self.ahead, self.back, strict=True)):
            x = self.dropout(x) if layer else x
            x = zero_padding(x, mask)
            forward, backward = run(ahead, x), reverse(run(back, reverse(x, mask)), mask)
            x = torch.cat((forward, backward), dim=2)
        end = (mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, forward.shape[2])
        last = torch.cat((forward.gather(1, end).squeeze(1), backward[:, 0]), dim=1)
        return zero_padding(x, mask), last


def run(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the states of an LSTM or GRU, computed in the dtype of its weights: some CPUs have none in bfloat16.

    Shape: x (B, L, input width) -> (B, L, D)
    """
    if torch.compiler.is_exporting():
        assert isinstance(layer, nn.RNNBase)
        return states_of(layer, x)
    with torch.autocast(x.device.type, enabled=False):
        states: Tensor = layer(x.to(layer.get_parameter("weight_ih_l0").dtype))[0]
    return states


def reverse(x: Tensor, mask: Tensor) -> Tensor:
    """Reverse the real steps of each sequence; padding stays where it is.

    Shape: x (B, L, D), mask (B, L) bool, True = real -> (B, L, D)

    >>> reverse(torch.tensor([[[1.0], [2.0], [0.0]]]), torch.tensor([[True, True, False]])).flatten().tolist()
    [2.0, 1.0, 0.0]
    """
    step = torch.arange(x.shape[1], device=x.device)
    source = torch.where(mask, mask.sum(dim=1, keepdim=True) - 1 - step, step)
    return x.gather(1, source.unsqueeze(-1).expand_as(x))
