"""Windows against a slow loop over padded frames, and the time that a row shows."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from clips import make_clip, number_of
from cpnet.errors import DataError
from cpnet.video.backbones import Backbone
from cpnet.video.decode import Size
from cpnet.video.encode import EncodedVideo, encode_video, windows_of
from cpnet.video.sandbox import Limits


class Numbers(Backbone):
    """Encodes a window as the numbers that its frames show."""

    name: ClassVar[str] = "numbers"
    width: ClassVar[int] = 3
    window: ClassVar[int] = 3
    stride: ClassVar[int] = 2
    size: ClassVar[Size] = None
    preprocessing: ClassVar[str] = "none"
    fingerprint = "0"

    def __init__(self, fps: float, factor: float = 1) -> None:
        self.fps, self.factor = fps, factor

    def encode(self, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        numbers = [[number_of(frame) * self.factor for frame in window] for window in windows]
        return np.array(numbers, np.float32)


@pytest.mark.parametrize("window", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("stride", [1, 2, 3, 8])
def test_windows_lie_around_the_middle_of_their_share(window: int, stride: int) -> None:
    for count in range(1, 40):
        frames = np.arange(count)
        rows = max(1, int(count / stride + 0.5))
        lead = (window - stride) // 2
        expected = [[min(max(row * stride + k - lead, 0), count - 1) for k in range(window)] for row in range(rows)]
        assert [list(each) for each in windows_of(iter(frames), window, stride)] == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("limits", [None, Limits()])
def test_rows_show_the_video_in_order(tmp_path: Path, limits: Limits | None) -> None:
    path = make_clip(tmp_path / "a.mp4", count=50)
    reached: list[float] = []
    video = encode_video(path, Numbers(fps=5), limits=limits, progress=reached.append)
    shown = [2, 7, 12, 17, 22, 27, 32, 37, 42, 47]  # at seconds 0.1, 0.3, ...
    expected = [[shown[min(max(2 * row + k, 0), 9)] for k in range(3)] for row in range(5)]
    np.testing.assert_array_equal(video.rows, expected)
    assert (video.rows.dtype.name, video.defects) == ("float16", "")
    assert video.duration_sec == pytest.approx(2.0)
    assert (video.extractor.backbone, video.extractor.fps, video.extractor.stride) == ("numbers", 5, 2)
    assert reached == pytest.approx([0.1 + 0.2 * k for k in range(10)])


def test_decoding_process_ends_when_encoding_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children = []
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *task, **how: children.append(start(*task, **how)) or children[0])  # type: ignore[func-returns-value]
    monkeypatch.setattr(Numbers, "encode", lambda self, windows: 1 / 0)
    with pytest.raises(ZeroDivisionError) as raised:  # the error keeps its frames, and what they hold
        encode_video(make_clip(tmp_path / "a.mp4", count=200), Numbers(fps=25), limits=Limits())
    assert [child.returncode is None for child in children] == [False], raised


def test_row_beyond_float16_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.mp4: backbone=numbers gave values that are not finite or exceed float16"):
        encode_video(make_clip(tmp_path / "a.mp4", count=9), Numbers(fps=5, factor=1e5))


def test_encoded_video_survives_a_file(tmp_path: Path) -> None:
    rows, kind = np.eye(3, dtype=np.float16), Numbers(fps=5).extractor()
    video = EncodedVideo(rows=rows, duration_sec=1.5, extractor=kind, defects="cut \u2620")
    path = tmp_path / "video.npz"
    video.save(path)
    loaded = EncodedVideo.load(path)
    np.testing.assert_array_equal(loaded.rows, video.rows)
    assert replace(loaded, rows=video.rows) == video
    whole = path.read_bytes()
    np.savez(tmp_path / "other.npz", rows=np.eye(2))
    np.savez(tmp_path / "pickled.npz", rows=np.array([{}], object), about=np.array("{}"))
    path.write_bytes(whole[:-100])
    for name in ("video.npz", "other.npz", "pickled.npz", "absent.npz"):
        with pytest.raises(DataError, match=rf"{name} is not an encoded video, or damaged \(.+\); encode the video"):
            EncodedVideo.load(tmp_path / name)
    with pytest.raises(DataError, match="cannot be written"):
        video.save(tmp_path / "absent" / "video.npz")
