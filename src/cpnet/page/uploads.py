"""Videos that visitors have uploaded, under random names in a folder that is removed with the server."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.exceptions import HTTPException

from cpnet.video.encode import EncodedVideo


@dataclass
class Upload:
    """A video: its file, the second that encoding has reached, and its rows to come."""

    path: Path
    second: float = 0.0
    rows: Future[EncodedVideo] = field(default_factory=Future)


class Uploads:
    """Receives, finds and removes uploads. An ``HTTPException`` tells the visitor why that is impossible."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes  # of a file
        self.folder = TemporaryDirectory(prefix="cpnet-demo-", ignore_cleanup_errors=True)
        self._uploads: dict[str, Upload] = {}  # by ids that nobody can guess

    async def receive(self, chunks: AsyncIterator[bytes]) -> str:
        """Store the bytes of a request, and return the id. A file that is too large or ends early leaves nothing."""
        chunks = limited(chunks, self.max_bytes, f"the file is larger than {self.max_bytes / 1e6:g} MB")
        token, upload = secrets.token_urlsafe(16), Upload(Path(self.folder.name) / secrets.token_hex(16))
        self._uploads[token] = upload
        try:
            with upload.path.open("xb") as file:
                async for chunk in chunks:
                    file.write(chunk)
        except BaseException:  # also a visitor who leaves
            self.remove(token)
            raise
        return token

    def get(self, token: str) -> Upload:
        """Return the upload with this id."""
        if token not in self._uploads:
            raise HTTPException(404, "this video is no longer on the server; choose it again")
        return self._uploads[token]

    def remove(self, token: str) -> None:
        """Remove an upload and its files, if it is there."""
        if upload := self._uploads.pop(token, None):
            upload.rows.cancel()
            for path in upload.path.parent.glob(f"{upload.path.name}*"):
                path.unlink(missing_ok=True)


async def limited(chunks: AsyncIterator[bytes], most: int, refusal: str) -> AsyncIterator[bytes]:
    """Yield the chunks of a request; raise an ``HTTPException`` when they have more than ``most`` bytes."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise HTTPException(413, refusal)
        yield chunk
