"""Videos that visitors have uploaded, under random names in a folder that is removed with the server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.exceptions import HTTPException

from cpnet.video.encode import EncodedVideo

QUEUE = 20  # videos that may wait
KEEP_SEC = 3600.0  # an upload that nobody asks about for so long is removed


@dataclass
class Upload:
    """A video: its file, the second that encoding has reached, and its rows to come."""

    path: Path
    second: float = 0.0
    rows: Future[EncodedVideo] = field(default_factory=Future)
    removal: asyncio.TimerHandle | None = None


class Uploads:
    """Receives, finds and removes uploads. An ``HTTPException`` tells the visitor why that is impossible."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes  # of a file
        self.folder = TemporaryDirectory(prefix="cpnet-demo-", ignore_cleanup_errors=True)
        self._uploads: dict[str, Upload] = {}  # by ids that nobody can guess

    async def receive(self, chunks: AsyncIterator[bytes]) -> str:
        """Store the bytes of a request, and return the id. A file that is too large or ends early leaves nothing."""
        if sum(not each.rows.done() for each in self._uploads.values()) > QUEUE:
            raise HTTPException(503, f"{QUEUE} videos are waiting already; try again in a few minutes")
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
        """Return the upload with this id, and keep it for another ``KEEP_SEC``."""
        if token not in self._uploads:
            raise HTTPException(404, "this video is no longer on the server; choose it again")
        upload = self._uploads[token]
        if upload.removal:
            upload.removal.cancel()
        upload.removal = asyncio.get_running_loop().call_later(KEEP_SEC, self.remove, token)
        return upload

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
