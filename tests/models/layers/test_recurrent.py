"""Recurrent layers. Oracle: torch's own bidirectional layers on packed sequences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cpnet.models.layers.recurrent import CELLS, Bidirectional
from models.pairs import padded

LENGTHS = [4, 1, 5, 2, 3]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_states_and_gradients_are_those_of_torch_on_packed_sequences(cell: str, layers: int) -> None:
    torch.manual_seed(0)
    ours = Bidirectional(cell, 3, 2, layers=layers).double()
    theirs = CELLS[cell](3, 2, num_layers=layers, bidirectional=True, batch_first=True).double()
    for layer in range(layers):
        for suffix, direction in (("", ours.ahead[layer]), ("_reverse", ours.back[layer])):
            for name, parameter in direction.named_parameters():
                getattr(theirs, name.replace("_l0", f"_l{layer}{suffix}")).data.copy_(parameter.data)
    x, mask = padded([torch.randn(length, 3, dtype=torch.float64) for length in LENGTHS], more=2)
    x.requires_grad_()

    def expected() -> tuple[Tensor, Tensor]:
        packed, state = theirs(pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False))
        steps, _ = pad_packed_sequence(packed, batch_first=True, total_length=mask.shape[1])
        hidden = state[0] if cell == "lstm" else state
        return steps, torch.cat((hidden[-2], hidden[-1]), dim=1)

    found, true = ours(x, mask), expected()
    torch.testing.assert_close(found, true)
    gradients = [torch.autograd.grad(steps.sin().sum() + last.cos().sum(), x) for steps, last in (found, true)]
    torch.testing.assert_close(*gradients)


def test_dropout_lies_between_layers_and_in_training_alone() -> None:
    torch.manual_seed(0)
    x, mask = padded([torch.randn(5, 3), torch.randn(2, 3)], garbage=0.0)
    for layers, same in ((1, True), (2, False)):
        layer = Bidirectional("gru", 3, 4, layers=layers, dropout=0.5)
        training, evaluating = layer(x, mask)[0], layer.eval()(x, mask)[0]
        assert torch.equal(training, evaluating) == same


@pytest.mark.slow
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_an_exported_program_takes_other_lengths(cell: str, bias: bool) -> None:
    torch.manual_seed(0)
    layer, dynamic = Bidirectional(cell, 3, 4, bias=bias).eval(), dict.fromkeys(range(2), torch.export.Dim.DYNAMIC)
    example = padded([torch.randn(length, 3) for length in (4, 9)])
    program = torch.export.export(layer, example, dynamic_shapes=(dynamic, dynamic)).module()
    for lengths in ((1,), (2, 1, 5), (20, 3)):
        inputs = padded([torch.randn(length, 3) for length in lengths])
        torch.testing.assert_close(program(*inputs), layer(*inputs))
