"""Oracle: inspections written by hand, and figures computed from them by hand."""

from __future__ import annotations

import io
import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from cpnet.data.cleaning import CleaningReport
from cpnet.data.features.inspection import Coverage, Inspection
from cpnet.data.features.statistics import VideoStatistics
from cpnet.reporting import features

NAN = math.nan
ODD = ("[bold]x[/]", "[/nonsense]", ":car:", "a\\", "[link=b]")


def video(**changes: Any) -> VideoStatistics:
    counts = dict.fromkeys(("not_finite", "zero", "constant", "repeated", "padding"), 0)
    values = {"rows": 10, "dim": 4, "dtype": "float32", "least": -1.0, "most": 2.0, "norm": 3.0}
    return VideoStatistics(**{**counts, **values, **changes})


def report(split: str, **changes: Any) -> CleaningReport:
    clipped = ("clipped_start", "clipped_end", "clipped_end_over_1s")
    counts = dict.fromkeys(("read", "videos", "windows", *clipped, "reversed", "empty", "kept"), 0)
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
        "annotations": (),
        "on_defect": "error",
        "on_missing": "error",
        "fingerprint": "0123456789abcdef",
        "looks_like": (),
        "but": (),
    }
    return Inspection(**fields | changes)


def defective() -> Inspection:
    """A pack with defects of every kind."""
    return inspection(
        videos={
            "a": video(rows=1, norm=1.0),
            "b": video(rows=3, not_finite=3, least=NAN, most=NAN, norm=NAN),
            "c": video(rows=5, zero=2, constant=1, repeated=4, least=-7.5, norm=2.0),
            "d": video(rows=6, dim=5, dtype="float16", most=9.5, norm=4.0),
        },
        unreadable={"e": "/data/pack.hdf5: features of 'e' are int32, not floats; convert them to float32"},
        rates={"a": 1.0, "b": 2.0, "c": 2.0, "d": 5.0},
        coverage={"train": covered(videos=4), "test": covered(videos=3, pairs=8, missing=("x", "y"), missing_pairs=5)},
        surplus=("s", "t"),
        shared={"train and test": ("c",)},
        annotations=(report("train", read=5, windows=5, kept=4, reversed=1, dropped=(("q1", "reversed"),)),),
        fingerprint=None,
        looks_like=(),
        but=("one pack, but: 5.00 rows per second, not 1 to 2",),
    )


def refuse(token: str) -> None:
    raise AssertionError(f"{token} is no JSON")


def written(folder: Path) -> Any:
    return json.loads((folder / "inspect.json").read_text(encoding="utf-8"), parse_constant=refuse)


def publish(found: Inspection, folder: Path, *, width: int = 200) -> str:
    """Publish an inspection without its picture, and return what is printed."""
    console = Console(width=width, file=io.StringIO(), record=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "draw", lambda *_: None)
        features.publish(found, folder, console=console)
    return console.export_text()


def rows(text: str) -> dict[str, str]:
    """Cells of the printed table by their names; of equal names the last."""
    lines = (line.partition("  ") for line in text.splitlines() if "  " in line.strip())
    return {name.strip(): value.strip() for name, _, value in lines}


def test_inspect_json_holds_all_findings(tmp_path: Path) -> None:
    publish(defective(), tmp_path)
    found = written(tmp_path)
    assert [line.partition(" ")[0] for line in found.pop("problems")] == ["2", "1", "1", "1"]
    (cleaning,) = found.pop("annotations")
    assert [cleaning[key] for key in ("split", "read", "dropped")] == ["train", 5, [["q1", "reversed"]]]
    assert found == {
        "pack": "/data/pack.hdf5 (layout hdf5_flat, 2 videos, 4 wide)",
        "layout": "hdf5_flat",
        "fingerprint": None,
        "looks_like": [],
        "differs_from": ["one pack, but: 5.00 rows per second, not 1 to 2"],
        "videos": 4,
        "rows": 15,
        "widths": {"4": 3, "5": 1},
        "dtypes": {"float32": 3, "float16": 1},
        # Percentiles of 1, 3, 5, 6, of 1, 2, 2, 5 and of 1, 2, 4, linear between them.
        "rows_per_video": pytest.approx({"least": 1.0, "p5": 1.3, "median": 4.0, "p95": 5.85, "most": 6.0}),
        "rows_per_second": pytest.approx({"least": 1.0, "p5": 1.15, "median": 2.0, "p95": 4.55, "most": 5.0}),
        "norm": pytest.approx({"least": 1.0, "p5": 1.1, "median": 2.0, "p95": 3.8, "most": 4.0}),
        "least_value": -7.5,
        "most_value": 9.5,
        "coverage": {
            "train": {"videos": 4, "pairs": 4, "missing_videos": [], "missing_pairs": 0},
            "test": {"videos": 3, "pairs": 8, "missing_videos": ["x", "y"], "missing_pairs": 5},
        },
        "surplus": ["s", "t"],
        "unreadable": {"e": "/data/pack.hdf5: features of 'e' are int32, not floats; convert them to float32"},
        "unusual_rates": {"a": 1.0, "d": 5.0},
        "short": {"a": 1},
        "counts": {"not_finite": {"b": 3}, "zero": {"c": 2}, "constant": {"c": 1}, "repeated": {"c": 4}, "padding": {}},
        "shared": {"train and test": ["c"]},
        "warnings": [],
    }


def test_unknown_values_are_null(tmp_path: Path) -> None:
    text = publish(inspection(videos={"a": video(least=NAN, most=NAN, norm=NAN)}, rates={}), tmp_path)
    found = written(tmp_path)
    nothing = dict.fromkeys(("least", "p5", "median", "p95", "most"))
    assert (found["norm"], found["rows_per_second"], found["least_value"]) == (nothing, nothing, None)
    assert rows(text)["most value"] == "unknown"


def test_table_names_the_defects(tmp_path: Path) -> None:
    text = publish(defective(), tmp_path)
    expected = {
        "pack": "/data/pack.hdf5 (layout hdf5_flat, 2 videos, 4 wide)",
        "fingerprint": "unknown",
        "looks like": "none",
        "differs from": "one pack, but: 5.00 rows per second, not 1 to 2",
        "videos": "4",
        "rows": "15",
        "widths": "4 (3), 5 (1)",
        "dtypes": "float32 (3), float16 (1)",
        "rows per second": "least (1), p5 (1.15), median (2), p95 (4.55), most (5)",
        "unusual rates": "a (1), d (5)",
        "not finite rows": "b (3)",
        "coverage of train": "4 of 4 videos, 4 of 4 pairs",
        "coverage of test": "1 of 3 videos, 3 of 8 pairs; missing: 'x', 'y'",
        "surplus": "s, t",
        "shared": "train and test (c)",
    }
    table = rows(text)
    assert {name: table[name] for name in expected} == expected
    assert "dropped 1 windows (1 reversed, 0 empty)" in table["annotations"]
    assert [line.split()[1] for line in text.splitlines() if line.startswith("problem: ")] == ["2", "1", "1", "1"]
    assert f"outputs: {tmp_path}\n" in text


def test_table_of_a_pack_without_a_problem(tmp_path: Path) -> None:
    text = publish(inspection(looks_like=("one pack",), but=("another, but: layout npy, not pt",)), tmp_path)
    assert "no problem: all features found for the splits are finite and of the right width" in text
    assert "problem: " not in text.replace("no problem: ", "")
    assert rows(text)["looks like"] == "one pack"


def test_pack_with_a_warning_is_not_called_sound(tmp_path: Path) -> None:
    text = publish(inspection(videos={"a": video(most=2e5), "b": video(rows=30)}), tmp_path)
    (line,) = [line for line in text.splitlines() if line.startswith("warning: ")]
    assert written(tmp_path)["warnings"] == [line.removeprefix("warning: ")]
    assert written(tmp_path)["problems"] == []
    assert "no problem" not in text


def test_names_are_printed_without_markup(tmp_path: Path) -> None:
    found = inspection(
        description="/data/[red]pack[/red] (npy)",
        videos={name: video(rows=1) for name in ODD},
        unreadable=dict.fromkeys(ODD, "[/] is broken"),
        surplus=tuple(f"{name}2" for name in ODD),
        coverage={"test": covered(videos=9, missing=ODD, missing_pairs=4)},
    )
    text = publish(found, tmp_path, width=300)
    table = rows(text)
    assert table["pack"] == "/data/[red]pack[/red] (npy)"
    assert table["short"] == r"[bold]x[/] (1), [/nonsense] (1), :car: (1), a\ (1), [link=b] (1)"
    assert table["surplus"] == r"[bold]x[/]2, [/nonsense]2, :car:2, a\2, [link=b]2"
    assert "; the first: [/] is broken" in text


def test_names_that_are_not_utf8_are_escaped(tmp_path: Path) -> None:
    name = b"v\xff.npy".decode(errors="surrogateescape")
    found = inspection(
        description=f"/data/{name}", surplus=(name,), videos={name: video(rows=1)}, unreadable={name: f"{name} is bad"}
    )
    table = rows(publish(found, tmp_path))
    assert table["short"] == r"v\udcff.npy (1)"
    assert written(tmp_path)["surplus"] == [r"v\udcff.npy"]
    assert written(tmp_path)["short"] == {r"v\udcff.npy": 1}


@pytest.mark.parametrize(
    "found",
    [
        defective(),
        inspection(videos={}, rates={}, coverage={}),
        inspection(videos={"a": video(norm=NAN), "b": video(norm=NAN)}),
        inspection(rates={"a": 3.0, "b": math.nextafter(3.0, 0)}),
        inspection(videos={"a": video(norm=1.0), "b": video(norm=1 + 1e-15)}),
        inspection(videos={"a": video(norm=1e-30), "b": video(norm=1e39)}),
        inspection(description="/data/$x^{$/\\frac (layout npy)" + "very long " * 60),
    ],
)
def test_picture_is_drawn_of_any_inspection(found: Inspection, tmp_path: Path) -> None:
    features.draw(found, tmp_path / "inspect.png")
    content = (tmp_path / "inspect.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (960, 432)


def test_picture_counts_the_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    features.draw(defective(), tmp_path / "inspect.png")
    counts = [sum(bar.get_height() for bar in axes.patches) for axes in drawn[0].axes]  # type: ignore[attr-defined]
    assert counts == [4, 3]
