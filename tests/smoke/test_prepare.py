"""``python -m cpnet.prepare`` on a pack of twenty videos, with and without defects."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from commands import Ended, call, read_json
from cpnet.data.features import open_features

SYNTHETIC = ("dataset=synthetic", "dataset.generate.videos=20")
PACK, STORE = Path("data/synthetic/features.hdf5"), Path("data/synthetic/features.hdf5.packed")
# Of 20 videos the last 4 are for testing, with 3 pairs each.


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a generated corpus and its inspection in ``run``."""
    folder = tmp_path_factory.mktemp("whole")
    ended = call("prepare", *SYNTHETIC, "hydra.run.dir=run", folder=folder)
    assert ended.err == ""
    (folder / "printed.txt").write_text(ended.out, encoding="utf-8")
    return folder


@pytest.fixture
def place(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the corpus, to be damaged; no picture is drawn."""
    monkeypatch.setattr("cpnet.reporting.features.draw", lambda *_: None)
    shutil.copytree(whole / "data", tmp_path / "data")
    return tmp_path


def prepare(place: Path, *arguments: str, code: int = 0) -> Ended:
    ended = call("prepare", *SYNTHETIC, "hydra.run.dir=run", *arguments, folder=place, code=code)
    assert "Traceback" not in ended.out + ended.err
    return ended


def found(place: Path) -> Any:
    return read_json(place / "run/inspect.json")


def problems(ended: Ended) -> list[str]:
    return [line.removeprefix("problem: ") for line in ended.out.splitlines() if line.startswith("problem: ")]


def complaint(place: Path, *arguments: str) -> str:
    """Run a command that fails; return its error, in a line after Hydra's own."""
    ended = prepare(place, *arguments, code=1)
    line = ended.err.splitlines()[-1]
    assert line.startswith("cpnet: ")
    assert ended.err.count("cpnet: ") == 1
    return line.removeprefix("cpnet: ")


def spoil(place: Path, video: str, change: Callable[[NDArray[np.float32]], NDArray[np.float32] | None]) -> None:
    """Replace or remove a video's features, in a new file: h5py refuses to write a file that a reader has open."""
    arrays = stored(place / PACK)
    rows = change(arrays.pop(video))
    (place / PACK).unlink()
    with h5py.File(place / PACK, "w") as file:
        for name, array in (arrays if rows is None else arrays | {video: rows}).items():
            file[name] = array


def stored(path: Path) -> dict[str, NDArray[np.float32]]:
    with h5py.File(path, locking=False) as file:
        return {name: dataset[()] for name, dataset in file.items()}


def test_pack_is_described_on_the_terminal_in_a_file_and_in_a_picture(whole: Path) -> None:
    report = found(whole)
    assert (report["videos"], report["widths"], report["dtypes"]) == (20, {"64": 20}, {"float32": 20})
    assert report["rows"] == sum(map(len, stored(whole / PACK).values()))
    assert {split: (each["videos"], each["pairs"]) for split, each in report["coverage"].items()} == {
        "train": (14, 42),
        "val": (2, 6),
        "test": (4, 12),
    }
    assert report["rows_per_second"]["median"] == pytest.approx(2, abs=0.05)
    assert (report["problems"], report["surplus"]) == ([], [])
    printed = (whole / "printed.txt").read_text(encoding="utf-8")
    assert re.search(r"^coverage of test +4 of 4 videos, 12 of 12 pairs *$", printed, re.MULTILINE)
    assert re.search(rf"^fingerprint +{report['fingerprint']} *$", printed, re.MULTILINE)
    assert "no problem: " in printed
    assert f"outputs: {whole / 'run'}" in printed
    assert (whole / "run/inspect.png").read_bytes().startswith(b"\x89PNG")


def test_reversed_pair_of_the_test_split_is_a_problem(place: Path) -> None:
    path = place / "data/synthetic/charades_sta_test.txt"
    first, *others = path.read_text(encoding="utf-8").splitlines()
    head, _, query = first.partition("##")
    video, start, end = head.split()
    path.write_text("\n".join([f"{video} {end} {start}##{query}", *others]), encoding="utf-8")
    ended = prepare(place, code=1)
    assert "1 windows of split test are reversed or empty: " in ended.out
    report = {each["split"]: each for each in found(place)["annotations"]}["test"]
    assert (report["read"], report["kept"], report["reversed"]) == (12, 11, 1)
    assert "(1 reversed, 0 empty)" in ended.out
    assert "dataset.on_defect=drop" in complaint(place, "action=pack")
    prepare(place, "dataset.on_defect=drop")


@pytest.mark.parametrize(("dtype", "store"), [("float16", STORE), ("float32", Path("stores/all_bits"))])
def test_packed_store_holds_the_rows(place: Path, dtype: str, store: Path) -> None:
    elsewhere = (f"dtype={dtype}", f"dataset.features.packed={store}") if store != STORE else ()
    ended = prepare(place, "action=pack", *elsewhere)
    assert ended.err == ""
    assert f"packed into {store} (packed, {dtype}, 20 videos, 64 wide; " in ended.out
    assert (place / STORE).exists() == (store == STORE)
    source = open_features(path=place / store)
    for name, rows in stored(place / PACK).items():
        assert source.rows(name).dtype == dtype
        np.testing.assert_array_equal(source.rows(name), rows.astype(dtype))
    prepare(place, f"dataset.features.path={store}")
    assert (found(place)["layout"], found(place)["dtypes"]) == ("packed", {dtype: 20})


def test_defective_pack_is_not_packed(place: Path) -> None:
    spoil(place, "S0017", lambda rows: None)
    said = complaint(place, "action=pack")
    assert said.startswith("1 of 4 videos of split test have no features in data/synthetic/features.hdf5: 'S0017'")
    assert "set dataset.features.path to a pack" in said
    spoil(place, "S0003", lambda rows: np.full_like(rows, np.nan))
    (place / "data/synthetic/charades_sta_test.txt").write_text("S0016 1.0 5.0##A man opens a door.", encoding="utf-8")
    assert re.search(r"'S0003' hold NaN or infinity in \d+ of \d+ rows", complaint(place, "action=pack"))
    assert not list((place / "data/synthetic").glob("features.hdf5.*"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("action=foo", r"^action must be one of inspect, pack, surrogate, resplit, extract; got 'foo'"),
        ("action=resplit", r"^action=resplit needs by=length\|position; got by=None$"),
        ("dtype=int8", r"^dtype must be one of float16, float32; got 'int8'$"),
        ("dataset.features.path=nowhere.hdf5", r"no feature pack at nowhere\.hdf5; set dataset\.features\.path"),
    ],
)
def test_wrong_value_is_refused_in_one_line(override: str, said: str, whole: Path) -> None:
    assert re.search(said, complaint(whole, override, "hydra.run.dir=refused"))
    assert not list((whole / "refused").glob("inspect.*"))


@pytest.mark.parametrize("action", ["inspect", "pack"])
def test_missing_files_are_listed_without_word_vectors(action: str, tmp_path: Path) -> None:
    ended = call("prepare", "dataset=tacos", f"action={action}", folder=tmp_path, code=1)
    assert "4 of the 4 files that dataset=tacos needs are missing" in ended.err
    assert "data/tacos_org/tall_c3d_features.hdf5\n" in ended.err
    assert "glove" not in ended.err
