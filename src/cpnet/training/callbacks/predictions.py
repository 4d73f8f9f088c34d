"""Write the predictions of a test run, gathered from all processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from cpnet.data.moment import Moment
from cpnet.evaluation.breakdown import rarest_words
from cpnet.runs.predictions import (
    SUBMISSION,
    PredictionRow,
    Span,
    read_predictions,
    write_predictions,
    write_submission,
)
from cpnet.training.epoch_means import gather
from cpnet.training.module import GroundingModule, Prediction

CHUNK = 256  # pairs converted to Python objects at a time, which need ten times the memory of tensors


class PredictionWriter(Callback):
    """Writes one row per pair, in the order of the split; a split without true windows also gets submission.jsonl.

    Args:
        path: the file, replaced at the end of the test
        moments: the pairs of the split
        missed: further pairs, which have no prediction; written last

    All three may be set before each test.

    Attributes:
        training: pairs in whose queries the rarest word of each query is counted, set before the test
    """

    def __init__(self, path: Path, moments: Sequence[Moment] = (), *, missed: Sequence[Moment] = ()) -> None:
        self.path, self.moments, self.missed = path, moments, missed
        self.training: Sequence[Moment] = ()
        self.written = 0  # pairs of the last test, on the first process

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the predictions; the first process writes them."""
        assert isinstance(pl_module, GroundingModule)
        predictions = [each for each in gather(pl_module.prediction) if each]
        if trainer.is_global_zero:
            self.written = write_predictions(self.path, self._rows(predictions))
            submission = self.path.with_name(SUBMISSION)
            submission.unlink(missing_ok=True)  # of an earlier test
            if not any(moment.windows_sec for moment in self.moments):
                numbered = {moment.qid for moment in chain(self.moments, self.missed) if moment.numbered}
                write_submission(submission, read_predictions(self.path), numbered=numbered)

    def _rows(self, predictions: Sequence[Prediction]) -> Iterator[PredictionRow]:
        queries = [moment.query for moment in (*self.moments, *self.missed)]
        counts = rarest_words(queries, [moment.query for moment in self.training])
        rarest = counts if self.training else [None] * len(counts)
        columns = [torch.cat(column) for column in zip(*predictions, strict=True)]
        for rows in torch.split(columns[0].argsort(), CHUNK):
            for position, ranked_sec, iou in zip(*(column[rows].tolist() for column in columns), strict=True):
                spans = tuple((start, end) for start, end in ranked_sec)
                yield _row(self.moments[position], spans, iou, rarest[position])
        for moment, count in zip(self.missed, rarest[len(self.moments) :], strict=True):
            yield _row(moment, (), 0.0, count)


def _row(moment: Moment, predicted: tuple[Span, ...], iou: float, rarest: int | None) -> PredictionRow:
    return PredictionRow(
        qid=moment.qid,
        video=moment.video,
        query=moment.query,
        duration=moment.duration_sec,
        predicted=predicted,
        true=moment.windows_sec,
        iou=iou if moment.windows_sec else None,
        rarest=rarest,
    )
