"""Redraw the pictures of docs/ and of experiments/results/: ``python docs/pictures.py CHECKPOINT CORPUS FOLDER``.

CHECKPOINT and CORPUS are those of ``make demo``; FOLDER has what ``make pictures`` drew before.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from cpnet import Grounder
from cpnet.data.readers import read_jsonl
from cpnet.evaluation.functional import iou
from cpnet.reporting.figures.timeline import SCREEN, Film, Sentence, annotated_lane, draw_films, predicted_lane
from cpnet.reporting.keeping import draw
from cpnet.video.cut import stills

DOCS = Path(__file__).parent
COLOURS = 256
NAMES = {  # pictures of docs/ and what they are made of
    "figures-timeline": "figures/*_timeline.png",
    "figures-words": "figures/01_*_words.png",
    "figures-levels": "figures/01_*_levels.png",
    "figures-moments": "figures/corpus_moments.png",
    "predict": "predict/timeline.png",
    "front": "front.png",
}
PAIRS = ("video_00296:0", "video_00296:5")  # one event that occurs twice
FRAMES = 12


def main(checkpoint: Path, corpus: Path, folder: Path) -> None:
    """Write the first figure of each kind, and the picture of each kept table."""
    front(checkpoint, corpus).savefig(folder / "front.png", dpi=120)
    for name, pattern in NAMES.items():
        picture = Image.open(min(folder.glob(pattern))).convert("RGB")
        few = picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
        few.save(DOCS / f"{name}.png", optimize=True)
    for table in (DOCS.parent / "experiments/results").glob("*.json"):
        draw(table)


def front(checkpoint: Path, corpus: Path) -> Figure:
    """Draw the frames of a video, and two of its sentences with what is annotated and what the model answers."""
    grounder = Grounder.from_checkpoint(checkpoint)
    moments = [each for each in read_jsonl(annotations=corpus / "test.jsonl") if each.qid in PAIRS]
    video, duration = corpus / f"videos/{moments[0].video}.mp4", moments[0].duration_sec
    sentences = []
    for moment, answer in zip(moments, grounder.answer(video, [each.query for each in moments]), strict=True):
        span, true = (answer.moments[0].start_sec, answer.moments[0].end_sec), moment.windows_sec
        lanes = [annotated_lane(true), predicted_lane(span, float(iou(span, true).max()))]
        sentences.append(Sentence(title=moment.query, lanes=lanes, attention=[answer.attention]))
    frames = stills(video, [(place + 0.5) * duration / FRAMES for place in range(FRAMES)])
    film = Film(title=video.name, duration_sec=duration, sentences=sentences, frames=frames)
    label = "blue: annotated; orange: answer of the model; light blue: its attention"
    return draw_films([film], sizes=replace(SCREEN, margin=0.85), label=label)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
