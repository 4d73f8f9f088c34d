"""Columns of several sources side by side; the oracle is numpy on the arrays that were written."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from cpnet.data.features import FeatureSource, open_features
from cpnet.errors import DataError
from packs import ROW_WRITERS, Arrays, random, write_npy, write_npz


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    """Divide each row by its norm, in 64 bits; a row of zeros stays."""
    rows = rows.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units: NDArray[Any] = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return units


def join(folder: Path, *packs: Arrays, normalise: tuple[bool, ...] = (), dim: int | None = None) -> FeatureSource:
    """Write several packs as ``.npy``, and open them as one source."""
    sources = []
    for number, arrays in enumerate(packs):
        (folder / f"part{number}").mkdir()
        path = write_npy(folder / f"part{number}", arrays)
        sources.append({"path": path, "normalise": bool(normalise) and normalise[number]})
    return open_features(**sources[0], concat=sources[1:], dim=dim)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_columns_are_joined_in_their_type(tmp_path: Path, dtype: str) -> None:
    rgb, flow = ({name: random(rows, dim, dtype=dtype) for name, rows in {"a": 5, "b": 2}.items()} for dim in (4, 3))
    source = join(tmp_path, rgb, flow, dim=7)
    assert (source.dim, len(source), list(source.ids())) == (7, 2, ["a", "b"])
    for name in "ab":
        np.testing.assert_array_equal(source.rows(name), np.hstack([rgb[name], flow[name]]))
        np.testing.assert_array_equal(source.stored(name), np.hstack([rgb[name], flow[name]]))
        assert (source.length(name), str(source.rows(name).dtype)) == (len(rgb[name]), dtype)


@pytest.mark.parametrize("first", ROW_WRITERS)
def test_layouts_can_be_mixed_and_are_described(tmp_path: Path, first: str) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "slowfast").mkdir()
    one, two = {"s30-d52.avi": random(5, 4)}, {"s30-d52": random(5, 3)}
    source = open_features(
        path=ROW_WRITERS[first](tmp_path / "slowfast", one),
        normalise=True,
        concat=[{"path": write_npz(tmp_path / "clip", two), "key": "features", "layout": "npz"}],
    )
    assert source.layout == f"{first}, normalised + npz"
    expected = np.hstack([unit(one["s30-d52.avi"]), two["s30-d52"]])
    np.testing.assert_allclose(source.rows("s30-d52-cam-002"), expected, rtol=1e-6)
    for part in (str(tmp_path / "clip"), str(tmp_path / "slowfast"), f"layout {first}, normalised + npz", "7 wide"):
        assert part in source.describe()


@pytest.mark.parametrize(("lengths", "count"), [((5, 4), 4), ((4, 5), 4), ((5, 5), 5), ((5, 4, 5), 4), ((2, 1, 1), 1)])
def test_one_more_row_is_cut(tmp_path: Path, lengths: tuple[int, ...], count: int) -> None:
    arrays = [random(length, 3 + number) for number, length in enumerate(lengths)]
    source = join(tmp_path, *({"a": array} for array in arrays))
    assert source.length("a") == count
    np.testing.assert_array_equal(source.rows("a"), np.hstack([array[:count] for array in arrays]))


@pytest.mark.parametrize("lengths", [(5, 3), (3, 5), (5, 4, 3), (1, 9)])
def test_two_more_rows_are_refused(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    packs = [{"a": random(2, 3), "late": random(length, 3)} for length in lengths]
    source = join(tmp_path, *packs)
    counts = " and ".join(map(str, lengths))
    for read in (source.rows, source.length, source.stored):
        with pytest.raises(DataError, match=rf"part0 \+ .*: {counts} rows for 'late'; .*sources of one frame rate"):
            read("late")
    assert source.length("a") == 2


def test_video_of_one_source_only_is_missing(tmp_path: Path) -> None:
    both = {"a": random(2, 3), "b": random(2, 3)}
    source = join(tmp_path, both, {"b": random(2, 3), "c": random(2, 3)}, {**both, "c": random(2, 3)})
    assert list(source.ids()) == ["b"]
    assert source.missing(["a", "b", "c"]) == ["a", "c"]
    with pytest.raises(DataError, match="no features of video 'a'"):
        source.rows("a")


def test_sources_without_a_common_video_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"part0 \+ .*part1: no video is in all sources; check that all belong to one"):
        join(tmp_path, {"a": random(2, 3)}, {"b": random(2, 3)})


@pytest.mark.parametrize("normalise", [(True, True), (True, False), (False, True)])
def test_each_source_is_normalised_or_not(tmp_path: Path, normalise: tuple[bool, bool]) -> None:
    packs = [random(6, 4), random(6, 3, dtype="float16")]
    packs[0][2] = 0
    packs[1][3] = 0
    source = join(tmp_path, *({"a": array} for array in packs), normalise=normalise)
    expected = np.hstack([unit(array) if on else array for array, on in zip(packs, normalise, strict=True)])
    rows = source.rows("a")
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    assert not rows[2, :4].any()


@given(hnp.arrays("f4", st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=st.floats(width=32, allow_nan=False)))
def test_normalised_rows_of_any_size_have_norm_one(rows: NDArray[Any]) -> None:
    rows = np.where(np.isfinite(rows), rows, np.float32(3e38))
    with TemporaryDirectory() as name:
        source = open_features(path=write_npy(Path(name), {"a": rows}), normalise=True)
        assert source.path == Path(name)
        np.testing.assert_allclose(source.rows("a"), unit(rows), rtol=1e-6, atol=1e-37)


def test_error_names_the_defective_source(tmp_path: Path) -> None:
    bad = random(2, 3)
    bad[1, 0] = np.nan
    source = join(tmp_path, {"a": random(2, 4), "b": random(2, 4)}, {"a": random(2, 3), "b": bad})
    with pytest.raises(DataError, match=r"part1: features of 'b' hold NaN or infinity in 1 of 2 rows"):
        source.rows("b")
    (tmp_path / "wide").mkdir()
    write_npy(tmp_path / "wide", {"a": random(2, 3), "b": random(2, 5)})
    joined = open_features(path=tmp_path / "part0", concat=[{"path": tmp_path / "wide"}])
    for read in (joined.rows, joined.length):
        with pytest.raises(DataError, match=r"wide: features of 'b' are 5 wide, not 3"):
            read("b")
