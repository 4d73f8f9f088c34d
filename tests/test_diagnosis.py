"""Oracle: inspections made up by hand, and figures worked out from them by hand."""

from __future__ import annotations

import io
import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from cpnet import diagnosis
from cpnet.data.cleaning import CleaningReport
from cpnet.data.features.inspection import Coverage, Inspection
from cpnet.data.features.statistics import VideoStatistics
from cpnet.progress import SHOWN_FROM, track

NAN = math.nan
ODD = ("[bold]x[/]", "[/nonsense]", ":car:", "a\\", "[link=b]")


def video(**changes: Any) -> VideoStatistics:
    fields: dict[str, Any] = {
        "rows": 10,
        "dim": 4,
        "dtype": "float32",
        "not_finite": 0,
        "zero": 0,
        "constant": 0,
        "repeated": 0,
        "least": -1.0,
        "most": 2.0,
        "norm": 3.0,
        "signature": np.ones(256, np.float32),
    }
    return VideoStatistics(**fields | changes)


def report(split: str, **changes: Any) -> CleaningReport:
    counts = dict.fromkeys(
        ("read", "videos", "clipped_start", "clipped_end", "clipped_end_over_1s", "reversed", "empty", "kept"), 0
    )
    return CleaningReport(**{"split": split, "dropped": (), **counts, **changes})


def covered(videos: int = 2, pairs: int = 4, missing: tuple[str, ...] = (), missing_pairs: int = 0) -> Coverage:
    return Coverage(videos=videos, pairs=pairs, missing_videos=missing, missing_pairs=missing_pairs)


def inspection(**changes: Any) -> Inspection:
    """A small pack without a defect, with changes."""
    fields: dict[str, Any] = {
        "description": "/data/pack.hdf5 (layout hdf5_flat, 2 videos, 4 wide)",
        "layout": "hdf5_flat",
        "dim": 4,
        "videos": {"a": video(), "b": video(rows=30)},
        "unreadable": {},
        "rates": {"a": 2.0, "b": 2.0},
        "coverage": {"train": covered(), "test": covered()},
        "surplus": (),
        "shared": {},
        "near_duplicates": (),
        "annotations": (),
        "on_defect": "error",
        "fingerprint": "0123456789abcdef",
        "looks_like": (),
        "but": (),
    }
    return Inspection(**fields | changes)


def defective() -> Inspection:
    """Something of everything."""
    return inspection(
        videos={
            "a": video(rows=1, norm=1.0),
            "b": video(rows=3, not_finite=3, least=NAN, most=NAN, norm=NAN, signature=np.zeros(256, np.float32)),
            "c": video(rows=5, zero=2, constant=1, repeated=4, least=-7.5, norm=2.0),
            "d": video(rows=6, dim=5, dtype="float16", most=9.5, norm=4.0),
        },
        unreadable={"e": "/data/pack.hdf5: features of 'e' are int32, not floats; convert them to float32"},
        rates={"a": 1.0, "b": 2.0, "c": 2.0, "d": 5.0},
        coverage={"train": covered(videos=4), "test": covered(videos=3, pairs=8, missing=("x", "y"), missing_pairs=5)},
        surplus=("s", "t"),
        shared={"train and test": ("c",)},
        near_duplicates=(("train", "a", "test", "c", 0.995),),
        annotations=(report("train", read=5, kept=4, reversed=1, dropped=(("q1", "reversed"),)),),
        fingerprint=None,
        looks_like=(),
        but=("one pack, but: 5.00 rows a second, not 1 to 2",),
    )


def refuse(token: str) -> None:
    raise AssertionError(f"{token} is no JSON")


def written(folder: Path) -> Any:
    return json.loads((folder / "inspect.json").read_text(encoding="utf-8"), parse_constant=refuse)


def publish(found: Inspection, folder: Path, *, width: int = 200) -> str:
    """What is printed."""
    console = Console(width=width, file=io.StringIO(), record=True)
    diagnosis.publish(found, folder, console=console)
    return console.export_text()


def rows(text: str) -> dict[str, str]:
    """Cells of the printed table by their names; of equal names the last."""
    lines = (line.partition("  ") for line in text.splitlines() if "  " in line.strip())
    return {name.strip(): value.strip() for name, _, value in lines}


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert content[12:16] == b"IHDR"
    assert content[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_inspect_json_holds_what_was_found(tmp_path: Path) -> None:
    publish(defective(), tmp_path)
    found = written(tmp_path)
    problems = found.pop("problems")
    assert [line.partition(" ")[0] for line in problems] == ["2", "1", "1", "1"]
    assert problems == defective().problems()
    assert found == {
        "pack": "/data/pack.hdf5 (layout hdf5_flat, 2 videos, 4 wide)",
        "layout": "hdf5_flat",
        "fingerprint": None,
        "looks_like": [],
        "differs_from": ["one pack, but: 5.00 rows a second, not 1 to 2"],
        "videos": 4,
        "rows": 15,
        "widths": {"4": 3, "5": 1},
        "dtypes": {"float32": 3, "float16": 1},
        # Percentiles of 1, 2, 2, 5 and of 1, 2, 4, linear between them.
        "rows_per_second": pytest.approx({"least": 1.0, "p5": 1.15, "median": 2.0, "p95": 4.55, "most": 5.0}),
        "norm": pytest.approx({"least": 1.0, "p5": 1.1, "median": 2.0, "p95": 3.8, "most": 4.0}),
        "values": {"least": -7.5, "most": 9.5},
        "coverage": {
            "train": {"videos": 4, "pairs": 4, "missing_videos": [], "missing_pairs": 0},
            "test": {"videos": 3, "pairs": 8, "missing_videos": ["x", "y"], "missing_pairs": 5},
        },
        "surplus": ["s", "t"],
        "unreadable": {"e": "/data/pack.hdf5: features of 'e' are int32, not floats; convert them to float32"},
        "unusual_rates": {"a": 1.0, "d": 5.0},
        "short": {"a": 1},
        "counts": {"not_finite": {"b": 3}, "zero": {"c": 2}, "constant": {"c": 1}, "repeated": {"c": 4}},
        "shared": {"train and test": ["c"]},
        "near_duplicates": [["train", "a", "test", "c", 0.995]],
        "annotations": [
            {
                "split": "train",
                "read": 5,
                "videos": 0,
                "clipped_start": 0,
                "clipped_end": 0,
                "clipped_end_over_1s": 0,
                "reversed": 1,
                "empty": 0,
                "kept": 4,
                "dropped": [["q1", "reversed"]],
            }
        ],
    }


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    publish(inspection(videos={"a": video(least=NAN, most=NAN, norm=NAN)}, rates={}), tmp_path)
    found = written(tmp_path)
    nothing = dict.fromkeys(("least", "p5", "median", "p95", "most"))
    assert (found["norm"], found["rows_per_second"]) == (nothing, nothing)
    assert found["values"] == {"least": None, "most": None}


def test_the_table_names_what_is_wrong(tmp_path: Path) -> None:
    text = publish(defective(), tmp_path)
    table = rows(text)
    assert table["pack"] == "/data/pack.hdf5 (layout hdf5_flat, 2 videos, 4 wide)"
    assert table["fingerprint"] == "none: some videos cannot be read, or widths differ"
    assert table["looks like"] == "no published pack that we know"
    assert table["close to"] == "one pack, but: 5.00 rows a second, not 1 to 2"
    assert table["videos, rows"] == "4, 15"
    assert table["width"] == "4 (3 videos), 5 (1 videos)"
    assert table["type"] == "float32 (3 videos), float16 (1 videos)"
    assert table["rows a second"] == "2 (5 to 95 %: 1.15 to 4.55; all: 1 to 5)"
    assert table["unusual rates"] == "2 videos: a (1.00), d (5.00)"
    assert table["values"] == "-7.5 to 9.5"
    assert table["rows with NaN or infinity"] == "3 in 1 videos: b (3)"
    assert table["coverage of train"] == "4 of 4 videos, 4 of 4 pairs"
    assert table["coverage of test"] == "1 of 3 videos, 3 of 8 pairs; missing: 'x', 'y'"
    assert table["videos of no split"] == "2: 's', 't'"
    assert table["in two splits"] == "train and test: 1 videos"
    assert table["near-duplicates"] == "1: a (train) ~ c (test)"
    assert "dropped 1 (1 reversed, 0 empty)" in table["annotations"]
    assert [line for line in text.splitlines() if line.startswith("problem: ")] == [
        f"problem: {problem}" for problem in defective().problems()
    ]
    assert f"outputs: {tmp_path}\n" in text


def test_without_a_problem_the_table_says_so(tmp_path: Path) -> None:
    text = publish(inspection(looks_like=("one pack",), but=("another, but: layout npy, not pt",)), tmp_path)
    assert "no problem: every video of every split has finite features of the right width" in text
    assert "problem: " not in text.replace("no problem: ", "")
    assert "close to" not in text
    assert rows(text)["looks like"] == "one pack"
    assert written(tmp_path)["problems"] == []


def test_names_are_printed_as_they_are(tmp_path: Path) -> None:
    names = {name: video(rows=1, not_finite=1) for name in ODD}
    shown = dict([*names.items()][:3])
    found = inspection(
        description="/data/[red]pack[/red] (npy)",
        videos=shown,
        unreadable=dict.fromkeys(ODD, "[/] is broken"),
        surplus=tuple(f"{name}2" for name in ODD),
        coverage={"test": covered(videos=9, missing=ODD, missing_pairs=4)},
        near_duplicates=(("train", ODD[0], "test", ODD[1], 1.0),),
    )
    text = publish(found, tmp_path, width=300)
    table = rows(text)
    assert table["pack"] == "/data/[red]pack[/red] (npy)"
    assert table["videos below 2 rows"] == "3 videos: [bold]x[/] (1), [/nonsense] (1), :car: (1)"
    assert table["videos of no split"] == r"5: '[bold]x[/]2', '[/nonsense]2', ':car:2', 'a\\2', '[link=b]2'"
    assert table["near-duplicates"] == "1: [bold]x[/] (train) ~ [/nonsense] (test)"
    assert "; the first: [/] is broken" in text
    assert list(written(tmp_path)["unreadable"]) == list(ODD)


def test_names_of_files_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    name = b"v\xff.npy".decode(errors="surrogateescape")
    found = inspection(
        description=f"/data/{name}", surplus=(name,), videos={name: video(rows=1)}, unreadable={name: f"{name} is bad"}
    )
    table = rows(publish(found, tmp_path))
    assert table["videos below 2 rows"] == r"1 videos: v\udcff.npy (1)"
    assert written(tmp_path)["surplus"] == [r"v\udcff.npy"]
    assert written(tmp_path)["short"] == {r"v\udcff.npy": 1}
    size(tmp_path / "inspect.png")


def test_long_names_are_not_cut_on_a_narrow_terminal(tmp_path: Path) -> None:
    name = "long" * 40
    text = publish(inspection(coverage={"test": covered(missing=(name,))}), tmp_path, width=60)
    assert f": '{name}'; set dataset.features.path to" in text  # whoever reads it from a log can search for it
    assert name in "".join(line.partition("  ")[2].strip() for line in text.splitlines() if "problem" not in line)


@pytest.mark.parametrize(
    "found",
    [
        inspection(),
        defective(),
        inspection(rates={}),
        inspection(videos={}, rates={}, coverage={}),
        inspection(videos={"a": video(norm=NAN), "b": video(norm=NAN)}),
        inspection(coverage={"train": covered(videos=0, pairs=0), "test": covered(missing=("a", "b"))}),
        inspection(rates={"a": 3.0, "b": math.nextafter(3.0, 0)}),
        inspection(videos={"a": video(norm=1.0), "b": video(norm=1 + 1e-15)}),
        inspection(videos={"a": video(norm=1e-30), "b": video(norm=1e39)}),
        inspection(description="/data/$x^{$/\\frac (layout npy)"),
        inspection(description="/data/" + "very long " * 60),
    ],
)
def test_a_picture_is_drawn_of_whatever_was_found(found: Inspection, tmp_path: Path) -> None:
    diagnosis.draw(found, tmp_path / "inspect.png")
    assert size(tmp_path / "inspect.png") == (1440, 432)
    assert 5_000 < (tmp_path / "inspect.png").stat().st_size < 200_000
    assert [path.name for path in tmp_path.iterdir()] == ["inspect.png"]


def test_the_picture_shows_rates_norms_and_coverage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    diagnosis.draw(defective(), tmp_path / "inspect.png")
    rates, norms, bars = drawn[0].axes
    assert [axes.get_title() for axes in drawn[0].axes] == ["rows a second", "norm of a row", "coverage"]
    counts = [sum(bar.get_height() for bar in axes.patches) for axes in (rates, norms)]  # type: ignore[attr-defined]
    assert counts == [4, 3]
    assert [axes.get_lines()[0].get_xdata()[0] for axes in (rates, norms)] == [2.0, 2.0]  # type: ignore[index]
    assert [label.get_text() for label in bars.get_xticklabels()] == ["train", "test"]
    heights = [bar.get_height() for bar in bars.patches]  # type: ignore[attr-defined]
    assert heights == pytest.approx([1.0, 1 / 3])
    assert [text.get_text() for text in bars.texts] == ["4\nof 4", "1\nof 3"]


def test_a_picture_that_fails_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(figure: Figure, stream: io.BytesIO, **_: Any) -> None:
        stream.write(b"half")
        raise OSError("the disk is full")

    publish(inspection(), tmp_path)
    before = (tmp_path / "inspect.png").read_bytes()
    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="the disk is full"):
        publish(defective(), tmp_path)
    assert (tmp_path / "inspect.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inspect.json", "inspect.png"]
    assert written(tmp_path)["videos"] == 4


def test_the_folder_is_made(tmp_path: Path) -> None:
    publish(inspection(), tmp_path / "new" / "folder")
    assert written(tmp_path / "new" / "folder")["videos"] == 2


@pytest.mark.parametrize("count", [0, 3, SHOWN_FROM])
def test_every_item_is_tracked_once(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    items = [str(number) for number in range(count)]
    assert list(track(items, "inspecting")) == items
    assert capsys.readouterr().out == ""
