"""Oracle: the text of the paper's tables."""

from __future__ import annotations

import re

import pytest

from cpnet.evaluation.published import published_rows
from data.readers.test_published_files import DATA

PAPER = DATA.parent / "paper/cpnet-aaai2021.txt"
COLUMNS = {  # of each table's numbers; CPNet's features in tables 3 and 4 are from the text
    1: ("charades_sta", "I3D", ("R1@0.7", "R1@0.5", "R1@0.3", "mIoU")),
    2: ("charades_sta", "", ("R1@0.7", "R1@0.5", "mIoU")),
    3: ("activitynet_captions", "C3D", ("R1@0.7", "R1@0.5", "mIoU")),
    4: ("tacos", "C3D", ("R1@0.5", "R1@0.3", "mIoU")),
}
LINE = re.compile(
    r"^(?P<name>CPNet(?: w/o \w+)?|\S+)(?: \(Ours\))?(?: (?P<place>[A-Za-z]+)\u2019(?P<year>\d\d)| \u2013)?"
    r"(?: (?P<features>C3D|I3D))?(?P<numbers>(?: (?:\d+\.\d\d|\u2013)){3,4})$"
)


@pytest.mark.parametrize("table", COLUMNS)
def test_rows_are_those_of_the_paper(table: int) -> None:
    if not PAPER.exists():
        pytest.skip(f"the paper's text is not at {PAPER} (beside CPNET_TEST_DATA)")
    text = PAPER.read_text(encoding="utf-8")
    lines = text[: text.index(f"\nTable {table}: ")].rpartition("\nTable ")[2].splitlines()
    corpus, features, keys = COLUMNS[table]
    expected = []
    for line in filter(None, map(LINE.match, lines)):
        ours = line["name"].startswith("CPNet")
        numbers = zip(keys, line["numbers"].split(), strict=True)
        expected.append(
            (
                line["name"],
                "AAAI 2021" if ours else f"{line['place']} 20{line['year']}",
                line["features"] or (features if ours else "unknown"),
                {key: float(number) for key, number in numbers if number != "\u2013"},
            )
        )
    assert len(expected) == {1: 3, 2: 19, 3: 12, 4: 16}[table]
    rows = [row for row in published_rows(corpus) if row.source == f"CPNet (AAAI 2021), Table {table}"]
    assert [(row.name, row.venue, row.features, row.metrics) for row in rows] == expected


@pytest.mark.parametrize(
    ("corpus", "cut", "stated"),
    [
        ("charades_sta", "12,408 / 3,720 pairs", "12,408 pairs and 3,720 pairs"),
        ("activitynet_captions", "tested on val_2", "\u201cval 2\u201d for testing"),
        ("tacos", "TALL's", "10146, 4589, and 4083 query- clip pairs"),
    ],
)
def test_conditions_of_the_seed_model_are_those_of_the_text(corpus: str, cut: str, stated: str) -> None:
    rows = [row for row in published_rows(corpus) if row.name.startswith("CPNet")]
    assert {(row.cut, row.strict, row.selection) for row in rows} == {(cut, "True", "unknown")}
    if not PAPER.exists():
        pytest.skip(f"the paper's text is not at {PAPER} (beside CPNET_TEST_DATA)")
    text = " ".join(PAPER.read_text(encoding="utf-8").split())
    assert "larger IoU than \u03b8" in text
    assert stated in text


def test_rows_of_public_code_state_their_conditions() -> None:
    rows = published_rows("tacos_2dtan", features="C3D")
    assert [(row.name, row.strict, row.metrics["R5@0.5"]) for row in rows] == [
        ("2D-TAN, pool", "True", 45.04),
        ("2D-TAN, conv", "True", 44.24),
        ("SnAG", "False", 70.31),
    ]
    cuts = {row.name: row.cut for row in published_rows("tacos")}
    assert (cuts["MCN"], cuts["2D-TAN"], cuts["CPNet"]) == ("unknown", "2D-TAN's", "TALL's")
    assert published_rows("charades_sta", features="S3D") == published_rows("mine") == []
