"""The server of the page: answers, limits, headers, errors, isolation of visitors, the queue."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from clips import make_clip, make_sound
from commands import call
from page.conftest import Colours, Served


def test_moments_of_a_video_are_found_and_cut_out(served: Served, tmp_path: Path) -> None:
    path = served.upload()
    assert served.send("GET", path)[1] == {"state": "ready", "duration_sec": pytest.approx(4.0), "defects": ""}
    status, answers, _ = served.send("POST", f"{path}/answers", "\n  it is red \r\n\n<img src=x> blue\n")
    assert (status, [answer["query"] for answer in answers]) == (200, ["it is red", "<img src=x> blue"])
    best, second = answers[0]["moments"][0], answers[1]["moments"]
    assert (best["start_sec"], best["end_sec"]) == pytest.approx((1.5, 2.5))
    assert sorted((each["start_sec"], each["end_sec"]) for each in second) == [(0, 1.5), (2.5, 4)]
    assert np.argsort(answers[0]["attention"])[-2:].tolist() in ([3, 4], [4, 3])
    (tmp_path / "clip.mp4").write_bytes(served.send("GET", f"{path}/clip/1.5/2.5")[1])
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 25
    refused = [served.send("GET", f"{path}/clip/{span}")[0] for span in ("1/1", "1.5/1", "0/9", "-1/nan")]
    assert refused == [400, 400, 400, 404]
    assert served.send("DELETE", path)[0] == 204
    assert (served.send("GET", path)[0], served.stored()) == (404, set())


@pytest.mark.parametrize(
    ("status", "method", "path", "headers"),
    [
        *[(200, "GET", path, {}) for path in ("/", "/page.js", "/style.css", "/about", "/examples/example_1.mp4")],
        *[(404, "GET", path, {}) for path in ("/videos/unknown", "/nothing", "/../app.py", "/examples/../../a")],
        *[(405, method, "/videos", {}) for method in ("GET", "DELETE")],
        *[(403, "POST", "/videos", {"Sec-Fetch-Site": site}) for site in ("cross-site", "same-site", "none", "")],
        *[(403, "DELETE", "/videos/unknown", {"Sec-Fetch-Site": "cross-site"})],
        *[(400, "GET", "/", {"Host": host}) for host in ("attacker.example", "127.0.0.1.attacker.example:8000")],
        *[(200, "GET", "/", {"Host": "localhost:8000"})],
    ],
)
def test_other_sites_are_kept_out(served: Served, status: int, method: str, path: str, headers: dict[str, str]) -> None:
    found, _, sent = served.send(method, path, b"a" if method == "POST" else None, **headers)
    policy = dict(part.strip().split(" ", 1) for part in sent["content-security-policy"].split(";"))
    assert (found, policy["default-src"], policy["media-src"]) == (status, "'none'", "'self' blob:")
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert (sent["x-content-type-options"], sent["cache-control"]) == ("nosniff", "no-store")


def test_files_that_are_no_video_are_refused_in_words(served: Served, tmp_path: Path) -> None:
    long = make_clip(tmp_path / "long.mp4", frames=[np.zeros((16, 16, 3), np.uint8)] * 400)
    for content, message in [
        (b"no video at all", "the file is no video that can be read"),
        (b"", "the file is empty"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "the file is no video that can be read"),
        (make_sound(tmp_path / "a.mkv").read_bytes(), "the file has no video stream"),
        (long.read_bytes(), "the file is longer than 12 seconds; cut it into shorter files"),
    ]:
        path = served.upload(content)
        status, state, _ = served.send("GET", path)
        assert (status, state["error"].startswith(message), str(served.folder) in str(state)) == (400, True, False)
        assert served.send("POST", f"{path}/answers", "the ball")[:2] == (status, state)
        served.send("DELETE", path)


def test_sizes_are_limited_while_reading(served: Served) -> None:
    sent = list[int]()

    def endless() -> Iterator[bytes]:
        while sum(sent) < 10**8:
            sent.append(50_000)
            yield bytes(50_000)

    with suppress(BrokenPipeError, ConnectionResetError):  # closed while it was sending
        assert served.send("POST", "/videos", endless())[:2] == (413, {"error": "the file is larger than 0.2 MB"})
    assert (sum(sent) < 2 * 10**7, served.stored()) == (True, set())
    path = served.upload()
    for body, status, message in [
        (b" \n\n\t", 400, "write 1 to 20 sentences, a line each; got 0"),
        (b"the ball\n" * 21, 400, "got 21"),
        (b"ball " * 3000, 413, "the question is larger than 0.01 MB"),
        (b"\xff\xfe ball", 200, "query"),
    ]:
        found, content, _ = served.send("POST", f"{path}/answers", body)
        assert (found, message in str(content)) == (status, True)
    served.send("DELETE", path)


def test_videos_wait_in_a_queue_and_sentences_do_not_wait_for_them(served: Served) -> None:
    ready = served.upload()
    Colours.go.clear()
    with ThreadPoolExecutor(21) as pool:
        paths = list(pool.map(lambda _: served.upload(wait=False), range(21)))
    assert served.send("POST", "/videos", served.clip)[0] == 503
    assert served.send("POST", f"{ready}/answers", "the ball")[0] == 200
    assert served.send("POST", f"{paths[3]}/answers", "the ball")[0] == 409
    assert sorted(served.send("GET", path)[1]["state"] for path in paths) == ["encoding", *["waiting"] * 20]
    ids = {path.removeprefix("/videos/") for path in (ready, *paths)}
    assert (len(ids | served.stored()), min(map(len, ids)) >= 22) == (22 + 22, True)  # no id is the name of a file
    for path in paths[:18]:  # their visitors leave
        served.send("DELETE", path)
    Colours.go.set()
    while {served.send("GET", path)[1]["state"] for path in paths[18:]} != {"ready"}:
        time.sleep(0.02)
    with ThreadPoolExecutor(20) as pool:
        answers = pool.map(lambda _: served.send("POST", f"{ready}/answers", "the ball")[1], range(20))
        assert len({json.dumps(answer) for answer in answers}) == 1
    for path in (ready, *paths[18:]):
        served.send("DELETE", path)


def test_old_uploads_are_removed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpnet.page.uploads.KEEP_SEC", 0.3)
    path = served.upload()
    time.sleep(0.6)
    assert (served.send("GET", path)[0], served.stored()) == (404, set())


@pytest.mark.parametrize(
    ("argument", "start"), [("port=99999", "port=99999: "), ("max_mb=0", "max_mb must be above 0")]
)
def test_wrong_options_are_refused(tmp_path: Path, argument: str, start: str) -> None:
    ended = call("demo", "checkpoint=best.ckpt", argument, folder=tmp_path)
    assert (ended.code, ended.err.startswith(f"cpnet: {start}")) == (1, True)
