"""The folder of a corpus that cpnet writes on first use: a manifest, atomic writing, and protection of other files."""

from __future__ import annotations

import json
import logging
import tempfile
from abc import ABC, abstractmethod
from dataclasses import fields
from pathlib import Path
from typing import ClassVar

from cpnet.data.corpora.writers import write_lines
from cpnet.errors import DataError
from cpnet.locks import lock

MANIFEST = "corpus.json"


class GeneratedCorpus(ABC):
    """Writes a corpus to ``folder`` on first use.

    Attributes:
        kind: what log and errors call the corpus
        version: increased when the files written for the same options change
        options: the dataclass whose fields determine the files
        folder: where the corpus is or will be
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    options: ClassVar[type]
    folder: Path | str
    videos: int

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Write the files into an empty folder."""

    def _finish(self, folder: Path) -> None:  # noqa: B027 - most corpora have none
        """Add files that take long to those of ``_write``, unless they exist."""

    def prepare(self) -> None:
        """Write the corpus unless the folder already contains it; replace a corpus with other options.

        The corpus is written next to the folder and then moved, so that an interrupted write leaves nothing. Concurrent
        processes wait for the first one.

        Raises:
            DataError: the folder contains other files or cannot be written
        """
        folder = Path(self.folder).expanduser().resolve()
        try:
            is_new = not self._is_complete(folder) and self._create(folder)
            self._finish(folder)
        except OSError as error:
            raise DataError(
                f"cannot write the {self.kind} corpus to {folder} ({error}); set dataset.generate.folder to another "
                "path"
            ) from error
        if is_new:
            logging.getLogger(__name__).info("wrote a %s corpus of %d videos to %s", self.kind, self.videos, folder)

    def _create(self, folder: Path) -> bool:
        """Write the corpus; return False if another process has written it first."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with lock(folder.with_name(f".{folder.name}.lock")):
            if self._is_complete(folder):
                return False
            _check_replaceable(folder)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
                fresh = Path(temporary) / "fresh"
                fresh.mkdir()
                self._write(fresh)
                manifest = {**self._manifest(), "files": sorted(entry.name for entry in fresh.iterdir())}
                write_lines(fresh / MANIFEST, [json.dumps(manifest, indent=2)])
                if folder.exists():
                    folder.rename(fresh.with_name("stale"))
                fresh.rename(folder)
            return True

    def _manifest(self) -> dict[str, object]:
        parameters = {field.name: getattr(self, field.name) for field in fields(self.options)}
        return {"version": self.version, "parameters": parameters}

    def _is_complete(self, folder: Path) -> bool:
        found = _read_manifest(folder)
        files = found.pop("files", None)
        return (
            isinstance(files, list)
            and found == self._manifest()
            and all((folder / str(name)).exists() for name in files)
        )


def check_options(corpus: object, *checks: tuple[str, bool, str]) -> None:
    """Check options, each given as its name, whether its value is possible, and what is expected.

    Raises:
        DataError: an option is invalid; the message names its key under ``dataset.generate``
    """
    for key, is_possible, expected in checks:
        if not is_possible:
            raise DataError(f"dataset.generate.{key} must be {expected}, found {getattr(corpus, key)!r}")


def _read_manifest(folder: Path) -> dict[str, object]:
    """Read the manifest of a corpus; return an empty one if it is missing or malformed."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _check_replaceable(folder: Path) -> None:
    """Check that a folder contains only a generated corpus, packed stores of its features and hidden files."""
    try:
        found = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return
    files = _read_manifest(folder).get("files")
    known = [MANIFEST, *(files if isinstance(files, list) else [])]
    others = [name for name in found if name not in known and not name.startswith(".") and ".packed" not in name]
    if others:
        raise DataError(
            f"{folder} contains {', '.join(others[:5])}, which cpnet did not write and will not overwrite; "
            "set dataset.generate.folder to another path"
        )
