"""Write the predictions of a test run, gathered from all processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from cpnet.data.moment import Moment
from cpnet.runs.predictions import SUBMISSION, PredictionRow, read_predictions, write_predictions, write_submission
from cpnet.training.module import Prediction

CHUNK = 256  # pairs converted to Python objects at a time, which need ten times the memory of tensors


class PredictionWriter(Callback):
    """Writes one row per pair, in the order of the split; a split without true windows also gets submission.jsonl.

    Args:
        path: the file, replaced at the end of the test
        moments: the pairs of the split
    """

    def __init__(self, path: Path, moments: Sequence[Moment]) -> None:
        self.path, self.moments = path, moments
        self.written = 0  # pairs of the last test, on the first process
        self._predictions: list[Prediction] = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the output of the test step, which is None for an empty batch."""
        if outputs is not None:
            self._predictions.append(outputs)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the predictions on the first process and write them."""
        own, self._predictions = self._predictions, []
        processes = [own] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.gather_object(own, processes if trainer.is_global_zero else None)
        if trainer.is_global_zero:
            self.written = write_predictions(self.path, self._rows(list(chain.from_iterable(processes))))
            submission = self.path.with_name(SUBMISSION)
            submission.unlink(missing_ok=True)  # of an earlier test
            if not any(moment.windows_sec for moment in self.moments):
                numbered = {moment.qid for moment in self.moments if moment.numbered}
                write_submission(submission, read_predictions(self.path), numbered=numbered)

    def _rows(self, predictions: Sequence[Prediction]) -> Iterator[PredictionRow]:
        columns = [torch.cat(column) for column in zip(*predictions, strict=True)]
        for rows in torch.split(columns[0].argsort(), CHUNK):
            for position, ranked_sec, iou in zip(*(column[rows].tolist() for column in columns), strict=True):
                moment = self.moments[position]
                yield PredictionRow(
                    qid=moment.qid,
                    video=moment.video,
                    query=moment.query,
                    duration=moment.duration_sec,
                    predicted=tuple((start, end) for start, end in ranked_sec),
                    true=moment.windows_sec,
                    iou=iou if moment.windows_sec else None,
                )
