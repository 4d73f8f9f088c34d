"""``python -m cpnet.prepare``: what it says of a pack of twenty videos, whole and spoilt, and what it packs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from commands import Ended, call, spawn
from cpnet.data.features import Hdf5Features, PackedFeatures, open_features, open_store

SYNTHETIC = ("dataset=synthetic", "dataset.generate.videos=20")
PACK, STORE = Path("data/synthetic/features.hdf5"), Path("data/synthetic/features.hdf5.packed")
# Of 20 videos the last 4 are for testing, with 3 pairs each.
TESTED = ("S0016", "S0017", "S0018", "S0019")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the doctor has looked at the whole corpus, which it wrote before; its own folder is ``run``."""
    folder = tmp_path_factory.mktemp("whole")
    ended = call("prepare", *SYNTHETIC, "hydra.run.dir=run", folder=folder)
    assert ended.code == 0, ended.out + ended.err
    (folder / "printed.txt").write_text(ended.out, encoding="utf-8")
    (folder / "complaints.txt").write_text(ended.err, encoding="utf-8")
    return folder


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    """A folder with a corpus of one's own, to be spoilt."""
    shutil.copytree(whole / "data", tmp_path / "data")
    return tmp_path


def prepare(place: Path, *arguments: str) -> Ended:
    ended = call("prepare", *SYNTHETIC, "hydra.run.dir=run", *arguments, folder=place)
    assert "Traceback" not in ended.out + ended.err
    return ended


def found(place: Path) -> Any:
    return json.loads((place / "run/inspect.json").read_text(encoding="utf-8"))


def problems(ended: Ended) -> list[str]:
    return [line.removeprefix("problem: ") for line in ended.out.splitlines() if line.startswith("problem: ")]


def complaint(ended: Ended) -> str:
    """What a failed command said, in a line after Hydra's own."""
    assert ended.code == 1
    line = ended.err.splitlines()[-1]
    assert line.startswith("cpnet: ")
    assert ended.err.count("cpnet: ") == 1
    return line.removeprefix("cpnet: ")


def spoil(place: Path, video: str, change: Callable[[NDArray[np.float32]], NDArray[np.float32] | None]) -> None:
    """Put something else in the place of a video's features, or nothing."""
    with h5py.File(place / PACK, "a") as file:
        rows = change(file[video][()])
        del file[video]
        if rows is not None:
            file[video] = rows


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(f): (f.stat().st_size, f.stat().st_mtime_ns) for f in folder.rglob("*") if f.is_file()}


def stored(path: Path) -> dict[str, NDArray[np.float32]]:
    with h5py.File(path) as file:
        return {name: dataset[()] for name, dataset in file.items()}


def test_a_whole_pack_is_described_on_the_terminal_in_a_file_and_in_a_picture(whole: Path) -> None:
    report = found(whole)
    assert (report["videos"], report["widths"], report["dtypes"]) == (20, {"64": 20}, {"float32": 20})
    assert report["rows"] == sum(map(len, stored(whole / PACK).values()))
    assert {split: (each["videos"], each["pairs"]) for split, each in report["coverage"].items()} == {
        "train": (14, 42),
        "val": (2, 6),
        "test": (4, 12),
    }
    assert report["rows_per_second"]["median"] == pytest.approx(2, abs=0.05)
    assert (report["problems"], report["near_duplicates"], report["surplus"]) == ([], [], [])
    printed = (whole / "printed.txt").read_text(encoding="utf-8")
    assert re.search(r"^coverage of test +4 of 4 videos, 12 of 12 pairs *$", printed, re.MULTILINE)
    assert re.search(rf"^fingerprint +{report['fingerprint']} *$", printed, re.MULTILINE)
    assert "no problem: " in printed
    assert f"outputs: {whole / 'run'}" in printed
    assert (whole / "complaints.txt").read_text(encoding="utf-8") == ""
    assert (whole / "run/inspect.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_pack_has_the_same_fingerprint_elsewhere_and_nothing_is_written_to_it(
    whole: Path, tmp_path: Path
) -> None:
    for video, rows in stored(whole / PACK).items():
        np.save(tmp_path / f"{video}.npy", rows)
    before = listing(whole / "data") | listing(tmp_path)
    ended = prepare(whole, f"dataset.features.path={tmp_path}", "hydra.run.dir=elsewhere")
    assert ended.code == 0
    assert listing(whole / "data") | listing(tmp_path) == before
    elsewhere = json.loads((whole / "elsewhere/inspect.json").read_text(encoding="utf-8"))
    assert elsewhere["layout"] == "npy"
    assert elsewhere["fingerprint"] == found(whole)["fingerprint"]


def test_a_test_video_without_features_is_named(place: Path) -> None:
    spoil(place, "S0017", lambda rows: None)
    ended = prepare(place)
    assert ended.code == 1
    assert problems(ended) == [
        "1 of 4 videos of split test have no features, and 3 of 12 pairs need them: 'S0017'; set dataset.features.path "
        "to a pack that has them all"
    ]
    assert found(place)["coverage"]["test"]["missing_videos"] == ["S0017"]


def test_values_that_are_not_finite_are_counted(place: Path) -> None:
    def change(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        rows[[2, 5, 6], 7] = np.nan, np.inf, -np.inf
        return rows

    spoil(place, "S0003", change)
    ended = prepare(place)
    assert ended.code == 1
    assert problems(ended) == ["1 videos hold NaN or infinity, in 3 rows: 'S0003'; extract them again"]
    assert found(place)["counts"]["not_finite"] == {"S0003": 3}


def test_another_width_says_which_override_to_set(place: Path) -> None:
    settings = ("dataset.generate.dim=64", "dataset.features.dim=32")
    ended = prepare(place, *settings)
    assert ended.code == 1
    (problem,) = problems(ended)
    assert problem.startswith("20 of 20 videos are 64 wide, not 32 as dataset.features.dim says: 'S0000', ")
    assert problem.endswith("; take another pack, or set dataset.features.dim=64")
    said = complaint(prepare(place, *settings, "action=pack"))
    assert "64 wide, not 32; " in said
    assert "dataset.features.dim=64" in said
    assert not (place / STORE).exists()


def test_a_reversed_pair_of_the_test_split_is_counted_and_keeps_from_training(place: Path) -> None:
    path = place / "data/synthetic/charades_sta_test.txt"
    first, *others = path.read_text(encoding="utf-8").splitlines()
    head, _, query = first.partition("##")
    video, start, end = head.split()
    path.write_text("\n".join([f"{video} {end} {start}##{query}", *others]), encoding="utf-8")
    ended = prepare(place)
    assert ended.code == 1
    assert "1 pairs of split test are reversed or empty: " in ended.out
    report = {each["split"]: each for each in found(place)["annotations"]}["test"]
    assert (report["read"], report["kept"], report["reversed"]) == (12, 11, 1)
    assert "(1 reversed, 0 empty)" in ended.out
    assert "dataset.on_defect=drop" in complaint(prepare(place, "action=pack"))
    assert prepare(place, "dataset.on_defect=drop").code == 0


def test_a_packed_store_lies_beside_the_pack_and_serves(place: Path) -> None:
    ended = prepare(place, "action=pack")
    assert ended.code == 0, ended.err
    assert ended.err == ""
    assert "packed into data/synthetic/features.hdf5.packed (packed, float16, 20 videos, 64 wide; " in ended.out
    source = open_store(place / STORE, videos=TESTED, features={"path": place / PACK, "dim": 64})
    assert isinstance(source, PackedFeatures)
    for name, rows in stored(place / PACK).items():
        assert source.rows(name).dtype == np.float16
        np.testing.assert_array_equal(source.rows(name), rows.astype(np.float16))
    assert not isinstance(open_features(path=place / PACK), PackedFeatures)
    # Once the pack has changed, the store serves no more.
    spoil(place, "S0000", lambda rows: rows[:-1])
    changed = open_store(place / STORE, videos=TESTED, features={"path": place / PACK, "dim": 64})
    assert isinstance(changed, Hdf5Features)


def test_a_packed_store_of_all_bits_elsewhere(place: Path) -> None:
    store = place / "stores" / "all_bits"
    ended = prepare(place, "action=pack", "dtype=float32", f"dataset.features.packed={store}")
    assert ended.code == 0, ended.err
    assert not (place / STORE).exists()
    assert [path.name for path in store.parent.iterdir()] == ["all_bits"]
    source = open_features(path=store)
    for name, rows in stored(place / PACK).items():
        assert source.rows(name).dtype == np.float32
        np.testing.assert_array_equal(source.rows(name), rows)
    assert prepare(place, f"dataset.features.path={store}").code == 0
    report = found(place)
    assert (report["layout"], report["dtypes"]) == ("packed", {"float32": 20})
    assert prepare(place).code == 0
    assert found(place)["fingerprint"] == report["fingerprint"]


def test_what_will_not_do_is_not_packed(place: Path) -> None:
    spoil(place, "S0017", lambda rows: None)
    said = complaint(prepare(place, "action=pack"))
    assert said.startswith("1 of 4 videos of split test have no features in data/synthetic/features.hdf5: 'S0017'")
    assert "dataset.features.path=" in said
    spoil(place, "S0003", lambda rows: np.full_like(rows, np.nan))
    (place / "data/synthetic/charades_sta_test.txt").write_text("S0016 1.0 5.0##A man opens a door.", encoding="utf-8")
    assert re.search(r"'S0003' hold NaN or infinity in \d+ of \d+ rows", complaint(prepare(place, "action=pack")))
    assert sorted(path.name for path in (place / "data/synthetic").iterdir()) == sorted(
        [
            *("charades_sta_test.txt", "charades_sta_train.txt", "Charades_v1_test.csv", "Charades_v1_train.csv"),
            *("corpus.json", "features.hdf5", "glove.txt"),
        ]
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("action=foo", r"^action must be one of inspect, pack, surrogate; got 'foo'"),
        ("dtype=int8", r"^dtype must be one of float16, float32; got 'int8'$"),
        (
            "dataset.features.path=nowhere.hdf5",
            r"there is no feature pack at nowhere\.hdf5; set dataset\.features\.path",
        ),
        ("dataset.features.layout=pt", r"features\.hdf5 is a file, not a folder of \.pt files; set dataset\.features"),
        ("dataset.validation=dev", r"dataset\.validation must be one of file, holdout, test; got 'dev'"),
        ("dataset.generate.rate=0", r"dataset\.generate\.rate must be above 0, found 0\.0"),
    ],
)
def test_a_wrong_value_is_refused_in_a_line(override: str, said: str, whole: Path) -> None:
    ended = prepare(whole, override, "hydra.run.dir=refused")
    assert re.search(said, complaint(ended))
    assert not list((whole / "refused").glob("inspect.*"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("acton=pack", r"acton: there is no such key\. Did you mean action\b"),
        ("dataset.feature.path=x", r"dataset\.feature: there is no such key\. Did you mean dataset\.features\b"),
        ("model=cpnet", r"model: there is no such key\."),
        ("dataset=nothing", r"dataset is one of: activitynet, activitynet_captions, charades_sta, "),
    ],
)
def test_an_unknown_key_is_named(override: str, said: str, tmp_path: Path) -> None:
    ended = call("prepare", override, folder=tmp_path)
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert re.search(said, ended.err)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("action", ["inspect", "pack"])
def test_files_that_are_not_there_are_listed_without_word_vectors(action: str, tmp_path: Path) -> None:
    ended = call("prepare", "dataset=tacos", f"action={action}", folder=tmp_path)
    assert ended.code == 1
    assert "4 of the 4 files that dataset=tacos needs are not there" in ended.err
    for file in ("train.json", "val.json", "test.json", "tall_c3d_features.hdf5"):
        assert f"data/tacos_org/{file}\n" in ended.err
    assert "elsewhere  dataset.features.path=PATH\n" in ended.err
    assert "glove" not in ended.err


def test_nothing_heavy_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        "from hydra.core.global_hydra import GlobalHydra\n"
        "for arguments in ['--help'], ['dataset=tacos', '--cfg', 'job'], ['dataset=tacos']:\n"
        "    sys.argv = ['prepare', *arguments]\n"
        "    GlobalHydra.instance().clear()\n"
        "    try:\n"
        "        runpy.run_module('cpnet.prepare', run_name='__main__', alter_sys=True)\n"
        "        code = 0\n"
        "    except SystemExit as end:\n"
        "        code = end.code\n"
        "    heavy = [name for name in ('torch', 'numpy', 'h5py', 'matplotlib', 'rich') if name in sys.modules]\n"
        "    print('ended:', code, heavy)\n"
    )
    ended = spawn("-c", code, folder=tmp_path)
    assert [line for line in ended.out.splitlines() if line.startswith("ended:")] == [
        "ended: 0 []",
        "ended: 0 []",
        "ended: 1 []",
    ]
    assert ended.out.count("action: inspect") == 2
    assert "4 of the 4 files that dataset=tacos needs" in ended.err
