"""Oracle: a corpus with defects that were planted and counted by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from corpora import make_annotations, moment, write_jsonl
from cpnet.data.cleaning import CleaningReport
from cpnet.data.features import FeatureSource, open_features
from cpnet.data.features.inspection import Coverage, Inspection, inspect
from cpnet.data.features.pack import pack
from cpnet.data.moment import Moment
from cpnet.data.readers import read_jsonl
from packs import WRITERS, Arrays, write_flat, write_group, write_npy

WIDTH, ROWS, SECONDS = 16, 20, 10.0


def scene(number: int, rows: int = ROWS, width: int = WIDTH) -> NDArray[np.float32]:
    return np.random.default_rng(number).normal(5, size=(rows, width)).astype(np.float32)


def planted() -> Arrays:
    """Features with one defect of each kind; t00, t11, v00, e02 and s30-d52 have none."""
    videos: Arrays = {f"t{number:02}": scene(number) for number in range(12)}
    videos |= {"v00": scene(20), "e01": scene(10, rows=22), "e02": scene(22), "s30-d52": scene(30), "extra": scene(40)}
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
    return make_annotations(reader=read_jsonl, splits=files, validation="file", on_defect="drop").read()


@pytest.fixture(scope="module")
def defective(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    """The inspection of the planted corpus."""
    folder = tmp_path_factory.mktemp("planted")
    splits, reports = read(folder, moments())
    source = open_features(path=write_group(folder, planted()))
    return inspect(source, splits, dataset="tiny", dim=WIDTH, annotations=reports)


def look_at(source: FeatureSource, splits: Mapping[str, Sequence[Moment]], dim: int = WIDTH) -> Inspection:
    return inspect(source, splits, dataset="tiny", dim=dim)


def one_each(**videos: Iterable[str]) -> dict[str, list[Moment]]:
    """A pair of each video."""
    return {split: [moment(name, name, (0.0, 5.0)) for name in names] for split, names in videos.items()}


def test_rows_are_counted(defective: Inspection) -> None:
    assert defective.named("not_finite") == {"t01": 3, "t02": 1}
    assert defective.named("zero") == {"t03": 4}
    assert defective.named("constant") == {"t04": 2}
    assert defective.named("repeated") == {"t05": 3}
    assert defective.short() == {"t06": 1}


def test_videos_have_their_rows_widths_and_types(defective: Inspection) -> None:
    readable = {name: array for name, array in planted().items() if name != "t08"}
    assert {name: (v.rows, v.dim, v.dtype) for name, v in defective.videos.items()} == {
        name: (*array.shape, "float32") for name, array in readable.items()
    }
    assert defective.counts("dim") == {16: 15, 24: 1}
    assert defective.counts("dtype") == {"float32": 16}
    assert list(defective.unreadable) == ["t08"]
    assert "features of 't08' are int32, not floats" in defective.unreadable["t08"]


def test_rates_are_rows_per_annotated_second(defective: Inspection) -> None:
    usual = ["s30-d52", "e02", "v00", *(f"t{number:02}" for number in (*range(8), 10, 11))]
    assert defective.rates == pytest.approx(dict.fromkeys(usual, 2.0) | {"t09": 6.0, "e01": 2.2})
    assert defective.unusual() == {"t09": 6.0}


def test_coverage_counts_videos_in_any_spelling_and_pairs(defective: Inspection) -> None:
    assert defective.coverage == {
        "train": Coverage(videos=13, pairs=24, missing_videos=(), missing_pairs=0),
        "val": Coverage(videos=1, pairs=1, missing_videos=(), missing_pairs=0),
        "test": Coverage(videos=4, pairs=5, missing_videos=("gone",), missing_pairs=2),
    }
    assert defective.surplus == ("extra",)


def test_defects_of_the_annotations_and_videos_of_two_splits_are_kept(defective: Inspection) -> None:
    counted = {
        report.split: (report.read, report.kept, report.clipped_end, report.reversed, report.empty)
        for report in defective.annotations
    }
    # Of the training pairs, the only one of t06 ends 4.5 s past it.
    assert counted == {"train": (25, 24, 1, 1, 0), "val": (1, 1, 0, 0, 0), "test": (6, 5, 1, 0, 1)}
    assert defective.shared == {"train and test": ("s30-d52",)}


def test_pack_with_defective_shapes_has_no_fingerprint(defective: Inspection) -> None:
    assert (defective.fingerprint, defective.looks_like, defective.but) == (None, (), ())
    assert f"layout {defective.layout}" in defective.description
    assert "17 videos, 16 wide" in defective.description


def test_problems_describe_what_prevents_training_and_the_fix(defective: Inspection) -> None:
    assert defective.dim == WIDTH
    missing, unreadable, not_finite, wide, pairs = defective.problems()
    assert missing == (
        "1 of 4 videos of split test have no features, and 2 of 5 pairs need them: 'gone'; set dataset.features.path "
        "to a pack with all of them, or dataset.on_missing=drop to drop such pairs of train and val and to count those "
        "of test as missed"
    )
    assert re.fullmatch(
        r"1 videos cannot be read: 't08'; the first: .*'t08' are int32, not floats; convert them to float32", unreadable
    )
    assert not_finite == "2 videos hold NaN or infinity, in 4 rows: 't01', 't02'; extract them again"
    assert wide == (
        "1 of 15 videos are 24 wide, but dataset.features.dim=16: 't07'; use another pack, or extract them "
        "again, all with one model"
    )
    assert pairs == (
        "1 windows of split test are reversed or empty: 'test-5'; correct them, or set dataset.on_defect=drop"
    )
    assert replace(defective, on_defect="drop", on_missing="drop").problems() == [unreadable, not_finite, wide]


def test_videos_of_no_split_cause_no_problem(tmp_path: Path) -> None:
    videos: Arrays = {name: scene(number) for number, name in enumerate("abc")}
    videos["unused"] = np.full_like(videos["a"], np.nan)
    found = look_at(open_features(path=write_flat(tmp_path, videos)), one_each(train="ab", test="c"))
    assert (found.surplus, list(found.named("not_finite"))) == (("unused",), ["unused"])
    assert not any(found.named(attribute) for attribute in ("zero", "constant", "repeated"))
    assert (found.short(), found.unusual(), found.unreadable, found.shared) == ({}, {}, {}, {})
    assert found.problems() == []


def test_problem_of_another_width_names_the_key_to_set(tmp_path: Path) -> None:
    splits = one_each(train="ab", test="c")
    path = write_flat(tmp_path, {name: scene(number) for number, name in enumerate("abc")})
    assert look_at(open_features(path=path), splits, dim=500).problems() == [
        "3 of 3 videos are 16 wide, but dataset.features.dim=500: 'a', 'b', 'c'; set dataset.features.dim=16, or, if "
        "they are stored (V, N), dataset.features.transpose=true dataset.features.dim=20"
    ]


SECONDS_EACH = (10.0, 20.0, 30.0, 40.0)


def suspected(folder: Path, arrays: Iterable[NDArray[Any]], **how: Any) -> tuple[list[str], list[str]]:
    """Return problems and warnings of videos of 10, 20, 30 and 40 s."""
    videos = dict(zip("abcd", arrays, strict=True))
    splits = {"train": [moment(n, n, (0, 5), duration_sec=s) for n, s in zip(videos, SECONDS_EACH, strict=True)]}
    videos["unused"] = np.full_like(videos["a"], 1e30)
    found = look_at(open_features(path=write_npy(folder, videos), **how), splits)
    return found.problems(), found.warnings()


def cut(most: int, length: int = 0) -> list[NDArray[Any]]:
    """Return two rows a second, at most ``most``, and zeros up to ``length`` rows."""
    arrays = [scene(number, rows=int(2 * second))[:most] for number, second in enumerate(SECONDS_EACH)]
    return [np.pad(array, ((0, max(0, length - len(array))), (0, 0))) for array in arrays]


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (cut(80), []),
        (cut(70), []),  # one video may be as long as the longest by chance
        # Of 20 + 30 + 40 s, 3 * 15 s have rows.
        (
            cut(30),
            ["3 of 4 videos stop at exactly 30 rows, which leaves 50% of their durations without rows, at the 2"],
        ),
        # 4 * 10 of 100 s have rows, if a video of 10 s has 20.
        (cut(20), ["4 of 4 videos stop at exactly 20 rows, though they last 10 to 40 s; .* at least 60% .*transpose"]),
        # 60 + 40 + 20 of 3 * 80 rows
        (cut(80, 80), ["3 of 4 videos are padded with zero rows to 80 rows, 50% of their rows: 'a', 'b', 'c'; "]),
        # 40 + 3 * 30 of 4 * 60 rows
        (
            cut(30, 60),
            ["4 of 4 videos are padded .* to 60 rows, 54% of", "3 of 4 videos stop at exactly 30 rows, .*50%"],
        ),
        (cut(30, 30), ["4 of 4 videos stop at exactly 30 rows"]),  # one video ends in zero rows, as others may
        ([array * 3e4 for array in cut(80)], ["values of 4 of 4 videos reach .*normalise=true"]),
        ([array * (number != 2) for number, array in enumerate(cut(80))], ["1 of 4 videos are zeros alone: 'c'; extr"]),
    ],
)
def test_suspicious_lengths_and_values_are_warnings(
    arrays: list[NDArray[Any]], expected: list[str], tmp_path: Path
) -> None:
    problems, warnings = suspected(tmp_path, arrays)
    assert problems == []
    for warning, start in zip(warnings, expected, strict=True):
        assert re.match(start, warning)


def test_huge_values_are_a_problem_unless_normalised(tmp_path: Path) -> None:
    arrays = [array * 1e12 for array in cut(80)]
    (problem,), warnings = suspected(tmp_path, arrays)
    assert re.match(r"values of 4 of 4 videos reach .*e\+12, and beyond 1e\+09 predictions would be NaN: 'a'", problem)
    assert warnings == []
    assert suspected(tmp_path, arrays, normalise=True) == ([], [])


@pytest.mark.parametrize("same", [True, False])
def test_transposed_arrays_are_named(same: bool, tmp_path: Path) -> None:
    """Arrays of one length are named by the width that is expected, others by their constant number of rows too."""
    arrays = [array.T for array in (cut(20) if same else cut(80))]
    (problem,), warnings = suspected(tmp_path, arrays)
    wide = (
        "4 of 4 videos are 20 wide, " if same else "1 of 4 videos are 20 wide, 1 of 4 .* 40 wide, 1 of 4 .* 60 wide, "
    )
    swap = "dataset.features.transpose=true dataset.features.dim=16"
    assert re.match(f"{wide}but .*dim=16: 'a', .*; all have 16 rows, so they look .*: set {swap}$", problem)
    assert warnings == []
    assert suspected(tmp_path, arrays, transpose=True)[0] == []
    (problem,) = look_at(open_features(path=tmp_path), one_each(train="abcd"), dim=500).problems()
    assert problem.endswith(swap)


def readable() -> Arrays:
    """The planted features without those whose shape or type is wrong."""
    return {name: array for name, array in planted().items() if name not in ("t07", "t08")}


def test_findings_do_not_depend_on_the_layout(tmp_path: Path) -> None:
    found = []
    for layout, writer in WRITERS.items():
        (tmp_path / layout).mkdir()
        found.append(look_at(open_features(path=writer(tmp_path / layout, readable())), moments()))
        assert found[-1].layout == layout
    first = replace(found[0], description="", layout="")
    assert first.fingerprint is not None
    assert all(replace(other, description="", layout="") == first for other in found[1:])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_packed_store_is_inspected_like_its_source(dtype: Any, tmp_path: Path) -> None:
    videos = {name: array for name, array in readable().items() if np.isfinite(array).all()}
    splits = one_each(train=[name for name in videos if name[0] in "ts"], test=("e01", "e02"))
    source = open_features(path=write_group(tmp_path, videos))
    names = [each.video for split in splits.values() for each in split]
    pack(source, tmp_path / "store", videos=names, dtype=dtype)
    found, of_source = look_at(open_features(path=tmp_path / "store"), splits), look_at(source, splits)
    assert found.fingerprint == of_source.fingerprint is not None
    assert (found.layout, found.counts("dtype")) == ("packed", {dtype: len(names)})
    assert (of_source.surplus, found.surplus) == (("extra", "v00"), ())
    assert found.coverage == of_source.coverage
    for attribute in ("zero", "constant", "repeated"):
        assert found.named(attribute) == of_source.named(attribute)
    if dtype == "float32":
        assert found.videos == {name: of_source.videos[name] for name in names}


def test_published_pack_is_recognised(tmp_path: Path) -> None:
    rows = np.ones((37, 500), np.float32)
    source = open_features(path=write_flat(tmp_path, {f"v_{name * 11}/c3d_features": rows for name in "ab"}))
    splits = one_each(train=["v_aaaaaaaaaaa"], test=["v_bbbbbbbbbbb"])
    found = inspect(source, splits, dataset="activitynet_captions", dim=500)
    (name,) = found.looks_like
    assert "sub_activitynet_v1-3.c3d.hdf5" in name
    assert inspect(source, splits, dataset="tacos", dim=500).looks_like == ()
