"""Which is read, a pack or its packed store, and when a store is written; the oracle is the rows of the right one."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpnet.data.features import FeaturePack, FeatureSource, PackedFeatures, feature_pack, open_features
from cpnet.data.features.pack import Precision, pack
from cpnet.errors import DataError
from cpnet.options import FeatureOptions, SourceOptions
from packs import ROW_WRITERS, Arrays, write_npy

# Small whole numbers, which float16 holds exactly.
ARRAYS: Arrays = {
    name: np.arange(4 * length, dtype="f4").reshape(length, 4) for name, length in zip("abc", (3, 5, 2), strict=True)
}
SIZE = 80  # bytes of the rows in float16


def features(path: Path, **options: Any) -> FeaturePack:
    return FeaturePack(options=FeatureOptions(path=str(path), **{"dim": 4, **options}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "features").mkdir()
    return write_npy(tmp_path / "features", ARRAYS)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every pack as a large one."""
    monkeypatch.setattr(feature_pack, "SMALL", 0)


def make_store(of: FeaturePack, videos: Iterable[str] = "abc", dtype: Precision = "float16") -> Path:
    pack(open_features(**of.arguments()), of.store_path(), videos=videos, dtype=dtype)
    return of.store_path()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def check(source: FeatureSource, arrays: Arrays, *, store: Path | None) -> None:
    """Check the rows of a source, and that it is the given packed store, or the pack."""
    assert isinstance(source, PackedFeatures) == (store is not None)
    assert store in (None, source.path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(source.rows(name), array)


@pytest.mark.parametrize("layout", ROW_WRITERS)
def test_current_store_is_read_without_reading_the_pack(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    (tmp_path / "pack").mkdir()
    of = features(ROW_WRITERS[layout](tmp_path / "pack", ARRAYS))
    store = make_store(of)
    for writer in (FeatureSource, feature_pack):
        monkeypatch.setattr(writer, "rows" if writer is FeatureSource else "pack", lambda *_, **__: pytest.fail("read"))
    source = of.open("bca")
    monkeypatch.undo()
    check(source, ARRAYS, store=store)
    assert not warnings(caplog)


@pytest.mark.parametrize("damage", [None, "cut", "index"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_outdated_or_damaged_store_is_replaced(
    path: Path, caplog: pytest.LogCaptureFixture, damage: str | None, dtype: Precision
) -> None:
    store = make_store(features(path), dtype=dtype)
    changed = {**ARRAYS, "b": ARRAYS["b"][:-1] + 1}
    write_npy(path, changed)
    if damage == "cut":
        os.truncate(store / "rows.npy", 100)
    elif damage == "index":
        (store / "index.json").write_text("{}")
    check(features(path, pack=False).open("abc"), changed, store=None)
    (message,) = warnings(caplog)
    assert message == f"features: reading {path}: the packed store is outdated or damaged; pack again"
    caplog.clear()
    source = features(path).open("abc")
    check(source, changed, store=store)
    assert source.rows("b").dtype == (np.float16 if damage else dtype)
    assert not warnings(caplog)


def test_store_without_all_videos_is_replaced_and_keeps_its_own(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = make_store(features(path), videos="ac", dtype="float32")
    check(features(path, pack=False).open("ca"), {}, store=store)
    check(features(path, pack=False).open("cb"), ARRAYS, store=None)
    assert len(warnings(caplog)) == 1
    check(features(path).open("cb"), ARRAYS, store=store)
    assert PackedFeatures(path=store).table.dtype == np.float32
    of = features(path)
    check(of.pack(open_features(**of.arguments()), "b", dtype="float16"), ARRAYS, store=store)
    write_npy(path, {"d": ARRAYS["a"]})  # the store is outdated
    features(path).open("xy", skip_missing=True)
    assert len(PackedFeatures(path=store)) == 3


@pytest.mark.parametrize(
    "change",
    [{"normalise": True}, {"window": 128}, {"key": "c3d"}, {"concat": [SourceOptions(path="flow")]}],
    ids=str,
)
def test_each_way_to_read_a_pack_has_its_own_store(path: Path, change: dict[str, Any]) -> None:
    store, other = make_store(features(path)), features(path, **change).store_path()
    assert other != store == path.with_name("features.packed")
    assert (other.name.startswith("features."), other.suffix) == (True, ".packed")
    shutil.rmtree(path)
    check(features(path).open("abc"), ARRAYS, store=store)
    with pytest.raises(DataError, match="no feature pack at"):  # and not the rows read in another way
        features(path, **change).open("abc")


def test_store_replaces_a_pack_that_is_gone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    store = make_store(features(path))
    path.rename(path.with_name("elsewhere"))
    check(features(path).open("abc"), ARRAYS, store=store)
    assert caplog.messages == [f"features: {path} does not exist; reading its packed store"]
    with pytest.raises(DataError, match=r"4 wide, not 5"):
        features(path, dim=5).open("abc")
    (store / "index.json").unlink()
    with pytest.raises(DataError, match=r"features\.packed is not a packed store"):
        features(path).open("abc")
    shutil.rmtree(store)
    with pytest.raises(DataError, match=r"no feature pack at .*features; set dataset\.features\.path"):
        features(path).open("abc")


def test_store_of_several_sources_is_trusted_if_all_are_gone(path: Path, tmp_path: Path) -> None:
    (tmp_path / "flow").mkdir()
    flow = write_npy(tmp_path / "flow", {name: array[:, :2] for name, array in ARRAYS.items()})
    of = features(path, concat=[SourceOptions(path=str(flow))], dim=6)
    joined = {name: np.hstack([array, array[:, :2]]) for name, array in ARRAYS.items()}
    store = make_store(of)
    check(of.open("abc"), joined, store=store)
    write_npy(flow, {"a": ARRAYS["a"][:, 2:]})
    check(of.open("abc"), {"a": np.hstack([ARRAYS["a"], ARRAYS["a"][:, 2:]])}, store=store)
    flow.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"no feature pack at .*flow"):
        of.open("abc")
    path.rename(tmp_path / "elsewhere too")
    check(of.open("abc"), {"b": joined["b"]}, store=store)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("packed", [True, False])
def test_store_can_be_opened_as_the_pack(path: Path, packed: bool) -> None:
    store = make_store(features(path))
    check(features(store, packed=str(store) if packed else None).open("abc"), ARRAYS, store=store)
    assert not store.with_name(f"{store.name}.packed").exists()


# Automatic packing


@pytest.mark.parametrize(("small", "packed"), [(SIZE, True), (SIZE + 1, False)])
def test_large_pack_is_packed_once(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, small: int, packed: bool
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(feature_pack, "SMALL", small)
    store = features(path).store_path()
    for _ in range(2):
        check(features(path).open("abc"), ARRAYS, store=store if packed else None)
    told = f"features: packing {path} into {store} (dataset.features.pack=false disables this)"
    assert caplog.messages == [told] * packed


@pytest.mark.usefixtures("large")
def test_pack_is_read_as_it_is_if_packing_is_forbidden_or_videos_are_missing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check(features(path, pack=False).open("abc"), ARRAYS, store=None)
    source = features(path).open("abcd")
    check(source, ARRAYS, store=None)
    assert source.missing("abcd") == ["d"]
    assert not features(path).store_path().exists()
    assert not warnings(caplog)


@pytest.mark.usefixtures("large")
def test_pack_that_cannot_be_packed_is_read_as_it_is(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = path / "a.npy" / "store"  # below a file
    check(features(path, packed=str(store)).open("abc"), ARRAYS, store=None)
    (message,) = warnings(caplog)
    assert message.startswith(f"features: reading {path} without packing it: cannot write the packed store {store} (")
