"""The page over a real connection, with a model that knows mean colours and their names."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from clips import make_clip
from cpnet.grounder import Grounder
from cpnet.video.backbones import JointBackbone
from cpnet.video.decode import Size

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}


class Colours(JointBackbone):
    """Encodes a frame as its mean colour, once ``go`` is set."""

    name: ClassVar[str] = "colours"
    width: ClassVar[int] = 3
    window: ClassVar[int] = 1
    stride: ClassVar[int] = 1
    size: ClassVar[Size] = (16, 16)
    preprocessing: ClassVar[str] = "none"
    fingerprint, fps, go = "0", 2.0, threading.Event()

    def encode(self, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert self.go.wait(60)
        colours: NDArray[np.float32] = windows.mean(axis=(1, 2, 3), dtype=np.float32)
        return colours

    def encode_text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        return np.array([COLOURS["red" if "red" in each else "blue"] for each in sentences], np.float32)


@dataclass(frozen=True)
class Served:
    """A running server, its temporary folder, and a video of 4 seconds that is red from 1.5 to 2.5."""

    port: int
    folder: Path
    clip: bytes

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Send a request as the page would; return status, content and headers of the response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, {"Sec-Fetch-Site": "same-origin"} | headers)
        response = connection.getresponse()
        found, content = {name.lower(): value for name, value in response.getheaders()}, response.read()
        return response.status, json.loads(content) if "json" in found.get("content-type", "") else content, found

    def upload(self, content: bytes | None = None, *, wait: bool = True) -> str:
        """Upload a video and wait until it is encoded; return its path on the server."""
        path = f"/videos/{self.send('POST', '/videos', self.clip if content is None else content)[1]['id']}"
        while wait and self.send("GET", path)[1].get("state") in ("waiting", "encoding"):
            time.sleep(0.02)
        return path

    def stored(self) -> set[str]:
        return {path.name for path in self.folder.glob("cpnet-demo-*/*") if path.is_file()}


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    uvicorn = pytest.importorskip("uvicorn", reason="the page needs the extra demo")
    from cpnet.page import app as pages

    folder = tmp_path_factory.mktemp("server")
    Colours.go.set()
    shown = [*["blue"] * 38, *["red"] * 25, *["blue"] * 37]
    frames = [np.full((48, 64, 3), COLOURS[colour], np.uint8) for colour in shown]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        patch.setattr(pages, "EXAMPLE_SEC", 10.0)
        app = pages.create_app(Grounder.zero_shot(Colours()), "colours", top=2, max_bytes=200_000, max_sec=12.0)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        clip = make_clip(tmp_path_factory.mktemp("clips") / "a.mp4", frames=frames).read_bytes()
        yield Served(server.servers[0].sockets[0].getsockname()[1], folder, clip)
        server.should_exit = True
        thread.join()
    assert not list(folder.iterdir())  # uploads are removed with the server
