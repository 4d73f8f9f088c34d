"""An exported network against the network itself, at sizes with which it was not traced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cpnet.errors import DataError
from cpnet.exporting import example
from cpnet.exporting.folder import INPUTS, Program, compare, save
from models.pairs import VIDEO_DIM, WORDS, small_model

SIZES = [(1, 1, 1, 1), (1, 24, 1, 7), (2, 13, 5, 1), (3, 2, 2, 24), (1, 9, 4, 3)]  # videos, clips, pairs, words


def program_of(**knobs: Any) -> Program:
    return Program(small_model(**knobs), dim=VIDEO_DIM, rows=WORDS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        ("torch_export", {}),
        ("onnx", {}),
        ("onnx", {"pyramid_levels": 4, "downsample": "avg", "upsample": "linear", "position": "learned"}),
        ("onnx", {"downsample": "conv", "cam": {"separate_values": True}, "fusion": "two_layer", "order": "none"}),
        ("onnx", {"contextual_pyramid": False, "share_fusion_encoder": True}),
    ],
)
def test_every_form_of_the_network_takes_any_size(kind: str, knobs: dict[str, Any], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnxscript") and pytest.importorskip("onnx")
    program = program_of(**knobs)
    path = save(program, kind, tmp_path, {"model": "small", "clips": 24}, clips=24, words=24)
    run = example.load(tmp_path)
    for size in SIZES:
        inputs = program.random_inputs(*size)
        with torch.no_grad():
            expected = program(*inputs.values()).numpy()
        spans = run({name: each.numpy() for name, each in inputs.items()})
        np.testing.assert_allclose(spans, expected, rtol=0, atol=1e-6)
    if kind == "onnx":
        graph, properties = onnx.load(path).graph, onnx.load(path).metadata_props
        tensors = {each.name: each.type.tensor_type.shape.dim for each in (*graph.input, *graph.output)}
        dims = {name: [dim.dim_param or dim.dim_value for dim in each] for name, each in tensors.items()}
        named = {name: list(names) for name, names in INPUTS.items()}
        assert dims == named | {"video": ["videos", "clips", VIDEO_DIM], "ranked": ["pairs", 1, 2]}
        assert {each.key: each.value for each in properties} == {"model": "small", "clips": "24"}


@pytest.mark.parametrize("wrong", [2e-4, float("nan")])
def test_a_file_that_differs_is_refused(wrong: float) -> None:
    program, shift = program_of(), 5e-5

    def run(inputs: dict[str, Any]) -> Any:
        with torch.no_grad():
            return program(*map(torch.from_numpy, inputs.values())).numpy() + shift

    assert compare(run, program, clips=24, words=5) == pytest.approx(shift, rel=0.01)
    shift = wrong
    with pytest.raises(DataError, match=r"differ from the checkpoint's by .* more than 0.0001; nothing is kept"):
        compare(run, program, clips=24, words=5)
