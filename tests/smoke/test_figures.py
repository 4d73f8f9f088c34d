"""``python -m cpnet.report figures=true``. Oracles: the predictions of the run, and sums of distributions."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from commands import Ended, call
from cpnet.runs.predictions import read_predictions

BEST = "checkpoint=run/checkpoints/best.ckpt"
FORMS = ("csv", "png", "svg")


def figures(place: Path, name: str, *arguments: str) -> tuple[Ended, dict[str, list[dict[str, str]]]]:
    """Run the command; return how it ended, and the numbers of each figure."""
    ended = call("report", BEST, f"hydra.run.dir={name}", *arguments, folder=place)
    folder, found = place / name / "figures", {}
    for path in sorted(folder.glob("*.csv")):
        assert all((folder / f"{path.stem}.{form}").stat().st_size for form in FORMS)
        with path.open(encoding="utf-8", newline="") as stream:
            found[path.stem] = [*csv.DictReader(stream)]
    assert len([*folder.iterdir()]) == 3 * len(found)
    return ended, found


@pytest.mark.slow
def test_pair_gets_a_timeline_and_maps(place: Path) -> None:
    rows = [*read_predictions(place / "run/predictions.jsonl")]
    row = rows[0]
    _, found = figures(place, "pair", f"qid={row.qid}")
    timeline, words, levels = (found[name] for name in sorted(found, key=lambda name: name[::-1]))
    predicted = {line["qid"]: line for line in timeline if line["kind"].startswith("predicted")}
    assert next(iter(predicted)) == row.qid
    assert {*predicted} == {each.qid for each in rows if each.video == row.video}
    for each in rows:
        if each.qid in predicted:
            line = predicted[each.qid]
            assert [float(line[key]) for key in ("start_sec", "end_sec", "iou")] == pytest.approx(
                [*each.predicted[0], each.iou], abs=1e-3
            )
    sums = defaultdict[tuple[str, ...], float](float)
    for line in timeline:
        sums["attention", line["qid"]] += float(line["weight"] or 0)
    for line in words:
        sums[("S_q", line["start_sec"]) if line["map"] == "S_q" else ("S_v", line["word"])] += float(line["weight"])
    for line in levels:
        sums["M", line["level"], line["to_sec"]] += float(line["weight"])
    assert sum(key[0] == "M" for key in sums) == 16 + 8 + 4
    counts = {
        word: [line["word"] for line in words].count(word) / (2 * 16) for word in {line["word"] for line in words}
    }
    for key, total in sums.items():
        assert total == pytest.approx(counts[key[1]] if key[0] == "S_v" else 1, abs=2e-3)


@pytest.mark.slow
def test_split_gets_all_figures_beside_another_model(place: Path) -> None:
    worst = min(read_predictions(place / "run/predictions.jsonl"), key=lambda row: row.iou or 0.0)
    start, end = worst.predicted[0]
    accepted = [{"video": worst.video, "query": worst.query, "start": start, "end": end, "annotator": "$B"}]
    with (place / "more.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, accepted[0])
        writer.writeheader()
        writer.writerows(accepted)
    other = f"against={place}/run/checkpoints/best.ckpt"
    ended, found = figures(place, "all", "worst=1", "references=more.csv", other)
    kinds = {name.rpartition("_")[2] for name in found}
    assert kinds == {"timeline", "words", "levels", "failures", "moments", "queries"}
    assert (found["failures"][0]["qid"], found["failures"][0]["annotator"]) == (worst.qid, "$B")
    assert ", and 1 agree with another annotator" in ended.out
    assert {line["model"] for line in found[next(name for name in found if name.endswith("levels"))]} == {
        "cpnet_small",
        "other cpnet_small",
    }
    assert f"01  IoU {worst.iou:.2f}  {worst.qid}: " in ended.out


def test_errors_are_short_messages(place: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ((BEST, "qid=a", "worst=2"), "qid and worst choose pairs in different ways"),
        ((BEST, "figures=false"), "figures=false draws nothing; to compare runs, leave out figures and checkpoint"),
        ((BEST, "video_dir=nowhere"), "video_dir=nowhere contains no video files"),
    ):
        ended = call("report", *arguments, "hydra.run.dir=wrong", folder=place, code=1)
        assert message in ended.err
    ended = call("report", "figures=true", folder=tmp_path, code=1)
    assert "no trained model below outputs/" in ended.err
    assert not (place / "wrong/figures").exists()
