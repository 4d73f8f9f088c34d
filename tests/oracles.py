"""A second implementation of CPNet and its losses, and of layers: loops over float64 numbers, from the equations.

Every function takes one pair without padding and no mask. The model's answer for a padded pair must equal the answer
here for the pair alone. Only the names of the weights are the model's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

Array = npt.NDArray[np.float64]
Weights = dict[str, Array]


def array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().double().numpy(), dtype=np.float64)


def weights(module: nn.Module) -> Weights:
    named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    return {name: array(tensor) for name, tensor in named}


def part(of: Weights, name: str) -> Weights:
    return {key.removeprefix(f"{name}."): value for key, value in of.items() if key.startswith(f"{name}.")}


def linear(x: Array, w: Weights) -> Array:
    matrix = w["weight"]
    y = np.zeros((len(x), len(matrix)))
    for t in range(len(x)):
        for o in range(len(matrix)):
            y[t, o] = sum(matrix[o, i] * x[t, i] for i in range(x.shape[1]))
            y[t, o] += w["bias"][o] if "bias" in w else 0.0
    return y


def product(a: Array, b: Array) -> Array:
    return np.array([[sum(a[i, k] * b[k, j] for k in range(len(b))) for j in range(b.shape[1])] for i in range(len(a))])


def softmax(values: Array) -> Array:
    powers = [math.exp(value) for value in values]
    return np.array([power / sum(powers) for power in powers])


def layer_norm(x: Array, w: Weights) -> Array:
    y = np.zeros_like(x)
    for t, row in enumerate(x):
        mean = sum(row) / len(row)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in row) / len(row) + 1e-5)
        for d, value in enumerate(row):
            y[t, d] = (value - mean) / deviation * w["weight"][d] + w["bias"][d]
    return y


def convolution(x: Array, w: Weights, *, stride: int = 1) -> Array:
    """Convolve with zeros around the sequence; filters that read a single channel are depthwise."""
    filters = w["weight"].T[:, None] if "weight" in w else w["convolution.weight"][:, :, 0, :]  # (out, in, k)
    outputs, inputs, size = filters.shape
    depthwise = inputs == 1 and x.shape[1] > 1
    y = np.zeros((math.ceil(len(x) / stride), outputs))
    for t in range(len(y)):
        for o in range(outputs):
            y[t, o] = w["convolution.bias"][o] if "convolution.bias" in w else 0.0
            for k in range(size):
                source = t * stride + k - size // 2
                if 0 <= source < len(x):
                    for i in range(inputs):
                        y[t, o] += filters[o, i, k] * x[source, o if depthwise else i]
    return y


def words(query: list[int], w: Weights) -> Array:
    return np.array([w["words.unknown"] if word == 1 else w["words.vectors"][word] for word in query])


def lstm(x: Array, w: Weights, layer: int = 0) -> Array:
    """torch's layer: the rows of its matrices are those of the gates i, f, g, o."""
    of_input, of_state, *biases = (w[f"{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    width = of_state.shape[1]
    h, c, states = np.zeros(width), np.zeros(width), np.zeros((len(x), width))
    for t, step in enumerate(x):
        gates = of_input @ step + of_state @ h + sum(biases)
        i, f, g, o = (gates[gate * width : (gate + 1) * width] for gate in range(4))
        for d in range(width):
            c[d] = sigmoid(f[d]) * c[d] + sigmoid(i[d]) * math.tanh(g[d])
            h[d] = sigmoid(o[d]) * math.tanh(c[d])
        states[t] = h
    return states


def gru(x: Array, w: Weights) -> Array:
    """torch's layer without biases: the rows of its matrices are those of the gates r, z, n."""
    width = w["weight_hh_l0"].shape[1]
    h, states = np.zeros(width), np.zeros((len(x), width))
    for t, step in enumerate(x):
        (r, z, n), (past_r, past_z, past_n) = (
            (w["weight_ih_l0"] @ step).reshape(3, -1),
            (w["weight_hh_l0"] @ h).reshape(3, -1),
        )
        for d in range(width):
            new = math.tanh(n[d] + sigmoid(r[d] + past_r[d]) * past_n[d])
            update = sigmoid(z[d] + past_z[d])
            states[t, d] = (1 - update) * new + update * h[d]
        h = states[t]
    return states


def bidirectional(x: Array, w: Weights, cell: Callable[[Array, Weights], Array]) -> Array:
    """Read ahead and backwards, layer on layer."""
    layer = 0
    while ahead := part(w, f"ahead.{layer}"):
        x = np.concatenate([cell(x, ahead), cell(x[::-1], part(w, f"back.{layer}"))[::-1]], axis=1)
        layer += 1
    return x


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def sinusoids(length: int, width: int) -> Array:
    """Vaswani et al. 2017, section 3.5."""
    table = np.zeros((length, width))
    for position in range(length):
        for channel in range(width):
            angle = position / 10_000 ** ((channel - channel % 2) / width)
            table[position, channel] = math.cos(angle) if channel % 2 else math.sin(angle)
    return table


def conv_block(x: Array, w: Weights) -> Array:
    convolved = convolution(layer_norm(x, part(w, "norm")), part(w, "depthwise"))
    return x + np.maximum(linear(convolved, part(w, "pointwise")), 0)


def self_attention(x: Array, w: Weights, *, heads: int) -> Array:
    """The packed weight has the rows of all queries, then all keys, then all values; in each, head after head."""
    width = x.shape[1]
    packed = linear(layer_norm(x, part(w, "norm")), part(w, "query_key_value"))
    q, k, v = (packed[:, start : start + width] for start in (0, width, 2 * width))
    y = np.zeros_like(x)
    for h in range(heads):
        channels = range(h * width // heads, (h + 1) * width // heads)
        for t in range(len(x)):
            scores = [sum(q[t, d] * k[s, d] for d in channels) / math.sqrt(len(channels)) for s in range(len(x))]
            a = softmax(np.array(scores))
            for d in channels:
                y[t, d] = sum(a[s] * v[s, d] for s in range(len(x)))
    return x + y


def encoder(x: Array, w: Weights, *, heads: int) -> Array:
    learned = w.get("position.learned")
    x = x + (sinusoids(*x.shape) if learned is None else learned[: len(x)])
    block = 0
    while convolutions := part(w, f"convolutions.{block}"):
        x = conv_block(x, convolutions)
        block += 1
    x = self_attention(x, part(w, "attention"), heads=heads)
    return x + linear(layer_norm(x, part(w, "feedforward.norm")), part(w, "feedforward.linear"))


def coattention(v: Array, q: Array, w: Weights) -> tuple[Array, Array, Array]:
    """Eq. 2-3, with the maps multiplied in the printed order."""
    w_s = np.concatenate([w["query_weight.weight"][0], w["video_weight.weight"][0], w["product_weight"]])
    s = np.zeros((len(v), len(q)))
    for t in range(len(v)):
        for j in range(len(q)):
            s[t, j] = sum(a * b for a, b in zip(w_s, np.concatenate([q[j], v[t], q[j] * v[t]]), strict=True))
    s_q = np.stack([softmax(row) for row in s])
    s_v = np.stack([softmax(column) for column in s.T], axis=1)
    c_qv = product(s_q, q)
    c_vv = product(product(s_q, s_v.T), v)
    h = np.concatenate([v, c_qv, v * c_qv, v * c_vv], axis=1)
    if "fuse.0.weight" in w:
        return linear(linear(h, part(w, "fuse.0")), part(w, "fuse.1")), s_q, s_v
    return linear(h, part(w, "fuse")), s_q, s_v


def correlation(x: Array, w: Weights, *, scale: bool = False) -> Array:
    """Eq. 5-6."""
    theta, phi = linear(x, part(w, "theta")), linear(x, part(w, "phi"))
    f = product(theta, phi.T) / (math.sqrt(x.shape[1]) if scale else 1.0)
    return np.stack([softmax(row) for row in f])


def cam(x: Array, w: Weights, *, diagonal: str = "both", scale: bool = False) -> Array:
    """Eq. 4-8, the two triangles apart."""
    m = correlation(x, w, scale=scale)
    past = linear(x, part(w, "g"))
    future = linear(x, part(w, "g_future")) if "g_future.weight" in w else past
    gathered = np.zeros_like(x)
    for t in range(len(x)):
        for s in range(len(x)):
            in_upper = s > t or (s == t and diagonal == "both")
            gathered[t] += m[t, s] * future[s] if in_upper else 0.0
            gathered[t] += m[t, s] * past[s] if s <= t else 0.0
    return convolution(gathered, part(w, "convolution")) + x


def downsampling(x: Array, w: Weights, *, kind: str) -> Array:
    if kind == "conv":
        return convolution(x, part(w, "convolution"), stride=2)
    coarse = []
    for first in range(0, len(x), 2):
        steps = list(x[first : first + 2])
        coarse.append([max(c) if kind == "max" else sum(c) / len(c) for c in zip(*steps, strict=True)])
    return np.array(coarse)


def upsampling(x: Array, *, factor: int, size: int, kind: str) -> Array:
    """Coarse step p covers the fine steps p * factor to (p + 1) * factor - 1 and stands at their centre."""
    y = np.zeros((size, x.shape[1]))
    for t in range(size):
        if kind == "nearest":
            y[t] = x[t // factor]
            continue
        place = min(max((t + 0.5) / factor - 0.5, 0.0), len(x) - 1.0)
        before = math.floor(place)
        after = min(before + 1, len(x) - 1)
        y[t] = (1 - (place - before)) * x[before] + (place - before) * x[after]
    return y


@dataclass(frozen=True, kw_only=True)
class Knobs:
    levels: int = 3
    downsample: str = "max"
    upsample: str = "nearest"
    diagonal: str = "both"
    scale: bool = False


def pyramid(x: Array, w: Weights, knobs: Knobs) -> Array:
    """Eq. 9-10; without weights of a CAM, the level is passed on ("w/o CAM")."""
    levels = knobs.levels
    h: list[Array] = []
    for p in range(levels):
        level = x if p == 0 else downsampling(h[p - 1], part(w, f"downsamplings.{p - 1}"), kind=knobs.downsample)
        aware = part(w, f"cams.{p}")
        h.append(cam(level, aware, diagonal=knobs.diagonal, scale=knobs.scale) if aware else level)
    h_star = {levels - 1: linear(h[levels - 1], part(w, "top_down.top"))}
    for p in range(levels - 1, 0, -1):
        h_star[p - 1] = h[p - 1] + upsampling(h_star[p], factor=2, size=len(h[p - 1]), kind=knobs.upsample)
    finest = [upsampling(h_star[p], factor=2**p, size=len(x), kind=knobs.upsample) for p in range(levels)]
    return linear(np.concatenate(finest, axis=1), part(w, "top_down.join"))


def regression(z: Array, w: Weights) -> tuple[Array, Array]:
    """Eq. 11-13: the span, and the attention a."""
    a = softmax(linear(np.tanh(linear(z, part(w, "hidden"))), part(w, "score"))[:, 0])
    pooled = np.zeros((1, z.shape[1]))
    for t in range(len(z)):
        pooled[0] += a[t] * z[t]
    hidden = np.maximum(linear(pooled, part(w, "regression.0")), 0)
    return np.array([sigmoid(value) for value in linear(hidden, part(w, "regression.3"))[0]]), a


def cpnet(video: Array, query: list[int], w: Weights, *, heads: int, knobs: Knobs) -> tuple[Array, Array]:
    """Figure 2: the span, and the attention a; without weights of a pyramid, Z is H ("w/o CP")."""
    v = encoder(linear(video, part(w, "video_projection.1")), part(w, "encoder"), heads=heads)
    q = encoder(linear(words(query, w), part(w, "query_projection.1")), part(w, "encoder"), heads=heads)
    fused, _, _ = coattention(v, q, part(w, "coattention"))
    z = encoder(fused, part(w, "fusion_encoder"), heads=heads)
    if contextual := part(w, "pyramid"):
        z = pyramid(z, contextual, knobs)
    return regression(z, part(w, "regression"))


def clip_target(windows: list[tuple[float, float]], clips: int) -> list[bool]:
    on = [False] * clips
    for start, end in windows:
        first = min(math.floor(start * clips), clips - 1)
        for clip in range(first, max(math.ceil(end * clips), first + 1)):
            on[clip] = True
    return on


def attention_loss(log_a: list[list[float]], target: list[list[bool]], *, normalizer: str) -> float:
    """Eq. 15, as printed (``literal``) or over the number of true clips (``target``); mean over the pairs."""
    total = 0.0
    for logs, on in zip(log_a, target, strict=True):
        inside = sum(log for log, true in zip(logs, on, strict=True) if true)
        denominator = sum(on) if normalizer == "target" else sum(math.exp(log) for log in logs)
        total -= inside / denominator
    return total / len(log_a)


def regression_loss(span: list[list[float]], target: list[list[tuple[float, float]]]) -> float:
    """Eq. 16 with smooth L1 of Girshick (2015): quadratic below 1, linear above; least of all windows; mean."""
    total = 0.0
    for ends, windows in zip(span, target, strict=True):
        losses = []
        for window in windows:
            distances = [abs(end - true_end) for end, true_end in zip(ends, window, strict=True)]
            losses.append(sum(0.5 * each**2 if each < 1 else each - 0.5 for each in distances))
        total += min(losses)
    return total / len(span)
