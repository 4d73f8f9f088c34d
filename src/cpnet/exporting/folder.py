"""Write a checkpoint as a folder that answers without cpnet, in ONNX or by ``torch.export``."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from cpnet import __version__
from cpnet.batch import GroundingBatch
from cpnet.data.sampling import Interpolate, MeanPool, Pick
from cpnet.errors import ConfigError, DataError, cut
from cpnet.exporting import example
from cpnet.grounder import Grounder
from cpnet.models.layers.attention import LONGEST_MAP
from cpnet.runs.checkpoint import Checkpoint

log = logging.getLogger(__name__)

VIDEOS, PAIRS = ("videos", "clips"), ("pairs", "words")  # names of the dynamic dimensions
INPUTS = {"video": VIDEOS, "video_mask": VIDEOS, "query": PAIRS, "query_mask": PAIRS, "video_index": PAIRS[:1]}
TOLERANCE = 1e-4  # of a span, in fractions of the video
TRACED = 64  # clips, less than LONGEST_MAP: a trace would fix the number of blocks of longer maps
README = """\
# {model}, trained on {dataset}

    python example.py ROWS.npy DURATION_SEC "a sentence" "another sentence"

prints the best span of each sentence in seconds. It needs NumPy and onnxruntime; for a model.pt2, NumPy and torch 2.9.
- ROWS.npy: features of the video, (rows, {dim}), as in training: same backbone, dataset.features.normalise={normalise}.
- model.json: the words, whose positions are the numbers in a query, and the sampling policy, which makes clips of rows.
- The model takes video (videos, clips, {dim}) float32, video_mask, query (pairs, words) int64, query_mask, and
  video_index (pairs) int64, the video of each pair. Masks are bool, true = real; padding comes last.
- It returns ranked (pairs, N, 2): start and end in fractions of the video, best first.
- Any number of videos and pairs, 1 to {clips} clips, 1 to {max_words} words.
- {longest}
- Exported by cpnet {cpnet} from a checkpoint with SHA-256 {checkpoint}.
"""


class Program(nn.Module):
    """The network as a function of ``INPUTS``, the tensors of a ``GroundingBatch`` whose pairs share videos."""

    def __init__(self, model: nn.Module, *, dim: int, rows: int) -> None:
        super().__init__()
        self.model, self.dim, self.rows = model, dim, rows  # widths of the features, and rows of the word vectors
        self.eval()

    def forward(self, video: Tensor, video_mask: Tensor, query: Tensor, query_mask: Tensor, index: Tensor) -> Tensor:
        """Return the ranked spans, (B, N, 2) in fractions of the video."""
        given = {"video": video, "video_mask": video_mask, "query": query, "query_mask": query_mask}
        unused = dict.fromkeys(("windows", "windows_sec", "duration_sec", "index"), index)
        batch = GroundingBatch(**given, **unused, video_index=index)
        ranked: Tensor = self.model(batch.for_model(self.model)).ranked
        return ranked

    def random_inputs(self, videos: int, clips: int, pairs: int, words: int) -> dict[str, Tensor]:
        """Return inputs of a size. The first video and query have no padding, each other has one step more."""
        random = torch.Generator().manual_seed(clips * words)
        return {
            "video": torch.randn(videos, clips, self.dim, generator=random),
            "video_mask": torch.arange(clips) < clips - torch.arange(videos)[:, None] % clips,
            "query": torch.randint(1, self.rows, (pairs, words), generator=random),
            "query_mask": torch.arange(words) < words - torch.arange(pairs)[:, None] % words,
            "video_index": torch.arange(pairs) % videos,
        }


def export(checkpoint: Checkpoint, target: Path, kind: str) -> None:
    """Write the folder of a checkpoint, after comparing the written model with the checkpoint's.

    Raises:
        ConfigError: the folder exists, or the format or ``example.py`` cannot do what the model does
        DataError: the written model differs from the checkpoint's
    """
    if target.exists():
        raise ConfigError(f"{target} exists; choose a new folder: output=FOLDER")
    grounder = Grounder(checkpoint)
    config, policy = OmegaConf.create(checkpoint.config), type(grounder.sampling)
    clips, words = grounder.sampling.clips, grounder.max_words
    if policy not in (Pick, MeanPool, Interpolate):
        raise ConfigError(f"sampling={policy.__name__} cannot be exported: example.py knows pick, mean_pool and linear")
    if grounder.blind != "none":
        raise ConfigError(f"a model trained with dataset.blind={grounder.blind} cannot be exported")
    if kind == "torch_export" and clips > LONGEST_MAP:
        raise ConfigError(f"format=torch_export takes up to {LONGEST_MAP} clips; set format=onnx")
    program = Program(grounder.model, dim=grounder.video_dim, rows=len(grounder.vocabulary.words))
    about = {
        "cpnet": __version__,
        "checkpoint": hashlib.sha256(checkpoint.path.read_bytes()).hexdigest(),
        "model": config.model_name,
        "dataset": config.dataset.name,
        "dim": grounder.video_dim,
        "normalise": config.dataset.features.normalise,
        "sampling": policy.__name__,
        "clips": clips,
        "max_words": words,
        "longest_sec": checkpoint.longest_sec,
        "words": grounder.vocabulary.words,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{target.name}.", dir=target.parent) as temporary:
        folder = Path(temporary, "model")
        folder.mkdir()
        log.info("export %s as %s, in about a minute", checkpoint.path, kind)
        with quiet(), short_errors(kind):
            path = save(program, kind, folder, clips=clips, words=words)
            largest = compare(example.load(folder), program, clips=clips, words=words)
        log.info("%s: %.1f MB, spans within %.0e of the checkpoint's", path.name, path.stat().st_size / 1e6, largest)
        shutil.copyfile(example.__file__, folder / "example.py")
        (folder / "model.json").write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
        (folder / "README.md").write_text(
            README.format(**about, longest=long_videos(checkpoint.longest_sec)), encoding="utf-8"
        )
        folder.rename(target)
    log.info("outputs: %s", target)


def long_videos(seconds: float | None) -> str:
    """Return the line of the README on long videos."""
    if seconds is None:
        return "The length of the longest video of training is unknown."
    return f"The longest video of training lasts {seconds:.1f} s. Cut longer ones into parts, as cpnet does."


def save(program: Program, kind: str, folder: Path, *, clips: int, words: int) -> Path:
    """Write the program as ``model.onnx`` or ``model.pt2``. All dimensions of ``INPUTS`` are dynamic."""
    inputs = tuple(program.random_inputs(2, max(2, min(clips, TRACED)), 3, max(2, min(words, 9))).values())
    if kind == "torch_export":
        path = folder / "model.pt2"
        shapes = tuple(dict.fromkeys(range(len(names)), torch.export.Dim.DYNAMIC) for names in INPUTS.values())
        torch.export.save(torch.export.export(program, inputs, dynamic_shapes=shapes), path)
        return path
    path, named = folder / "model.onnx", tuple(dict(enumerate(names)) for names in INPUTS.values())
    options: dict[str, Any] = {"input_names": [*INPUTS], "output_names": ["ranked"], "opset_version": 20}
    torch.onnx.export(
        program, inputs, path, dynamo=True, dynamic_shapes=named, external_data=False, verbose=False, **options
    )
    return path


def compare(run: Callable[[dict[str, Any]], Any], program: Program, *, clips: int, words: int) -> float:
    """Return the largest difference of a written program's spans from the network's, at three lengths each.

    Raises:
        DataError: it is above ``TOLERANCE``
    """
    differences = []
    for t, length, (videos, pairs) in product({1, min(7, clips), clips}, {1, min(5, words), words}, ((1, 1), (2, 3))):
        inputs = program.random_inputs(videos, t, pairs, length)
        with torch.inference_mode():
            expected = program(*inputs.values()).numpy()
        differences.append(np.abs(run({name: each.numpy() for name, each in inputs.items()}) - expected).max())
    largest = float(np.max(differences))
    if not largest <= TOLERANCE:  # also if it is NaN
        raise DataError(f"the written model's spans differ by {largest:.1e} of a video; set another format")
    return largest


@contextmanager
def short_errors(kind: str) -> Iterator[None]:
    """Turn the errors of torch's exporters and of onnxruntime into one that names the other format.

    Raises:
        ConfigError: the format cannot do what the model does
    """
    try:
        yield
    except (DataError, OSError):
        raise
    except Exception as error:  # they raise many kinds
        first = next(iter(str(error).splitlines()), "")
        other = "onnx" if kind == "torch_export" else "torch_export"
        reason = cut(f"{type(error).__name__}: {first}")
        raise ConfigError(f"format={kind} cannot do what the model does ({reason}); try format={other}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings of torch's exporters, which are about their own code."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
