"""A file is the old one or the new one, whatever happens in between."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cpnet.data.atomic import replacing


def test_writes_a_new_file(tmp_path: Path) -> None:
    with replacing(tmp_path / "new") as stream:
        stream.write(b"\x00whole")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"new": b"\x00whole"}


def test_replaces_a_file_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with replacing(target) as stream:
        stream.write(b"new")
        stream.flush()
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail() -> None:
        with replacing(target) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"file": b"old"}


def test_an_error_leaves_no_new_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), replacing(tmp_path / "file"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_absent_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "absent" / "file"):
        pass


@pytest.mark.parametrize("durable", [False, True])
def test_a_full_disk_is_told_by_the_name_of_the_file(durable: bool, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fill() -> None:
        with replacing(target, durable=durable) as stream:
            stream.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write says it

    with pytest.raises(OSError, match=r"No space left on device: '.*/file'$") as caught:
        fill()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(target))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"file": b"old"}


def test_what_is_durable_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bytes, bool]] = []

    def fsync(_: int) -> None:
        (part,) = tmp_path.glob("*.tmp")
        synced.append((part.read_bytes(), (tmp_path / "file").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(tmp_path / "file", durable=True) as stream:
        stream.write(b"new")
    assert synced == [(b"new", False)]
    with replacing(tmp_path / "file") as stream:
        stream.write(b"newer")
    assert len(synced) == 1
