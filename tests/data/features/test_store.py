"""Which is read, a pack or its packed store; the oracle is the rows of the one that must serve."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpnet.data.features import FeatureSource, PackedFeatures, open_features, open_store, opening
from cpnet.data.features.fingerprint import fingerprint
from cpnet.data.features.pack import pack
from cpnet.data.files import default_store
from cpnet.data.moment import DataError
from packs import ROW_WRITERS, Arrays, random, write_flat, write_npy, write_windows

# Small whole numbers, which a store of 16 bits holds exactly.
ARRAYS: Arrays = {
    name: np.arange(4 * length, dtype="f4").reshape(length, 4) for name, length in zip("abc", (3, 5, 2), strict=True)
}


@pytest.fixture
def pack_path(tmp_path: Path) -> Path:
    (tmp_path / "features").mkdir()
    return write_npy(tmp_path / "features", ARRAYS)


def make_store(features: Mapping[str, Any], videos: Iterable[str] = "abc") -> Path:
    store = default_store(features)
    pack(open_features(**features), store, durations=dict.fromkeys(videos, 10.0))
    return store


def opened(features: Mapping[str, Any], videos: str = "abc") -> FeatureSource:
    return open_store(default_store(features), videos=videos, features=features)


def check_store_serves(features: Mapping[str, Any], caplog: pytest.LogCaptureFixture, videos: str = "abc") -> None:
    source = opened(features, videos)
    assert isinstance(source, PackedFeatures)
    assert source.path == default_store(features)
    for name in videos:
        np.testing.assert_array_equal(source.rows(name), ARRAYS[name])
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def check_pack_serves(
    features: Mapping[str, Any], caplog: pytest.LogCaptureFixture, *said: str, videos: str = "abc"
) -> FeatureSource:
    source = opened(features, videos)
    assert not isinstance(source, PackedFeatures)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    for part in ("does not serve", str(source.path), str(default_store(features)), *said):
        assert part in record.message
    return source


def test_without_a_store_the_pack_serves(pack_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = opened({"path": pack_path, "dim": 4})
    assert source.layout == "npy"
    assert not caplog.records


def test_the_store_lies_beside_its_pack() -> None:
    assert default_store({"path": "data/rgb/"}) == Path("data/rgb.packed")
    assert default_store({"path": "~/i3d.hdf5"}) == Path.home() / "i3d.hdf5.packed"


@pytest.mark.parametrize("layout", ROW_WRITERS)
def test_a_store_of_the_same_files_serves_unread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    (tmp_path / "pack").mkdir()
    features = {"path": ROW_WRITERS[layout](tmp_path / "pack", ARRAYS), "dim": 4}
    make_store(features)
    monkeypatch.setattr(opening, "fingerprint", lambda source: pytest.fail("the pack was read though its stamp fits"))
    check_store_serves(features, caplog)


def test_a_pack_that_was_only_touched_or_copied_keeps_its_store(
    pack_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    features = {"path": pack_path, "dim": 4}
    make_store(features)
    os.utime(pack_path / "b.npy", (1, 1))
    check_store_serves(features, caplog)
    for name in "abc":
        (pack_path / f"{name}.npy").unlink()
    ROW_WRITERS["npz"](pack_path, ARRAYS)  # another layout of the same values
    check_store_serves(features, caplog)


@pytest.mark.parametrize(
    "change",
    [
        {"b": ARRAYS["b"] + 1},
        {"b": ARRAYS["b"][:-1]},
        {"d": random(2, 4)},
        {name: array[:, :3] for name, array in ARRAYS.items()},
    ],
    ids=["values", "length", "video", "width"],
)
def test_a_changed_pack_serves_instead(
    pack_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    features = {"path": pack_path}
    make_store(features)
    write_npy(pack_path, change)
    source = check_pack_serves(features, caplog, "was packed from other features", "layout npy, 3 videos, 4 wide")
    for name, array in {**ARRAYS, **change}.items():
        np.testing.assert_array_equal(source.rows(name), array)


def test_a_store_read_in_another_way_does_not_serve(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "windows").mkdir()
    features = {"path": write_windows(tmp_path / "windows", ARRAYS)}
    store = make_store(features)
    source = open_store(store, videos=ARRAYS, features={**features, "normalise": True})
    assert "was packed from other features" in caplog.text
    np.testing.assert_allclose(np.linalg.norm(source.rows("b"), axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "change", [{"normalise": True}, {"window": 128}, {"key": "c3d"}, {"concat": [{"path": "flow"}]}], ids=str
)
def test_each_way_to_read_a_pack_has_a_store_of_its_own(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "pack").mkdir()
    path = write_npy(tmp_path / "pack", ARRAYS)
    features: dict[str, Any] = {"path": path, "key": None, "window": 64, "normalise": False, "concat": []}
    make_store(features)
    other = default_store({**features, **change})
    assert other != default_store(features) == path.with_name(f"{path.name}.packed")
    assert other.name.startswith(f"{path.name}.")
    assert other.name.endswith(".packed")
    assert other == default_store({"path": path, **change})
    for file in path.glob("*.npy"):
        file.unlink()
    path.rmdir()
    assert open_store(default_store(features), videos=ARRAYS, features=features).layout == "packed"
    with pytest.raises(DataError, match="there is no feature pack at"):  # and not the rows read in another way
        open_store(other, videos=ARRAYS, features={**features, **change})


def test_one_changed_video_of_many_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arrays = {f"v{number:03}": np.full((5, 4), number, "f4") for number in range(200)}
    (tmp_path / "pack").mkdir()
    features: dict[str, Any] = {"path": write_npy(tmp_path / "pack", arrays)}
    make_store(features, videos=arrays)
    changed = np.full((5, 4), 7, "f4")
    write_npy(features["path"], {"v001": changed})  # none of those that the fingerprint samples
    assert fingerprint(open_features(**features)) == PackedFeatures(path=default_store(features)).fingerprint
    source = open_store(default_store(features), videos=arrays, features=features)
    assert "has other rows of 1 videos ('v001'); pack again" in caplog.text
    np.testing.assert_array_equal(source.rows("v001"), changed)


def test_a_copied_pack_is_compared_row_by_row_and_its_store_serves(
    pack_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    features = {"path": pack_path}
    make_store(features)
    for file in features["path"].glob("*.npy"):
        os.utime(file, (1, 1))
    assert open_store(default_store(features), videos=ARRAYS, features=features).layout == "packed"
    assert "is not as it was when it was packed; comparing all rows" in caplog.text


def test_a_store_that_lacks_videos_does_not_serve(pack_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    features = {"path": pack_path}
    make_store(features, videos="ac")
    check_store_serves(features, caplog, videos="ca")
    source = check_pack_serves(features, caplog, "lacks 1 videos ('b'); pack again")
    np.testing.assert_array_equal(source.rows("b"), ARRAYS["b"])


@pytest.mark.parametrize("damage", ["empty", "text", "half", "folder", "other"])
def test_a_store_that_is_none_does_not_serve(
    tmp_path: Path, pack_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    features = {"path": pack_path}
    store = make_store(features)
    content = {"empty": b"", "text": b"hello", "half": store.read_bytes()[: store.stat().st_size // 2]}
    store.unlink()
    if damage == "folder":
        store.mkdir()
    elif damage == "other":
        write_flat(tmp_path, ARRAYS).rename(store)
    else:
        store.write_bytes(content[damage])
    source = check_pack_serves(features, caplog)
    np.testing.assert_array_equal(source.rows("b"), ARRAYS["b"])


def test_a_pack_that_cannot_be_read_whole_does_not_hide_behind_its_store(
    pack_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    features = {"path": pack_path}
    make_store(features)
    (pack_path / "b.npy").write_bytes(b"hello")
    source = check_pack_serves(features, caplog, "b.npy cannot be read")
    np.testing.assert_array_equal(source.rows("a"), ARRAYS["a"])


def test_where_the_pack_is_gone_its_store_serves(pack_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    features = {"path": pack_path, "dim": 4}
    store = make_store(features)
    pack_path.rename(pack_path.with_name("elsewhere"))
    with caplog.at_level(logging.INFO):
        check_store_serves(features, caplog)
    assert f"{pack_path} is gone; its packed store serves" in caplog.text
    with pytest.raises(DataError, match=r"4 wide, not 5"):
        opened({**features, "dim": 5})
    store.write_bytes(b"hello")
    with pytest.raises(DataError, match=r"features\.packed"):
        opened(features)
    store.unlink()
    with pytest.raises(DataError, match=r"no feature pack at .*features; set dataset\.features\.path"):
        opened(features)


def test_a_store_of_several_sources(tmp_path: Path, pack_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "flow").mkdir()
    flow = write_npy(tmp_path / "flow", {name: array[:, :2] for name, array in ARRAYS.items()})
    features = {"path": pack_path, "concat": [{"path": flow}], "dim": 6}
    make_store(features)
    source = opened(features)
    assert isinstance(source, PackedFeatures)
    np.testing.assert_array_equal(source.rows("b"), np.hstack([ARRAYS["b"], ARRAYS["b"][:, :2]]))
    write_npy(flow, {"a": ARRAYS["a"][:, 2:]})
    changed = check_pack_serves(features, caplog, "other features")
    np.testing.assert_array_equal(changed.rows("a"), np.hstack([ARRAYS["a"], ARRAYS["a"][:, 2:]]))
    flow.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"no feature pack at .*flow"):
        opened(features)
    pack_path.rename(tmp_path / "elsewhere too")
    assert isinstance(opened(features), PackedFeatures)


def test_a_store_may_be_opened_as_the_pack(pack_path: Path) -> None:
    store = make_store({"path": pack_path})
    for path in (store, str(store)):
        source = open_store(store, videos="abc", features={"path": path, "dim": 4})
        assert isinstance(source, PackedFeatures)
        np.testing.assert_array_equal(source.rows("c"), ARRAYS["c"])
