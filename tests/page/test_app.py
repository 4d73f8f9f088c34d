"""The page over a real connection and in a real browser, with a model that knows mean colours and their names."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from browser import browse, wait
from clips import make_clip
from commands import call
from cpnet.grounder import Grounder
from cpnet.video.backbones import JointBackbone

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}
NAME = "<img src=x onerror=alert(1)>.mp4"


class Colours(JointBackbone):
    """Encodes a frame as its mean colour, once ``go`` is set."""

    name, preprocessing, fingerprint = "colours", "none", "0"
    width, window, stride, size, fps = 3, 1, 1, (16, 16), 2.0
    go = threading.Event()

    def encode(self, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert self.go.wait(60)
        return np.asarray(windows.mean(axis=(1, 2, 3)), np.float32)

    def encode_text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        return np.array([COLOURS["red" if "red" in each else "blue"] for each in sentences], np.float32)


@dataclass(frozen=True)
class Served:
    """A running server, its temporary folder, and a video of 4 seconds that is red from 1.5 to 2.5."""

    port: int
    folder: Path
    clip: bytes

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, {"Sec-Fetch-Site": "same-origin"} | headers)
        response = connection.getresponse()
        found, content = {name.lower(): value for name, value in response.getheaders()}, response.read()
        return response.status, json.loads(content) if "json" in found.get("content-type", "") else content, found

    def upload(self, content: bytes, *, wait: bool = True) -> str:
        """Upload a video and wait until it is encoded; return its path on the server."""
        path = f"/videos/{self.send('POST', '/videos', content)[1]['id']}"
        while wait and self.send("GET", path)[1].get("state") in ("waiting", "encoding"):
            time.sleep(0.02)
        return path

    def stored(self) -> set[str]:
        return {path.name for path in self.folder.glob("cpnet-demo-*/*") if path.is_file()}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra demo")
    from cpnet.page import app as pages

    folder, path = tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("clips") / "a.mp4"
    shown = [*["blue"] * 38, *["red"] * 25, *["blue"] * 37]
    clip = make_clip(path, frames=[np.full((48, 64, 3), COLOURS[colour], np.uint8) for colour in shown]).read_bytes()
    Colours.go.set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        patch.setattr(pages, "EXAMPLE_SEC", 10.0)
        app = pages.create_app(Grounder.zero_shot(Colours()), "colours", top=2, max_bytes=200_000, max_sec=12.0)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield Served(server.servers[0].sockets[0].getsockname()[1], folder, clip)
        server.should_exit = True
        thread.join()
    assert not list(folder.iterdir())  # uploads are removed with the server


def test_moments_of_a_video_are_found_and_cut_out(served: Served, tmp_path: Path) -> None:
    path = served.upload(served.clip)
    assert served.send("GET", path)[1] == {"state": "ready", "duration_sec": pytest.approx(4.0), "defects": ""}
    red, blue = served.send("POST", f"{path}/answers", "\n  it is red \r\n\n<img src=x> blue\n")[1]
    assert (red["query"], blue["query"]) == ("it is red", "<img src=x> blue")
    spans = [[(each["start_sec"], each["end_sec"]) for each in answer["moments"]] for answer in (red, blue)]
    assert (spans[0][0], sorted(spans[1])) == ((1.5, 2.5), [(0, 1.5), (2.5, 4)])
    assert sorted(np.argsort(red["attention"])[-2:]) == [3, 4]  # of 8 rows
    with ThreadPoolExecutor(8) as pool:
        clips = [*pool.map(lambda end: served.send("GET", f"{path}/clip/1.5/{end}")[1], (2.5, 2) * 8)]
    assert (len(set(clips)), len(set(clips[::2]))) == (2, 1)
    (tmp_path / "clip.mp4").write_bytes(clips[0])
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 25
    refused = [served.send("GET", f"{path}/clip/{span}")[0] for span in ("1/1", "1.5/1", "0/9", "-1/nan")]
    assert refused == [400, 400, 400, 404]
    questions = [(b" \n\n\t", 400), (b"the ball\n" * 21, 400), (b"ball " * 3000, 413), (b"\xff\xfe ball", 200)]
    assert [served.send("POST", f"{path}/answers", body)[0] for body, _ in questions] == [each for _, each in questions]
    assert len(served.stored()) == 1  # clips are removed
    assert served.send("DELETE", path)[0] == 204
    assert (served.send("GET", path)[0], served.stored()) == (404, set())


@pytest.mark.parametrize(
    ("status", "method", "path", "headers"),
    [
        *[(200, "GET", path, {}) for path in ("/", "/page.js", "/style.css", "/about", "/examples/example_1.mp4")],
        *[(404, "GET", path, {}) for path in ("/videos", "/videos/unknown", "/../app.py", "/examples/../../a")],
        *[(403, "POST", "/videos", {"Sec-Fetch-Site": site}) for site in ("cross-site", "same-site", "none", "")],
        *[(403, "DELETE", "/videos/unknown", {"Sec-Fetch-Site": "cross-site"})],
        *[(400, "GET", "/", {"Host": host}) for host in ("attacker.example", "127.0.0.1.attacker.example:8000")],
    ],
)
def test_other_sites_are_kept_out(served: Served, status: int, method: str, path: str, headers: dict[str, str]) -> None:
    found, _, sent = served.send(method, path, **headers)
    policy = dict(part.strip().split(" ", 1) for part in sent["content-security-policy"].split(";"))
    assert (found, policy["default-src"], policy["media-src"]) == (status, "'none'", "'self' blob:")
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}


def test_files_are_refused_in_words(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = make_clip(tmp_path / "long.mp4", frames=[np.zeros((16, 16, 3), np.uint8)] * 400).read_bytes()
    for content, message in [
        (b"text", "the file is no video"),
        (b"", "the file is empty"),
        (long, "the file is longer"),
    ]:
        path = served.upload(content)
        status, state, _ = served.send("GET", path)
        assert (status, state["error"].startswith(message), str(served.folder) in str(state)) == (400, True, False)
        assert served.send("POST", f"{path}/answers", "the ball")[:2] == (status, state)
        served.send("DELETE", path)
    chunks = (bytes(50_000) for _ in range(200))  # without a Content-Length
    assert served.send("POST", "/videos", chunks)[:2] == (413, {"error": "the file is larger than 0.2 MB"})
    monkeypatch.setattr("secrets.token_hex", lambda size: "no_folder/name")
    status, found, _ = served.send("POST", "/videos", served.clip)
    assert (status, "cannot store the file (No such file or directory)" in found["error"]) == (507, True)
    assert served.stored() == set()


def test_videos_wait_in_a_queue_and_sentences_do_not_wait_for_them(served: Served) -> None:
    ready = served.upload(served.clip)
    Colours.go.clear()
    with ThreadPoolExecutor(21) as pool:
        paths = list(pool.map(lambda _: served.upload(served.clip, wait=False), range(21)))
    assert [served.send("POST", f"{path}/answers", "the ball")[0] for path in (ready, paths[3])] == [200, 409]
    assert sorted(served.send("GET", path)[1]["state"] for path in paths) == ["encoding", *["waiting"] * 20]
    ids = {path.removeprefix("/videos/") for path in (ready, *paths)}
    assert (len(ids | served.stored()), min(map(len, ids)) >= 22) == (22 + 22, True)  # no id is the name of a file
    for path in paths[:20]:  # their visitors leave
        served.send("DELETE", path)
    Colours.go.set()
    while served.send("GET", paths[20])[1]["state"] != "ready":
        time.sleep(0.02)
    with ThreadPoolExecutor(20) as pool:
        answers = pool.map(lambda _: served.send("POST", f"{ready}/answers", "the ball")[1], range(20))
        assert len({json.dumps(answer) for answer in answers}) == 1
    for path in (ready, paths[20]):
        served.send("DELETE", path)


def test_impossible_values_are_refused(served: Served, tmp_path: Path) -> None:
    for argument, message in (
        (f"port={served.port}", f"port={served.port}: Address already in use; choose"),
        ("port=65536", "port must be 0 to 65535; got 65536"),
        ("max_mb=inf", "max_mb must be above 0 and finite; got inf"),
        ("zero_shot=colours", "zero_shot=colours answers without training; remove checkpoint"),
    ):
        ended = call("demo", "checkpoint=best.ckpt", "port=0", argument, folder=tmp_path, code=1)
        assert f"cpnet: {message}" in ended.err


@pytest.mark.slow
def test_moment_is_found_and_played_in_a_browser(served: Served, tmp_path: Path) -> None:
    with browse(390, 844) as (page, complaints, requests):
        page.goto(f"http://127.0.0.1:{served.port}")
        page.press("#sentences", "Enter")
        assert page.inner_text("#error") == "Write a sentence: what happens in the moment?"
        page.set_input_files("#file", {"name": NAME, "mimeType": "video/mp4", "buffer": served.clip})
        page.fill("#sentences", "it is red\n<script>alert(1)</script>")
        page.press("#sentences", "Enter")
        page.wait_for_selector("#answers article:nth-child(2)")
        assert [page.inner_text("#name"), page.inner_text("h2 >> nth=1")] == [NAME, "<script>alert(1)</script>"]
        page.wait_for_selector("#strip canvas:nth-child(9)")
        with page.expect_download() as download:
            page.click("#json")
        assert json.loads(Path(download.value.path()).read_bytes())["answers"][0]["moments"][0]["start_sec"] == 1.5
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.focus(".play >> nth=0")
        page.keyboard.press("Enter")
        wait(page, "!player.paused && player.currentTime > 1.5")
        wait(page, "player.paused")
        assert 2.5 <= page.evaluate("player.currentTime") <= 2.8
        page.evaluate("player.play = async () => {}")  # stays at the start
        page.click(".bar >> nth=0")
        wait(page, "!player.seeking && Math.abs(player.currentTime - 1.5) < 0.01")
        with page.expect_download() as download:
            page.click(".clip >> nth=0")
        assert Path(download.value.path()).stat().st_size > 500
        page.click("#other")
        live = make_clip(tmp_path / "live.webm", codec="libvpx", options={}, muxer={"live": "1"})  # states no duration
        page.evaluate("player.addEventListener('loadedmetadata', () => { window.stated = player.duration; })")
        page.set_input_files("#file", live)
        page.wait_for_selector("#strip canvas:nth-child(9)")
        assert [page.evaluate("stated === Infinity"), page.inner_text("#axis span >> nth=4")] == [True, "0:02.0"]
        assert complaints == []
        page.click("#other")
        page.set_input_files("#file", {"name": "a.mp4", "mimeType": "video/mp4", "buffer": b"no video"})
        wait(page, "error.textContent.startsWith('The file is no video that can') && !chooser.hidden")
    hosts = {urlsplit(address.removeprefix("blob:")).netloc for address in requests}
    assert hosts - {""} == {f"127.0.0.1:{served.port}"}  # an address data: has no host
