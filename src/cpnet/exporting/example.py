"""Ground sentences in a video: python example.py ROWS.npy DURATION_SEC "a sentence" ...

ROWS.npy has the rows of the video's features. Needs NumPy and onnxruntime; a model.pt2 needs torch instead.
"""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TOKEN = re.compile(r"\d+(?:[.,:]\d+)+|n't\b|[^\W_]+?(?=n't\b)|'(?:s|m|d|re|ve|ll)\b|[^\W_]+|[^\w\s]|_")
APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\uff07", "'"))


def encode(sentence: str, words: Sequence[str], max_words: int) -> list[int]:
    """Return the position of each word in the vocabulary, 1 for unknown words."""
    tokens = TOKEN.findall(unicodedata.normalize("NFC", sentence).translate(APOSTROPHES).lower())
    if not tokens:
        raise ValueError(f"no word in {sentence!r}")
    numbers = {word: number for number, word in enumerate(words) if number > 1}
    return [numbers.get(token, 1) for token in tokens[:max_words]]


def sample(rows: Any, policy: str, clips: int) -> tuple[Any, int]:
    """Turn (N, V) float32 rows into (T, V) clips; return them and how many are real. The others are padding."""
    count, i = len(rows), np.arange(clips)
    if policy == "Pick":
        picked = rows[((i + 0.5) * max(count, clips) / clips).astype(int)[:count]]
        return np.pad(picked, ((0, clips - len(picked)), (0, 0))), len(picked)
    if policy == "Interpolate":
        place = (((2 * i + 1) * count).astype("f4") / np.float32(2 * clips) - np.float32(0.5)).clip(0, count - 1)
        lower = place.astype(int)
        weight = (place - lower).astype("f4")[:, None]
        return rows[lower] + (rows[(lower + 1).clip(max=count - 1)] - rows[lower]) * weight, clips
    if count <= clips:  # MeanPool repeats the nearest row
        return rows[(2 * i + 1) * count // (2 * clips)], clips
    edges = (2 * count * np.arange(clips + 1) + clips - 1) // (2 * clips)
    return np.add.reduceat(rows, edges[:-1]) / np.diff(edges)[:, None].astype("f4"), clips


def load(folder: Path) -> Callable[[dict[str, Any]], Any]:
    """Return the model as a function from its inputs to ranked spans in fractions of the video."""
    if (folder / "model.onnx").exists():
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when it is imported; it reports to Microsoft
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "model.onnx")
        return lambda inputs: session.run(None, inputs)[0]
    import torch

    # The guards forbid sizes of 1, at which the graph is right too.
    module = torch.export.load(folder / "model.pt2").module(check_guards=False)
    return lambda inputs: module(*map(torch.from_numpy, inputs.values())).detach().numpy()


def ground(folder: Path, rows: Any, duration_sec: float, sentences: Sequence[str]) -> Any:
    """Return the best (start, end) of each sentence in seconds. The video is encoded once for all sentences.

    Warns on stderr if the video is longer than those of training.
    """
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != about["dim"]:
        raise ValueError(f"the features have shape {rows.shape}, not (rows, {about['dim']}) as in training")
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32)
    if not np.isfinite(rows).all():
        raise ValueError("the features have values that are NaN, infinite or too large")
    if not 0 < duration_sec < float("inf"):
        raise ValueError(f"the duration must be positive and finite; it is {duration_sec}")
    if about["longest_sec"] and duration_sec > about["longest_sec"]:
        limit = f"the {about['longest_sec']:.0f} s of the longest video of training"
        print(f"warning: the video is longer than {limit}; cut it into parts", file=sys.stderr)
    video, real = sample(rows, about["sampling"], about["clips"])
    queries = [encode(sentence, about["words"], about["max_words"]) for sentence in sentences]
    longest = max(map(len, queries))
    query = np.array([each + [0] * (longest - len(each)) for each in queries], np.int64)
    inputs = {"video": video[None], "video_mask": np.arange(len(video))[None] < real}
    inputs |= {"query": query, "query_mask": query > 0, "video_index": np.zeros(len(query), np.int64)}
    spans = load(folder)(inputs)[:, 0] * duration_sec
    if not np.isfinite(spans).all():
        raise ValueError("the spans are not finite; are the features far beyond those of training?")
    return spans


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    path, duration, *asked = sys.argv[1:]
    try:
        with Path(path).open("rb") as stream:
            rows = np.lib.format.read_array(stream)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {path} cannot be read as an npy file of numbers: {error}")
    try:
        spans = ground(Path(__file__).parent, rows, float(duration), asked)
    except ValueError as error:
        sys.exit(f"error: {error}")
    for sentence, (start, end) in zip(asked, spans, strict=True):
        print(f"{start:.2f} to {end:.2f} s: {sentence}")
