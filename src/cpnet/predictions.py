"""predictions.jsonl: a row a pair, from which alone the metrics can be computed again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from cpnet.data.atomic import replacing
from cpnet.data.moment import Moment
from cpnet.module import Prediction

Row = tuple[int, list[list[float]], float]


class PredictionWriter(Callback):
    """Writes the predictions of a test run, complete and in the split's order also with several processes.

    Each row holds qid, video, query, duration (s), predicted ([[start, end], ...] in seconds, best first), true
    ([start, end] in seconds) and iou of the first prediction.

    Args:
        path: the file, replaced when the split is done
        moments: the split's pairs
    """

    def __init__(self, path: Path, moments: Sequence[Moment]) -> None:
        self.path, self.moments = path, moments
        self.rows: list[Row] = []
        self.written = 0  # pairs of the last run, on the first process

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self.rows = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep what the test step returned."""
        answers: Prediction = outputs
        self.rows += zip(
            answers["index"].tolist(), answers["ranked_sec"].tolist(), answers["iou"].tolist(), strict=True
        )

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rows of all processes, from the first of them."""
        gathered: list[list[Row] | None] = [self.rows]
        if trainer.world_size > 1:
            gathered = [None] * trainer.world_size
            torch.distributed.all_gather_object(gathered, self.rows)
        if trainer.is_global_zero:
            rows = sorted(row for rank in gathered for row in rank or [])
            with replacing(self.path) as stream:
                for index, ranked_sec, iou in rows:
                    record = json.dumps(self._record(index, ranked_sec, iou), ensure_ascii=False)
                    stream.write(record.encode() + b"\n")
            self.written = len(rows)

    def _record(self, index: int, ranked_sec: list[list[float]], iou: float) -> dict[str, object]:
        moment = self.moments[index]
        return {
            "qid": moment.qid,
            "video": moment.video,
            "query": moment.query,
            "duration": moment.duration_sec,
            "predicted": ranked_sec,
            "true": [moment.start_sec, moment.end_sec],
            "iou": iou,
        }
