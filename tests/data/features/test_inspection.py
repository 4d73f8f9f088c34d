"""Oracle: a corpus whose defects were planted and counted by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from corpora import moment, write_jsonl
from cpnet.data.annotations import Annotations
from cpnet.data.cleaning import CleaningReport
from cpnet.data.features import FeatureSource, PackedFeatures, open_features
from cpnet.data.features.inspection import Coverage, Inspection, inspect
from cpnet.data.features.pack import pack
from cpnet.data.features.statistics import VideoStatistics
from cpnet.data.moment import Moment
from cpnet.data.readers import read_jsonl

Arrays = dict[str, NDArray[Any]]
Writer = Callable[[Path, Arrays], Path]

WIDTH, ROWS, SECONDS = 16, 20, 10.0
OFFSET = 5 * np.random.default_rng(99).standard_normal(WIDTH)  # that all videos have in common


def scene(number: int, rows: int = ROWS, width: int = WIDTH) -> NDArray[np.float32]:
    """A video that changes little from one row to the next, at any rate."""
    knots = np.random.default_rng(number).standard_normal((6, width))
    times = (np.arange(rows) + 0.5) / rows * 5
    columns = [np.interp(times, np.arange(6), column) for column in knots.T]
    return (np.stack(columns, axis=1) + OFFSET[:1] + np.resize(OFFSET, width)).astype(np.float32)


def planted() -> Arrays:
    """Features with one defect of each kind; t00, t11, v00, e02 and s30-d52 have none."""
    videos: Arrays = {f"t{number:02}": scene(number) for number in range(12)}
    videos |= {"v00": scene(20), "e01": scene(10, rows=22), "e02": scene(22), "s30-d52": scene(30), "extra": scene(40)}
    videos["e01"] += 0.01 * np.random.default_rng(1).standard_normal((22, WIDTH)).astype(np.float32)
    videos["t01"][[0, 7, 19], [0, 1, 2]] = math.nan
    videos["t02"][3, 4] = math.inf
    videos["t03"][[0, 2, 4, 6]] = 0
    videos["t04"][[5, 9]] = [[1.5], [2.5]]
    videos["t05"][5:8] = videos["t05"][4]
    videos["t06"] = scene(6, rows=1)
    videos["t07"] = scene(7, width=24)
    videos["t08"] = np.ones((ROWS, WIDTH), np.int32)
    videos["t09"] = scene(9, rows=60)
    return videos


def moments() -> dict[str, list[Moment]]:
    """Two pairs of each training video, one of each other; a span past its video and two that are none."""
    train = [
        moment(f"train-{number}-{half}", f"t{number:02}", (half, 5.0), duration_sec=0.5 if number == 6 else SECONDS)
        for number in range(12)
        for half in (0, 1)
        if (number, half) != (6, 1)
    ]
    train += [moment("train-kitchen", "s30-d52.avi", (0.0, 4.0)), moment("train-reversed", "t00", (8.0, 2.0))]
    test = [
        moment("test-0", "gone.avi", (0.0, 4.0)),
        moment("test-1", "gone", (1.0, 4.0)),
        moment("test-2", "e01", (0.0, 12.5)),
        moment("test-3", "e02", (0.0, 5.0)),
        moment("test-4", "s30-d52-cam-002", (2.0, 5.0)),
        moment("test-5", "e02", (5.0, 5.0)),
    ]
    return {"train": train, "val": [moment("val-0", "v00", (0.0, 9.0))], "test": test}


def read(folder: Path, splits: Mapping[str, Sequence[Moment]]) -> tuple[dict[str, list[Moment]], list[CleaningReport]]:
    for split, each in splits.items():
        write_jsonl(folder / f"{split}.jsonl", each)
    files = {split: {"annotations": str(folder / f"{split}.jsonl")} for split in splits}
    return Annotations(reader=read_jsonl, splits=files, validation="file", on_defect="drop").read()


def write_flat(folder: Path, arrays: Arrays) -> Path:
    with h5py.File(folder / "pack.hdf5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return folder / "pack.hdf5"


def write_group(folder: Path, arrays: Arrays) -> Path:
    return write_flat(folder, {f"{name}/c3d_features": array for name, array in arrays.items()})


def write_files(folder: Path, arrays: Arrays, *, suffix: str) -> Path:
    (folder / "pack").mkdir()
    for name, array in arrays.items():
        path = folder / "pack" / f"{name}{suffix}"
        if suffix == ".npy":
            np.save(path, array)
        elif suffix == ".npz":
            np.savez(path, features=array)
        else:
            torch.save(torch.from_numpy(array), path)
    return folder / "pack"


WRITERS: dict[str, Writer] = {
    "hdf5_flat": write_flat,
    "hdf5_group": write_group,
    "npy": partial(write_files, suffix=".npy"),
    "npz": partial(write_files, suffix=".npz"),
    "pt": partial(write_files, suffix=".pt"),
}


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest) -> Writer:
    return WRITERS[request.param]


@pytest.fixture(params=WRITERS)
def defective(request: pytest.FixtureRequest, tmp_path: Path) -> Inspection:
    """What is found in the planted corpus, in one of the layouts."""
    return look(WRITERS[request.param](tmp_path, planted()), tmp_path)


def look(
    path: Path, folder: Path, splits: Mapping[str, Sequence[Moment]] | None = None, dim: int = WIDTH
) -> Inspection:
    read_splits, reports = read(folder, moments() if splits is None else splits)
    return inspect(open_features(path=path), read_splits, dataset="tiny", dim=dim, annotations=reports)


def look_at(source: FeatureSource, splits: Mapping[str, Sequence[Moment]], dim: int = WIDTH) -> Inspection:
    return inspect(source, splits, dataset="tiny", dim=dim)


def one_each(**videos: Iterable[str]) -> dict[str, list[Moment]]:
    """A pair of each video."""
    return {split: [moment(name, name, (0.0, 5.0)) for name in names] for split, names in videos.items()}


def plain(videos: Mapping[str, VideoStatistics]) -> dict[str, dict[str, Any]]:
    """Statistics that can be compared."""
    return {name: asdict(video) | {"signature": video.signature.tolist()} for name, video in videos.items()}


def test_rows_are_counted(defective: Inspection) -> None:
    assert defective.named("not_finite") == {"t01": 3, "t02": 1}
    assert defective.named("zero") == {"t03": 4}
    assert defective.named("constant") == {"t04": 2}
    assert defective.named("repeated") == {"t05": 3}
    assert defective.short() == {"t06": 1}


def test_videos_are_listed_with_their_rows_widths_and_types(defective: Inspection) -> None:
    readable = {name: array for name, array in planted().items() if name != "t08"}
    assert {name: (v.rows, v.dim, v.dtype) for name, v in defective.videos.items()} == {
        name: (*array.shape, "float32") for name, array in readable.items()
    }
    assert defective.widths() == {16: 15, 24: 1}
    assert defective.dtypes() == {"float32": 16}
    assert list(defective.unreadable) == ["t08"]
    assert "features of 't08' are int32, not floats" in defective.unreadable["t08"]


def test_values_and_norms_are_of_the_finite_rows(defective: Inspection) -> None:
    for name, array in planted().items():
        if name != "t08":
            good = array[np.isfinite(array).all(axis=1)].astype(np.float64)
            found = defective.videos[name]
            assert (found.least, found.most) == (good.min(), good.max())
            assert found.norm == pytest.approx(np.sqrt((good**2).sum(axis=1)).mean())


def test_rates_are_rows_by_annotated_seconds(defective: Inspection) -> None:
    usual = ["s30-d52", "e02", "v00", *(f"t{number:02}" for number in (*range(8), 10, 11))]
    assert defective.rates == pytest.approx(dict.fromkeys(usual, 2.0) | {"t09": 6.0, "e01": 2.2})
    assert defective.unusual() == {"t09": 6.0}


def test_coverage_is_of_videos_whatever_their_spelling_and_of_pairs(defective: Inspection) -> None:
    assert defective.coverage == {
        "train": Coverage(videos=13, pairs=24, missing_videos=(), missing_pairs=0),
        "val": Coverage(videos=1, pairs=1, missing_videos=(), missing_pairs=0),
        "test": Coverage(videos=4, pairs=5, missing_videos=("gone",), missing_pairs=2),
    }
    assert defective.surplus == ("extra",)


def test_videos_of_two_splits_are_found_by_id_and_by_their_rows(defective: Inspection) -> None:
    assert defective.shared == {"train and test": ("s30-d52",)}
    ((*where, cosine),) = defective.near_duplicates
    assert where == ["train", "t10", "test", "e01"]
    assert 0.99 < cosine < 1


def test_defects_of_the_annotations_are_handed_on(defective: Inspection) -> None:
    counted = {
        report.split: (report.read, report.kept, report.clipped_end, report.reversed, report.empty)
        for report in defective.annotations
    }
    # Of the training pairs, the only one of t06 ends 4.5 s past it.
    assert counted == {"train": (25, 24, 1, 1, 0), "val": (1, 1, 0, 0, 0), "test": (6, 5, 1, 0, 1)}


def test_a_pack_with_defective_shapes_has_no_fingerprint_and_is_like_none(defective: Inspection) -> None:
    assert (defective.fingerprint, defective.looks_like, defective.but) == (None, (), ())
    assert f"layout {defective.layout}" in defective.description
    assert "17 videos, 16 wide" in defective.description


def test_problems_are_what_training_would_stumble_on_and_what_to_do(defective: Inspection) -> None:
    assert defective.dim == WIDTH
    missing, unreadable, not_finite, wide, pairs = defective.problems()
    assert missing == (
        "1 of 4 videos of split test have no features, and 2 of 5 pairs need them: 'gone'; set dataset.features.path "
        "to a pack that has them all"
    )
    assert re.fullmatch(
        r"1 videos cannot be read: 't08'; the first: .*'t08' are int32, not floats; convert them to float32", unreadable
    )
    assert not_finite == "2 videos hold NaN or infinity, in 4 rows: 't01', 't02'; extract them again"
    assert wide == (
        "1 of 15 videos are 24 wide, not 16 as dataset.features.dim says: 't07'; take another pack, or extract them "
        "again, all with one model"
    )
    assert pairs == (
        "1 pairs of split test are reversed or empty: 'test-5'; correct them, or set dataset.on_defect=drop"
    )
    assert len(replace(defective, on_defect="drop").problems()) == 4


def test_videos_of_no_split_keep_nothing_from_being_trained(write: Writer, tmp_path: Path) -> None:
    videos: Arrays = {name: scene(number) for number, name in enumerate("abc")}
    videos["unused"] = np.full_like(videos["a"], np.nan)
    found = look_at(open_features(path=write(tmp_path, videos)), one_each(train="ab", test="c"))
    assert (found.surplus, list(found.named("not_finite"))) == (("unused",), ["unused"])
    assert found.problems() == []


def test_a_damaged_packed_store_is_not_taken_for_what_was_packed(tmp_path: Path) -> None:
    source = open_features(path=write_flat(tmp_path, {name: scene(number) for number, name in enumerate("abc")}))
    pack(source, tmp_path / "store", durations=dict.fromkeys("abc", 10.0))
    content = bytearray((tmp_path / "store").read_bytes())
    content[-2 * WIDTH - 1] ^= 1  # in the last row of c, in front of the row of zeros
    (tmp_path / "store").write_bytes(content)
    found = look_at(open_features(path=tmp_path / "store"), one_each(train="ab", test="c"))
    assert list(found.unreadable) == ["c"]
    assert "the rows of 'c' are damaged; pack the features again" in found.problems()[0]


def test_a_clean_corpus_has_no_problem(write: Writer, tmp_path: Path) -> None:
    videos: Arrays = {name: scene(number) for number, name in enumerate(("a", "b", "c", "d", "e", "f"))}
    splits = one_each(train="abcd", val="e", test="f")
    found = look(write(tmp_path, videos), tmp_path, splits)
    assert found.problems() == []
    for attribute in ("not_finite", "zero", "constant", "repeated"):
        assert found.named(attribute) == {}
    assert (found.short(), found.unusual(), found.unreadable, found.surplus) == ({}, {}, {}, ())
    assert (found.shared, found.near_duplicates) == ({}, ())
    assert [report.dropped for report in found.annotations] == [(), (), ()]
    assert {split: (each.videos, each.missing_pairs) for split, each in found.coverage.items()} == {
        "train": (4, 0),
        "val": (1, 0),
        "test": (1, 0),
    }


def test_a_pack_of_another_width_says_which_key_to_set(tmp_path: Path) -> None:
    splits = one_each(train="ab", test="c")
    path = write_flat(tmp_path, {name: scene(number) for number, name in enumerate("abc")})
    assert look_at(open_features(path=path), splits, dim=500).problems() == [
        "3 of 3 videos are 16 wide, not 500 as dataset.features.dim says: 'a', 'b', 'c'; take another pack, or set "
        "dataset.features.dim=16"
    ]


def test_a_truncated_file_is_one_unreadable_video(tmp_path: Path) -> None:
    path = write_files(tmp_path, {name: scene(number) for number, name in enumerate("abc")}, suffix=".npy")
    whole = (path / "b.npy").read_bytes()
    (path / "b.npy").write_bytes(whole[:-100])
    found = look_at(open_features(path=path), one_each(train="ab", test="c"))
    assert list(found.unreadable) == ["b"]
    assert "b.npy cannot be read" in found.problems()[0]
    assert found.coverage["train"].missing_videos == ()
    assert list(found.videos) == ["a", "c"]


def readable() -> Arrays:
    """The planted features without those whose shape or type is wrong."""
    return {name: array for name, array in planted().items() if name not in ("t07", "t08")}


def test_statistics_and_fingerprint_do_not_hang_on_the_layout(tmp_path: Path) -> None:
    splits, _ = read(tmp_path, moments())
    found = []
    for layout, writer in WRITERS.items():
        (tmp_path / layout).mkdir()
        found.append(look_at(open_features(path=writer(tmp_path / layout, readable())), splits))
        assert found[-1].layout == layout
    for other in found[1:]:
        assert plain(other.videos) == plain(found[0].videos)
        assert other.fingerprint == found[0].fingerprint is not None
        for attribute in ("rates", "coverage", "surplus", "shared", "near_duplicates"):
            assert getattr(other, attribute) == getattr(found[0], attribute)


@pytest.mark.parametrize("change", ["value", "row", "id"])
def test_another_pack_has_another_fingerprint(change: str, tmp_path: Path) -> None:
    videos = readable()
    path = write_flat(tmp_path, videos)
    before = look(path, tmp_path).fingerprint
    if change == "value":
        videos["v00"][-1, 0] += 1
    elif change == "row":
        videos["v00"] = videos["v00"][:-1]
    else:
        videos["v01"] = videos.pop("v00")
    assert look(write_flat(tmp_path, videos), tmp_path).fingerprint != before


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_packed_store_is_inspected_as_its_source(dtype: Any, tmp_path: Path) -> None:
    videos = {name: array for name, array in readable().items() if np.isfinite(array).all()}
    splits = one_each(train=[name for name in videos if name[0] in "ts"], test=("e01", "e02"))
    source = open_features(path=write_group(tmp_path, videos))
    durations = {each.video: SECONDS for split in splits.values() for each in split}
    pack(source, tmp_path / "store", durations=durations, dtype=dtype)
    found, of_source = look_at(open_features(path=tmp_path / "store"), splits), look_at(source, splits)
    assert isinstance(open_features(path=tmp_path / "store"), PackedFeatures)
    assert found.fingerprint == of_source.fingerprint is not None
    assert (found.layout, found.dtypes()) == ("packed", {dtype: len(durations)})
    assert (of_source.surplus, found.surplus) == (("extra", "v00"), ())
    for attribute in ("rates", "coverage", "shared"):
        assert getattr(found, attribute) == {
            name: value for name, value in getattr(of_source, attribute).items() if name != "extra"
        }
    for attribute in ("zero", "constant", "repeated"):
        assert found.named(attribute) == of_source.named(attribute)
    assert [pair[:4] for pair in found.near_duplicates] == [("train", "t10", "test", "e01")]
    if dtype == "float32":
        expected = plain(of_source.videos)
        assert plain(found.videos) == {name: expected[name] for name in durations}


@pytest.mark.parametrize("spoilt", [None, 6e4, 1e30, 3e38])
def test_videos_that_have_much_in_common_are_no_duplicates(spoilt: float | None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    common = 50 * rng.standard_normal(32)
    lengths = rng.integers(1, 30, 300)
    videos: Arrays = {
        f"{number:03}": (common + rng.standard_normal((length, 32))).astype(np.float32)
        for number, length in enumerate(lengths)
    }
    if spoilt:
        videos["007"][:] = spoilt
    names = [*videos]
    splits = one_each(train=names[:150], val=names[150:200], test=names[200:])
    source = open_features(path=write_flat(tmp_path, videos))
    assert look_at(source, splits, dim=32).near_duplicates == ()
    source.close()
    # Three that are, between each two of the splits, whatever else there is.
    for old, new in (("010", "160"), ("011", "250"), ("161", "251")):
        videos[new] = np.repeat(videos[old], 3, axis=0)
    found = look_at(open_features(path=write_flat(tmp_path, videos)), splits, dim=32).near_duplicates
    assert [pair[:4] for pair in found] == [
        ("train", "010", "val", "160"),
        ("train", "011", "test", "250"),
        ("val", "161", "test", "251"),
    ]


def test_copies_within_a_split_and_the_same_video_in_two_are_no_near_duplicates(tmp_path: Path) -> None:
    videos: Arrays = {name: scene(number) for number, name in enumerate("abcdef")}
    videos["b"] = videos["a"]
    found = look_at(open_features(path=write_flat(tmp_path, videos)), one_each(train="abc", test="cdef"))
    assert found.near_duplicates == ()
    assert found.shared == {"train and test": ("c",)}


def test_a_published_pack_is_recognised_by_what_is_on_disk(tmp_path: Path) -> None:
    videos: Arrays = {name: np.ones((37, 500), np.float32) for name in ("v_aaaaaaaaaaa", "v_bbbbbbbbbbb")}
    source = open_features(path=write_group(tmp_path, videos))
    splits = one_each(train=["v_aaaaaaaaaaa"], test=["v_bbbbbbbbbbb"])
    found = inspect(source, splits, dataset="activitynet_captions", dim=500)
    (name,) = found.looks_like
    assert "sub_activitynet_v1-3.c3d.hdf5" in name
    assert inspect(source, splits, dataset="tacos", dim=500).looks_like == ()


def test_a_pack_with_one_odd_video_is_recognised_by_the_others(tmp_path: Path) -> None:
    names = ["v_aaaaaaaaaaa", "v_bbbbbbbbbbb", "v_ccccccccccc"]
    videos: Arrays = {name: np.ones((37, 499 if name == names[0] else 500), np.float32) for name in names}
    source = open_features(path=write_group(tmp_path, videos))
    found = inspect(source, one_each(train=names), dataset="activitynet_captions", dim=500)
    assert len(found.looks_like) == 1


def test_two_streams_are_recognised_together(tmp_path: Path) -> None:
    for stream, rows in (("rgb", 60), ("flow", 59)):
        (tmp_path / stream).mkdir()
        for name in ("AAAAA", "BBBBB"):
            np.save(tmp_path / stream / f"{name}.npy", np.ones((rows, 1024), np.float32))
    source = open_features(path=tmp_path / "rgb", concat=[{"path": tmp_path / "flow"}])
    found = inspect(source, one_each(train=["AAAAA"], test=["BBBBB"]), dataset="charades_sta", dim=2048)
    assert [name for name in found.looks_like if "kinetics/rgb + kinetics/flow" in name]
    assert (found.widths(), found.rates, found.problems()) == ({2048: 2}, {"AAAAA": 5.9, "BBBBB": 5.9}, [])


def test_nothing_is_written_and_progress_is_told(tmp_path: Path) -> None:
    path = write_files(tmp_path, planted(), suffix=".npy")
    splits, _ = read(tmp_path, moments())
    told: list[tuple[list[str], str]] = []

    def tell(names: Sequence[str], what: str) -> Iterable[str]:
        told.append(([*names], what))
        return names

    def listing() -> list[tuple[str, int, int]]:
        return sorted((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in tmp_path.rglob("*"))

    before = listing()
    inspect(open_features(path=path), splits, dataset="tiny", dim=WIDTH, progress=tell)
    assert listing() == before
    assert told == [(sorted(planted()), "inspecting")]
