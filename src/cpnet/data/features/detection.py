"""Detect the layout of a file or folder; for pickles, LMDB and others, say how to convert them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from cpnet.data.features.folder import detect_folder
from cpnet.data.features.packed import is_packed
from cpnet.errors import DataError

HDF5 = b"\x89HDF\r\n\x1a\n"
RISK = "a pickle, which can run any program when it is loaded"
# Files that are not read, by kind: what they are, and in the lines that convert them the modules and pairs
FOREIGN = {
    "pickle": (RISK, "pickle", 'pickle.load(open("{path}", "rb")).items()'),
    "pickles": (
        f"a folder of files, each {RISK}",
        "pickle",
        '((file.stem, pickle.load(file.open("rb"))) for file in pathlib.Path("{path}").glob("*.p*k*"))',
    ),
    "npy": (f"one .npy; of a dictionary it is {RISK}", "io", 'numpy.load("{path}", allow_pickle=True)[()].items()'),
    "torch": (
        "one file of torch",
        "torch",
        '((key, tensor.float()) for key, tensor in torch.load("{path}", weights_only=True).items())',
    ),
    "lmdb": (
        "an LMDB database, here taken to have values in .npz format with an array 'features'",
        "io, lmdb",
        '((key.decode(), numpy.load(io.BytesIO(value))["features"]) for key, value in '
        'lmdb.open("{path}", readonly=True, lock=False, subdir={folder}).begin().cursor())',
    ),
}
SUFFIXES = {
    **dict.fromkeys((".pkl", ".pickle", ".pk"), "pickle"),
    **dict.fromkeys((".pt", ".pth"), "torch"),
    **dict.fromkeys((".lmdb", ".mdb"), "lmdb"),
}


def detect_layout(path: Path) -> str:
    """Detect the layout of a file or folder, as ``dataset.features.layout`` spells it.

    Raises:
        DataError: the files have no layout or several, or are of a kind that must be converted.
    """
    if is_packed(path):
        return "packed"
    if kind := _foreign(path):
        what, modules, pairs = FOREIGN[kind]
        raise DataError(
            f"{path} is {what}. Convert it, and set dataset.features.path=features:\n"
            f"  import {modules}, numpy, pathlib\n"
            '  pathlib.Path("features").mkdir()\n'
            f"  for name, array in {pairs.format(path=path, folder=path.is_dir())}:\n"
            f'      numpy.save(f"features/{{name}}.npy", numpy.asarray(array, "float32"))'
        )
    return detect_folder(path) if path.is_dir() else "npz" if is_archive(path) else "hdf5"


def is_archive(path: Path) -> bool:
    """Return whether a path is a zip archive, as an ``.npz`` is."""
    return path.is_file() and _first_bytes(path) != HDF5 and zipfile.is_zipfile(path)


def _foreign(path: Path) -> str | None:
    if path.is_dir():
        kinds = {SUFFIXES.get(file.suffix) for file in path.iterdir()}
        return "lmdb" if (path / "data.mdb").is_file() else "pickles" if kinds == {"pickle"} else None
    first = _first_bytes(path)
    by_content = {b"\x93": "npy", b"\x80": "pickle"}.get(first[:1])
    return None if first == HDF5 else SUFFIXES.get(path.suffix.lower(), by_content)


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(len(HDF5))
