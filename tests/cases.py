"""Small corpora of 12 videos as jsonl, with features 16 wide, each odd in one way, as users have them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH = 16
VERBS = ("opens the door", "drinks water", "sits down", "reads a book")
VECTORS = "".join(
    f"{word} {' '.join(f'{x:.3f}' for x in np.random.default_rng(number).normal(size=WIDTH))}\n"
    for number, word in enumerate(sorted({*" ".join(VERBS).split(), "a", "person"}))
)
# A configuration of all cases, below ``--config-dir``
YAML = """
defaults: [base_dataset, _self_]
name: mine
reader: {_target_: cpnet.data.readers.read_jsonl}
splits:
  train: {annotations: "${data_dir}/train.jsonl"}
  val: {annotations: "${data_dir}/val.jsonl"}
  test: {annotations: "${data_dir}/test.jsonl"}
validation: file
features: {path: "${data_dir}/features", dim: 16}
word_vectors: {path: "${data_dir}/glove.txt", dim: 16}
"""

Row = dict[str, Any]


def features() -> dict[str, NDArray[np.float32]]:
    """Return two rows per second of videos of 20 to 42 seconds."""
    rng = np.random.default_rng(0)
    return {f"video_{i:05d}": rng.normal(size=(40 + 4 * i, WIDTH)).astype(np.float32) for i in range(12)}


def rows() -> list[Row]:
    """Return three queries per video, each with a window of five seconds."""
    rng = np.random.default_rng(0)
    made: list[Row] = []
    for i, (video, array) in enumerate(features().items()):
        for j, start in enumerate(rng.uniform(0, len(array) / 2 - 6, 3).round(2).tolist()):
            made.append({"qid": f"{i}-{j}", "vid": video, "duration": len(array) / 2})
            made[-1] |= {"query": f"a person {VERBS[(i + j) % 4]}", "relevant_windows": [[start, start + 5]]}
    return made


def save_rows(path: Path, lines: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def save(folder: Path, annotated: list[Row] | None = None, arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Write a corpus; empty ``arrays`` write no features."""
    annotated = rows() if annotated is None else annotated
    for split, part in {"train": annotated[:24], "val": annotated[24:30], "test": annotated[30:]}.items():
        save_rows(folder / f"{split}.jsonl", part)
    save_arrays(folder / "features", features() if arrays is None else arrays)
    (folder / "glove.txt").write_text(VECTORS)


def save_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    for video, array in arrays.items():
        (folder / video).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{video}.npy", array)


def milliseconds(folder: Path) -> None:
    save(folder, [row | {"relevant_windows": [[1000 * time for time in row["relevant_windows"][0]]]} for row in rows()])


def several_windows(folder: Path) -> None:
    more = [[0.0, 3.0], [10.0, 14.0]]  # the queries of each video have none, one and two of these
    save(folder, [row | {"relevant_windows": row["relevant_windows"] + more[: int(row["qid"][-1])]} for row in rows()])


def two_folders(folder: Path) -> None:
    save(folder, arrays={})
    save_arrays(folder / "train_features", dict([*features().items()][:8]))
    save_arrays(folder / "val_features", dict([*features().items()][8:]))


def missing_videos(folder: Path) -> None:
    save(folder, arrays=dict([*features().items()][1:11]))  # without one of train and one of test


def no_windows(folder: Path) -> None:
    save(folder)
    save_rows(folder / "test.jsonl", [{k: v for k, v in row.items() if k != "relevant_windows"} for row in rows()[30:]])


def odd_ids(folder: Path) -> None:
    annotated, stored = {}, {}
    for i, (video, array) in enumerate(features().items()):
        names = (f"{video}.3gp", f"{video}.MOV", video.upper(), f"part{i % 3}/{video}", f"a{i:03d}_60_120", i)
        annotated[video] = names[i % 6]
        stored[video if i % 6 < 3 else str(names[i % 6])] = array
    save(folder, [row | {"vid": annotated[row["vid"]]} for row in rows()], stored)
