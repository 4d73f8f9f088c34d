"""Small corpora of 12 videos as jsonl, with features 16 wide, each odd in one way, as users have them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
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


def each(change: Callable[[NDArray[np.float32]], NDArray[Any]]) -> Callable[[Path], None]:
    """Return a case whose arrays are changed."""
    return lambda folder: save(folder, arrays={video: change(array) for video, array in features().items()})


def in_unit(scale: Callable[[float], float]) -> Callable[[Path], None]:
    """Return a case whose times are in units of ``scale(duration)`` seconds."""
    made = rows()
    for row in made:
        row["relevant_windows"] = [[time / scale(row["duration"]) for time in row["relevant_windows"][0]]]
    return lambda folder: save(folder, made)


def several_windows(folder: Path) -> None:
    more = [[0.0, 3.0], [10.0, 14.0]]  # the queries of each video have none, one and two of these
    save(folder, [row | {"relevant_windows": row["relevant_windows"] + more[: int(row["qid"][-1])]} for row in rows()])


def nested_hdf5(folder: Path) -> None:
    save(folder, arrays={})
    with h5py.File(folder / "features.hdf5", "w") as file:
        for video, array in features().items():
            file[f"a/b/{video}"] = array


def one_file_npz(folder: Path) -> None:
    save(folder, arrays={})
    np.savez(folder / "features.npz", allow_pickle=False, **features())


def two_folders(folder: Path) -> None:
    save(folder, arrays={})
    save_arrays(folder / "train_features", dict([*features().items()][:8]))
    save_arrays(folder / "val_features", dict([*features().items()][8:]))


def linked_folder(folder: Path) -> None:
    save(folder, arrays={})
    save_arrays(folder / "real", features())
    (folder / "features").mkdir()
    for i, video in enumerate(features()):
        (folder / f"features/{video}.npy").symlink_to(f"../{'gone' if i == 3 else 'real'}/{video}.npy")


def missing_videos(folder: Path) -> None:
    save(folder, arrays=dict([*features().items()][1:11]))  # without one of train and one of test


def json_list(folder: Path) -> None:
    save(folder)
    (folder / "test.json").write_text(json.dumps(rows()[30:]))
    (folder / "wrapped.json").write_text(json.dumps({"splits": ["a"], "annotations": rows()[30:]}, indent=2))
    (folder / "named.json").write_text((folder / "test.jsonl").read_text())


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


def vectors(folder: Path) -> None:
    save(folder)
    with zipfile.ZipFile(folder / "glove.zip", "w") as archive:
        archive.writestr("glove.txt", VECTORS)
    (folder / "word2vec.bin").write_bytes(b"14 16\ndoor " + np.ones(WIDTH, np.float32).tobytes())


transposed = each(lambda array: array[np.linspace(0, len(array) - 1, 64).round().astype(int)].T)
ten_crops = each(lambda array: np.repeat(array[:, None], 10, axis=1))
batch_first = each(lambda array: array[None])
clip_last = each(lambda array: array.T[None, :, :, None, None])
capped_rows = each(lambda array: array[:20])
percent, fractions, milliseconds = (
    in_unit(scale) for scale in (lambda sec: sec / 100, lambda sec: sec, lambda _: 0.001)
)
