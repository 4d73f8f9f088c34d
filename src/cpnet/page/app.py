"""Requests of the page: upload a video, follow its encoding, ask about it, download a moment.

One thread encodes videos, one after the other; another one answers sentences, so that they do not wait for videos.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from cpnet.data.corpora import animation, rendered
from cpnet.errors import ConfigError, DataError
from cpnet.grounder import Grounder
from cpnet.page.uploads import Upload, Uploads, limited
from cpnet.video.encode import EncodedVideo
from cpnet.video.sandbox import Limits, cut_sandboxed

MAX_QUESTION, MAX_SENTENCES = 10_000, 20  # bytes, sentences
EXAMPLE_SEEDS, EXAMPLE_SEC = (1801, 1802), 30.0
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

ENCODING_SEC = 24 * 3600.0  # of a file, for slow backbones


class Page:
    """Answers the requests of the page with the ``top`` moments of a model, about files within limits."""

    def __init__(self, grounder: Grounder, top: int, max_bytes: int, max_sec: float) -> None:
        self.grounder, self.top = grounder, top
        self.limits, self.uploads = Limits(max_sec=max_sec, wall_sec=ENCODING_SEC), Uploads(max_bytes)
        self.encoding, self.answering = ThreadPoolExecutor(1), ThreadPoolExecutor(1)

    async def upload(self, request: Request) -> Response:
        """Store a video, whose bytes are the body, and queue it for encoding."""
        token = await self.uploads.receive(request.stream())
        upload = self.uploads.get(token)
        upload.rows = self.encoding.submit(self._encode, upload)
        return JSONResponse({"id": token}, 201)

    async def state(self, request: Request) -> Response:
        """Return how far the encoding of a video is, or its error."""
        upload = self.uploads.get(request.path_params["id"])
        if not upload.rows.done():
            return JSONResponse({"state": "encoding" if upload.rows.running() else "waiting", "second": upload.second})
        video = upload.rows.result()
        return JSONResponse({"state": "ready", "duration_sec": video.duration_sec, "defects": video.defects})

    async def ask(self, request: Request) -> Response:
        """Answer sentences, one a line of the body."""
        _, video = self._encoded(request)
        chunks = limited(request.stream(), MAX_QUESTION, "the sentences are too long")
        body = b"".join([chunk async for chunk in chunks])
        sentences = [line.strip() for line in body.decode(errors="replace").split("\n") if line.strip()]
        if not 1 <= len(sentences) <= MAX_SENTENCES:
            raise HTTPException(400, f"write 1 to {MAX_SENTENCES} sentences, a line each; got {len(sentences)}")
        answers = await self._run(lambda: self.grounder.answer(video, sentences, top=self.top))
        return JSONResponse([asdict(each) | {"attention": each.attention.tolist()} for each in answers])

    async def clip(self, request: Request) -> Response:
        """Return a part of a video as mp4."""
        upload, video = self._encoded(request)
        start_sec, end_sec = request.path_params["start"], request.path_params["end"]
        if not start_sec < end_sec <= video.duration_sec + 1:
            raise HTTPException(400, "start and end must be seconds of the video")
        target = upload.path.with_suffix(f".{secrets.token_hex(8)}.mp4")  # another clip may be on its way
        await self._run(lambda: cut_sandboxed(upload.path, start_sec, end_sec, target))
        return FileResponse(target, media_type="video/mp4", background=BackgroundTask(target.unlink, missing_ok=True))

    async def remove(self, request: Request) -> Response:
        """Remove a video; stop its encoding."""
        self.uploads.remove(request.path_params["id"])
        return Response(status_code=204)

    async def refuse(self, request: Request, error: Exception) -> Response:
        """Return an error in words, without the path of the stored file, which a visitor does not know."""
        status, text = 500, "the server failed; its terminal says why"
        if isinstance(error, HTTPException):
            status, text = error.status_code, error.detail
        elif isinstance(error, (ConfigError, DataError)):
            status, text = 400, re.sub(re.escape(self.uploads.folder.name) + r"\W\w{32}", "the file", str(error))
        elif isinstance(error, OSError):
            status, text = 507, f"the server cannot store the file ({error.strerror}); try again later"
        return JSONResponse({"error": text}, status, HEADERS)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Remove all uploads at the end."""
        yield
        self.uploads.folder.cleanup()
        for pool in (self.encoding, self.answering):
            pool.shutdown(cancel_futures=True)

    def _encoded(self, request: Request) -> tuple[Upload, EncodedVideo]:
        upload = self.uploads.get(request.path_params["id"])
        if not upload.rows.done():
            raise HTTPException(409, "the video is not encoded yet; ask again when it is")
        return upload, upload.rows.result()

    async def _run(self, job: Callable[[], Any]) -> Any:
        """Run a job in the thread for answers."""
        return await asyncio.get_running_loop().run_in_executor(self.answering, job)

    def _encode(self, upload: Upload) -> EncodedVideo:
        def progress(second: float) -> None:
            upload.second = second
            if not upload.path.exists():  # its visitor has removed it
                raise CancelledError

        return self.grounder.encode(upload.path, limits=self.limits, progress=progress)


async def guard(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Add ``HEADERS`` to each response; refuse a request of another site that would change something here."""
    if request.method not in ("GET", "HEAD") and request.headers.get("sec-fetch-site") != "same-origin":
        return JSONResponse({"error": "this request does not come from the page; reload the page"}, 403, HEADERS)
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response


def create_app(grounder: Grounder, model: str, *, top: int, max_bytes: int, max_sec: float) -> Starlette:
    """Render two examples, encode them as a check, and build the server. The page shows the name ``model``.

    Raises:
        ConfigError: a package is missing
        DataError: the model cannot encode video files
    """
    page = Page(grounder, top, max_bytes, max_sec)
    folder, examples = Path(page.uploads.folder.name, "examples"), []
    folder.mkdir()
    for number, seed in enumerate(EXAMPLE_SEEDS, start=1):
        rng = np.random.default_rng(seed)
        scene, path = rendered.draw_scene(EXAMPLE_SEC, rng), folder / f"example_{number}.mp4"
        animation.encode(scene, path)
        moments = rendered.draw_moments(path.stem, scene, rng)[:: rendered.PARAPHRASES]
        examples.append({"file": path.name, "sentences": [moment.query for moment in moments[:2]]})
        grounder.encode(path)  # errors appear now, and the first visitor does not wait for the backbone
    about = {"model": model, "max_bytes": max_bytes, "max_sec": max_sec, "examples": examples}
    routes = [
        Route("/about", lambda request: JSONResponse(about)),
        Route("/videos", page.upload, methods=["POST"]),
        Route("/videos/{id}", page.state),
        Route("/videos/{id}", page.remove, methods=["DELETE"]),
        Route("/videos/{id}/answers", page.ask, methods=["POST"]),
        Route("/videos/{id}/clip/{start:float}/{end:float}", page.clip),
        Mount("/examples", StaticFiles(directory=folder)),
        Mount("/", StaticFiles(directory=Path(__file__).parent / "static", html=True)),
    ]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(
        routes=routes,
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=guard), hosts],
        exception_handlers=dict.fromkeys(
            (HTTPException, ClientDisconnect, ConfigError, DataError, OSError, Exception), page.refuse
        ),
        lifespan=page.lifespan,
    )
