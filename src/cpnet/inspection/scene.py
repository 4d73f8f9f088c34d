"""Timelines of pairs: what is annotated, what models predict, where they look, and frames of the video."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpnet.data.moment import Moment, normalise_id
from cpnet.data.readers.references import Span
from cpnet.errors import DataError
from cpnet.inspection.observe import Observed
from cpnet.reporting.figures.style import GREEN, ORANGE, PINK, Drawn
from cpnet.reporting.figures.timeline import Film, Lane, Sentence, annotated_lane, draw_films, predicted_lane, seconds
from cpnet.video.cut import stills

STILLS = 8  # frames of a video
PREDICTED, AGAINST = "predicted", "against"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Pairs of a split with all that is known about them.

    Attributes:
        moments: the split
        models: names of the inspected model and, perhaps, of one to compare
        observed: predictions by row of the split, of each model
        references: spans of further annotators by row
        files: video files by normalised id
    """

    moments: Sequence[Moment]
    models: Sequence[str]
    observed: Sequence[Mapping[int, Observed]]
    references: Mapping[int, Sequence[tuple[str, Span]]]
    files: Mapping[str, Path]

    def timeline(self, name: str, groups: Mapping[str, Sequence[int]]) -> Drawn:
        """Return the timelines of groups of pairs by title; the pairs of a group belong to one video."""
        films = [self._film(title, rows) for title, rows in groups.items()]
        label = "blue: annotated"
        for what, model, each in zip(("orange", "green"), self.models, self.observed, strict=False):
            attended = any(each[row].attention.size for rows in groups.values() for row in rows)
            looks = "light blue" if what == "orange" else "a green line"
            label += f"; {what}: predicted by {model}" + f", its attention in {looks}" * attended
        label += "; pink: other annotators" if self.references else ""
        numbers = (record for rows in groups.values() for row in rows for record in self._numbers(row))
        return Drawn(name=name, figure=draw_films(films, label=label), numbers=numbers)

    def _film(self, title: str, rows: Sequence[int]) -> Film:
        moment = self.moments[rows[0]]
        sentences = [
            Sentence(
                title=self.moments[row].query,
                lanes=self._lanes(row),
                attention=[each[row].attention for each in self.observed],
            )
            for row in rows
        ]
        return Film(title=title, duration_sec=moment.duration_sec, sentences=sentences, frames=self._frames(moment))

    def _lanes(self, row: int) -> list[Lane]:
        true = self.moments[row].windows_sec
        lanes = [annotated_lane(true)] if true else []
        for annotator, span in self.references.get(row, ()):
            lanes.append(Lane(spans=[span], colour=PINK, text=seconds(span), name=annotator or "annotator"))
        for name, colour, each in zip((PREDICTED, AGAINST), (ORANGE, GREEN), self.observed, strict=False):
            lanes.append(predicted_lane(each[row].predicted_sec, each[row].iou, name=name, colour=colour))
        return lanes

    def _frames(self, moment: Moment) -> Sequence[Any]:
        file = self.files.get(normalise_id(moment.video))
        if file is None:
            return ()
        try:
            return stills(file, [(place + 0.5) * moment.duration_sec / STILLS for place in range(STILLS)])
        except DataError as error:
            log.warning("%s; its timeline has no frames", error)
            return ()

    def _numbers(self, row: int) -> Iterator[dict[str, Any]]:
        """Yield a record for each span and each weight of an attention."""
        moment = self.moments[row]
        pair = {"qid": moment.qid, "video": moment.video, "query": moment.query}
        spans: list[tuple[str, Span, float | None]] = [("annotated", span, None) for span in moment.windows_sec]
        spans += [(f"annotator {name}", span, None) for name, span in self.references.get(row, ())]
        observed = [*zip((PREDICTED, AGAINST), self.models, self.observed, strict=False)]
        spans += [(f"{kind} by {model}", each[row].predicted_sec, each[row].iou) for kind, model, each in observed]
        for kind, (start, end), iou in spans:
            record = {**pair, "kind": kind, "start_sec": f"{start:.3f}", "end_sec": f"{end:.3f}"}
            yield {**record, "iou": None if iou is None else f"{iou:.4f}", "weight": None}
        for _, model, each in observed:
            attention, step = each[row].attention.tolist(), moment.duration_sec / max(each[row].attention.size, 1)
            for place, weight in enumerate(attention):
                record = {**pair, "kind": f"attention of {model}", "weight": f"{weight:.4g}"}
                yield {**record, "start_sec": f"{place * step:.3f}", "end_sec": f"{(place + 1) * step:.3f}"}
