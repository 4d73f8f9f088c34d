"""Read an array from an untrusted ``.npy``, ``.npz`` or ``.pt`` file without executing code from it."""

from __future__ import annotations

import math
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpnet.errors import DataError, quote, reason

Shape = tuple[int, ...]

SUFFIXES = (".npy", ".npz", ".pt")
DEFLATE_RATIO = 1032  # maximum compression ratio of deflate, which numpy's archives use


def read_array(path: Path, *, key: str | None = None, archive: zipfile.ZipFile | None = None) -> NDArray[Any]:
    """Read the array of a file as it is stored; bfloat16 tensors, which numpy lacks, become float32.

    Args:
        path: a file with one of ``SUFFIXES``
        key: name of the array in an ``.npz``; None if it holds exactly one
        archive: the ``.npz``, if it is open

    Raises:
        DataError: the file cannot be read, does not hold numbers, or lacks the key.
    """
    with reading(path):
        if path.suffix == ".pt":
            tensor = _tensor(path, mmap=False)
            return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        with _stream(path, key, archive) as (stream, size):
            shape, dtype = _header(stream)
            # Check the size first, because numpy allocates as much memory as the header states.
            needed = stream.tell() + dtype.itemsize * math.prod(shape)
            if not dtype.hasobject and needed > size:
                raise ValueError(f"it has {size} bytes, but its header of shape {shape} needs {needed}")
            stream.seek(0)
            array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
            return array


def array_shape(path: Path, *, key: str | None = None, archive: zipfile.ZipFile | None = None) -> Shape:
    """Read the shape of the array of a file, without its values if the format allows.

    Raises:
        DataError: see ``read_array``.
    """
    with reading(path):
        if path.suffix == ".pt":
            # Only the zip format of torch >= 1.6 can be mapped.
            return tuple(_tensor(path, mmap=zipfile.is_zipfile(path)).shape)
        with _stream(path, key, archive) as (stream, _):
            return _header(stream)[0]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the file in every error of what reads it."""
    try:
        if path.is_symlink() and not path.exists():
            raise DataError(f"{path} is a dead link to {path.readlink()}; restore its target, or remove the link")
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("not a regular file")
        yield
    except DataError:
        raise
    except Exception as error:  # torch's and zipfile's parsers raise many kinds for damaged files: KeyError, zlib.error
        raise DataError(
            f"{path} cannot be read as a {path.suffix} array ({reason(error)}); write or copy it again"
        ) from error


@contextmanager
def _stream(path: Path, key: str | None, archive: zipfile.ZipFile | None) -> Iterator[tuple[IO[bytes], int]]:
    """Open the array of an ``.npy`` or ``.npz``, and yield it with an upper bound of its size."""
    if path.suffix == ".npy":
        with path.open("rb") as stream:
            yield stream, path.stat().st_size
        return
    with zipfile.ZipFile(path) if archive is None else nullcontext(archive) as members:
        infos = members.NameToInfo
        names = [f"{key}.npy", key] if key is not None else [*infos] if len(infos) == 1 else []
        member = next((infos[name] for name in names if name in infos), None)
        if member is None:
            held = quote(name.removesuffix(".npy") for name in infos) or "nothing"
            wanted = "one array" if key is None else repr(key)
            raise DataError(f"{path} holds {held}, not {wanted}; set dataset.features.key to the name of the features")
        with members.open(member) as stream:
            # The archive may state a wrong size of its members.
            yield stream, min(member.file_size, DEFLATE_RATIO * path.stat().st_size)


def _header(stream: IO[bytes]) -> tuple[Shape, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if min(shape, default=0) < 0:
        raise ValueError(f"its header has shape {shape}")
    return shape, dtype


def _tensor(path: Path, *, mmap: bool) -> torch.Tensor:
    loaded: object = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    if not isinstance(loaded, torch.Tensor):
        inside = f" of {quote(map(str, loaded))}" if isinstance(loaded, dict) else ""
        kind = f"{type(loaded).__name__}{inside}"
    elif loaded.layout != torch.strided or loaded.is_quantized or loaded.device.type != "cpu":
        kind = f"a tensor of {loaded.dtype}, {loaded.layout}, on {loaded.device}"
    elif loaded.numel() * loaded.element_size() > loaded.untyped_storage().nbytes():
        kind = f"a tensor of shape {tuple(loaded.shape)} that repeats few values"
    else:
        return loaded.detach()
    raise DataError(f"{path} holds {kind}, not a dense CPU tensor; save the features alone with torch.save")
