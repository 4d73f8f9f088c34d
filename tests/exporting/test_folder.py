"""An exported network against the network itself, at sizes with which it was not traced."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from cpnet.errors import ConfigError, DataError
from cpnet.exporting import example
from cpnet.exporting.folder import INPUTS, Program, compare, save, short_errors
from models.pairs import VIDEO_DIM, WORDS, small_model
from models.test_every_model import NAMES, model_of


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
    path = save(program, kind, tmp_path, clips=24, words=24)
    for clips, words in ((24, 24), (13, 2), (2, 3)):
        assert compare(example.load(tmp_path), program, clips=clips, words=words) < 1e-6
    if kind == "onnx":
        graph = onnx.load(path).graph
        tensors = {each.name: each.type.tensor_type.shape.dim for each in (*graph.input, *graph.output)}
        dims = {name: [dim.dim_param or dim.dim_value for dim in each] for name, each in tensors.items()}
        named = {name: list(names) for name, names in INPUTS.items()}
        assert dims == named | {"video": ["videos", "clips", VIDEO_DIM], "ranked": ["pairs", 1, 2]}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torch_export", "onnx"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "cpnet"])
def test_every_model_is_exported_for_any_size(name: str, kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript") and pytest.importorskip("onnx")
    program = Program(copy.deepcopy(model_of(f"{name}_small")).float(), dim=VIDEO_DIM, rows=WORDS)
    save(program, kind, tmp_path, clips=24, words=12)
    run = example.load(tmp_path)
    for clips, words in ((24, 12), (11, 2), (2, 3)):  # at 13, CPNetPlus has equal answers, of which either may win
        assert compare(run, program, clips=clips, words=words) < 1e-5


@pytest.mark.parametrize("wrong", [2e-4, float("nan")])
def test_a_file_that_differs_is_refused(wrong: float) -> None:
    program, shift = program_of(), 5e-5

    def run(inputs: dict[str, Any]) -> Any:
        with torch.no_grad():
            return program(*map(torch.from_numpy, inputs.values())).numpy() + shift

    assert compare(run, program, clips=24, words=5) == pytest.approx(shift, rel=0.01)
    shift = wrong
    with pytest.raises(DataError, match=r"spans differ by .* of a video"):
        compare(run, program, clips=24, words=5)


def test_an_error_of_an_exporter_names_the_other_format() -> None:
    with (
        pytest.raises(ConfigError, match=r"^format=onnx .*\(RuntimeError: no sort\); try format=torch_export$"),
        short_errors("onnx"),
    ):
        raise RuntimeError("no sort\nReport this to PyTorch")
