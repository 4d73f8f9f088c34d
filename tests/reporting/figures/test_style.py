"""Files of a figure."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from cpnet.reporting.figures.style import PLAIN, Drawn, plain, write


def test_figure_is_written_in_three_forms_whatever_its_text(tmp_path: Path) -> None:
    query = "$x^2 \\frac{ \x1b[31m -- <b>&amp; \ufffe \u5b57 she\nopens"
    figure = Figure(figsize=(2, 1))
    with rc_context(PLAIN):
        figure.text(0, 0.5, plain(query))
    drawn = Drawn(name="a", figure=figure, numbers=[{"query": "=cmd()", "iou": 0.5}, {"query": query, "more": None}])
    assert write(drawn, tmp_path) == ["a.png", "a.svg", "a.csv"]
    before = (tmp_path / "a.svg").read_bytes()
    write(drawn, tmp_path)
    assert (tmp_path / "a.svg").read_bytes() == before  # equal figures are equal files
    assert Image.open(tmp_path / "a.png").size == (600, 300)
    assert ElementTree.fromstring(before).get("viewBox") == "0 0 144 72"  # our own file
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").startswith("query,iou,more\n'=cmd(),0.5,\n")
    assert not [*tmp_path.glob("*.tmp")]
