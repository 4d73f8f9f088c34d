"""Layout ``npy``: a folder with one ``{video}.npy`` a video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpnet.data.features.source import FeatureSource
from cpnet.data.moment import DataError

SUFFIX = ".npy"


class NpyFeatures(FeatureSource):
    """Features of a folder of ``.npy`` files; subfolders and hidden files are not looked at.

    Raises:
        DataError: the path is no folder, or holds no ``.npy``; see also ``FeatureSource``.
    """

    def __init__(self, *, path: Path, dim: int | None = None) -> None:
        if not path.is_dir():
            raise DataError(f"{path} is a file, not a folder of {SUFFIX} files; set dataset.features.layout=hdf5")
        names = [file.stem for file in path.iterdir() if file.suffix == SUFFIX and not file.name.startswith(".")]
        if not names:
            raise DataError(f"{path} holds no {SUFFIX} file but {describe_folder(path)}; set dataset.features.path")
        super().__init__(path=path, names=names, dim=dim)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _shape(self, name: str) -> tuple[int, ...]:
        with self._reading(name) as file, file.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(stream)[0]
            return np.lib.format.read_array_header_2_0(stream)[0]

    def _read(self, name: str) -> NDArray[np.generic]:
        with self._reading(name) as file, file.open("rb") as stream:
            array: NDArray[np.generic] = np.lib.format.read_array(stream, allow_pickle=False)
            return array

    @contextmanager
    def _reading(self, name: str) -> Iterator[Path]:
        file = self.path / f"{name}{SUFFIX}"
        try:
            yield file
        except (OSError, EOFError, ValueError) as error:
            raise DataError(f"{file} cannot be read as a {SUFFIX} array ({error}); make or copy it again") from error


def describe_folder(path: Path) -> str:
    """Say what a folder holds, by suffix, most frequent first.

    >>> import tempfile
    >>> describe_folder(Path(tempfile.mkdtemp()))
    'nothing'
    """
    kinds = Counter("folders" if entry.is_dir() else entry.suffix or "files without suffix" for entry in path.iterdir())
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5)) or "nothing"
