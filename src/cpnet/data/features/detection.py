"""Detect the layout of a file or folder; for pickles, LMDB and others, say how to convert them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from cpnet.data.features.folder import detect_folder
from cpnet.data.features.packed import is_packed
from cpnet.errors import DataError

HDF5 = b"\x89HDF\r\n\x1a\n"
PICKLE = "a pickle, which can run any program when it is loaded (load it only if you trust its author)"
# What a file is, by kind; modules to import, the pairs of id and array, and the array, in the lines that convert it
FOREIGN = {
    "pickle": (PICKLE, "pickle", 'pickle.load(open("{path}", "rb")).items()', "array"),
    "pickles": (
        f"a folder of files, each {PICKLE}",
        "pickle",
        '((file.stem, pickle.load(file.open("rb"))) for file in pathlib.Path("{path}").glob("*.p*k*"))',
        "array",
    ),
    "npy": (
        "a single .npy; if it holds a dictionary of the videos, it is a pickle, which can run any program",
        "numpy",
        'numpy.load("{path}", allow_pickle=True).item().items()',
        "array",
    ),
    "torch": ("one file of torch", "torch", 'torch.load("{path}", weights_only=True).items()', "array.float()"),
    "lmdb": (
        "an LMDB database, here taken to have values in .npz format with an array 'features'",
        "io, lmdb",
        'lmdb.open("{path}", readonly=True, lock=False, subdir={folder}).begin().cursor()',
        'numpy.load(io.BytesIO(array))["features"]',
    ),
}


def detect_layout(path: Path) -> str:
    """Detect the layout of a file or folder, as ``dataset.features.layout`` spells it.

    Raises:
        DataError: the files have no layout or several; they are of a kind that must be converted.
    """
    if is_packed(path):
        return "packed"
    if (kind := _foreign(path)) is not None:
        what, modules, pairs, array = FOREIGN[kind]
        name = "name.decode()" if kind == "lmdb" else "name"
        raise DataError(
            f"{path} is {what}. Convert it, and set dataset.features.path=features:\n"
            f"  import {', '.join(dict.fromkeys([*modules.split(', '), 'numpy', 'pathlib']))}\n"
            '  pathlib.Path("features").mkdir()\n'
            f"  for name, array in {pairs.format(path=path, folder=path.is_dir())}:\n"
            f'      numpy.save(f"features/{{{name}}}.npy", numpy.asarray({array}, "float32"))'
        )
    return detect_folder(path) if path.is_dir() else "npz" if is_archive(path) else "hdf5"


def is_archive(path: Path) -> bool:
    """Return whether a path is a zip archive, as an ``.npz`` is."""
    return path.is_file() and _first_bytes(path) != HDF5 and zipfile.is_zipfile(path)


def _foreign(path: Path) -> str | None:
    """Return the kind of a file or folder that is not read."""
    if path.is_dir():
        suffixes = {file.suffix for file in path.iterdir()}
        kinds = {"lmdb": (path / "data.mdb").is_file(), "pickles": suffixes <= {".pkl", ".pickle", ".pk"} and suffixes}
        return next((kind for kind, found in kinds.items() if found), None)
    first, suffix = _first_bytes(path), path.suffix.lower()
    if first == HDF5:
        return None
    if suffix in (".pt", ".pth"):
        return "torch"
    if suffix in (".lmdb", ".mdb"):
        return "lmdb"
    if first.startswith(b"\x93NUMPY"):
        return "npy"
    return "pickle" if suffix in (".pkl", ".pickle", ".pk") or first[:1] == b"\x80" else None


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(len(HDF5))
