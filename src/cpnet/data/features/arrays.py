"""Files that hold one array each: ``.npy``, ``.npz`` and ``.pt``; none of them can run code."""

from __future__ import annotations

import math
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpnet.data.features.source import WrongKeyError, quote
from cpnet.data.moment import DataError

Shape = tuple[int, ...]

DEFLATE_RATIO = 1032  # the most that deflate, which numpy's archives use, can shrink anything


def read_array(path: Path, *, key: str | None = None) -> NDArray[Any]:
    """Read the array of a file as it is stored; bfloat16 tensors, which numpy does not know, become float32.

    Args:
        path: a file whose suffix is one of ``SUFFIXES``
        key: name of the array in an ``.npz``; None where it holds exactly one

    Raises:
        DataError: the file cannot be read, holds objects or no tensor, or has no such key.
    """
    with _reading(path):
        return _FORMATS[path.suffix][0](path, key)


def array_shape(path: Path, *, key: str | None = None) -> Shape:
    """Shape of the array of a file, without reading its values where the format allows.

    Raises:
        DataError: see ``read_array``.
    """
    with _reading(path):
        return _FORMATS[path.suffix][1](path, key)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("it is no regular file")
        yield
    except DataError:
        raise
    # What torch's and zipfile's parsers raise on damaged files is an open list: KeyError, IndexError, zlib.error ...
    except Exception as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path} cannot be read as a {path.suffix} array ({text}); make or copy it again") from error


def _read_npy(path: Path, key: str | None) -> NDArray[Any]:
    with path.open("rb") as stream:
        return _from_stream(stream, path.stat().st_size)


def _npy_shape(path: Path, key: str | None) -> Shape:
    with path.open("rb") as stream:
        return _header(stream)[0]


def _read_npz(path: Path, key: str | None) -> NDArray[Any]:
    with zipfile.ZipFile(path) as archive:
        member = _member(archive, path, key)
        with archive.open(member) as stream:
            # An archive may lie about the size of its members.
            return _from_stream(stream, min(member.file_size, DEFLATE_RATIO * path.stat().st_size))


def _npz_shape(path: Path, key: str | None) -> Shape:
    with zipfile.ZipFile(path) as archive, archive.open(_member(archive, path, key)) as stream:
        return _header(stream)[0]


def _member(archive: zipfile.ZipFile, path: Path, key: str | None) -> zipfile.ZipInfo:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if key not in members and (key is not None or len(members) != 1):
        wanted = "one array" if key is None else repr(key)
        raise WrongKeyError(
            f"{path} holds {quote(members) or 'nothing'}, not {wanted}; "
            "set dataset.features.key to the name of the features"
        )
    return members[key] if key is not None else next(iter(members.values()))


def _header(stream: IO[bytes]) -> tuple[Shape, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if min(shape, default=0) < 0:
        raise ValueError(f"its header says shape {shape}")
    return shape, dtype


def _from_stream(stream: IO[bytes], size: int) -> NDArray[Any]:
    shape, dtype = _header(stream)
    # A header may promise more than the file has; numpy would ask for that memory first.
    wanted = stream.tell() + dtype.itemsize * math.prod(shape)
    if not dtype.hasobject and wanted > size:
        raise ValueError(f"{size} bytes, where its header of shape {shape} wants {wanted}")
    stream.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _read_pt(path: Path, key: str | None) -> NDArray[Any]:
    tensor = _tensor(path, mmap=False)
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _pt_shape(path: Path, key: str | None) -> Shape:
    # Only the zip format, torch.save's since 1.6, can be mapped.
    return tuple(_tensor(path, mmap=zipfile.is_zipfile(path)).shape)


def _tensor(path: Path, *, mmap: bool) -> torch.Tensor:
    loaded: object = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    if not isinstance(loaded, torch.Tensor):
        inside = f" of {quote(map(str, loaded))}" if isinstance(loaded, dict) else ""
        kind = f"{type(loaded).__name__}{inside}"
    elif loaded.layout != torch.strided or loaded.is_quantized or loaded.device.type != "cpu":
        kind = f"one of {loaded.dtype}, {loaded.layout}, on {loaded.device}"
    elif loaded.numel() * loaded.element_size() > loaded.untyped_storage().nbytes():
        kind = f"one of shape {tuple(loaded.shape)} that repeats few values"
    else:
        return loaded.detach()
    raise DataError(f"{path} holds no plain tensor but {kind}; save the features alone with torch.save")


_FORMATS: dict[str, tuple[Callable[[Path, str | None], NDArray[Any]], Callable[[Path, str | None], Shape]]] = {
    ".npy": (_read_npy, _npy_shape),
    ".npz": (_read_npz, _npz_shape),
    ".pt": (_read_pt, _pt_shape),
}
SUFFIXES = tuple(_FORMATS)
