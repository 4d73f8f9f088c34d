"""predictions.jsonl: a row a pair, from which alone the metrics can be computed again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from cpnet.data.atomic import replacing
from cpnet.data.moment import Moment
from cpnet.module import Prediction

CHUNK = 256  # pairs that are Python objects at a time: as tensors they take a tenth of the memory

_encode = json.JSONEncoder(ensure_ascii=False).encode


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
        self.answers: list[Prediction] = []
        self.written = 0  # pairs of the last run, on the first process

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self.answers = []

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
        self.answers.append(outputs)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the answers of all processes, from the first of them."""
        own, self.answers = join(self.answers), []
        gathered: list[Prediction | None] = [own]
        if trainer.world_size > 1:
            gathered = [None] * trainer.world_size
            torch.distributed.gather_object(own, gathered if trainer.is_global_zero else None)
        if trainer.is_global_zero:
            answers = join([each for each in gathered if each is not None])
            with replacing(self.path) as stream:
                stream.writelines(self._lines(answers))
            self.written = 0 if answers is None else len(answers["index"])

    def _lines(self, answers: Prediction | None) -> Iterator[bytes]:
        """Give the lines one by one, in the split's order."""
        if answers is None:
            return
        for rows in torch.split(answers["index"].argsort(), CHUNK):
            columns = (answers[key][rows].tolist() for key in ("index", "ranked_sec", "iou"))
            for index, ranked_sec, iou in zip(*columns, strict=True):
                yield _encode(self._record(index, ranked_sec, iou)).encode() + b"\n"

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


def join(answers: Sequence[Prediction]) -> Prediction | None:
    """Join the answers to several batches to one; None where there is no batch, as on a process without pairs."""
    if not answers:
        return None
    return Prediction(
        index=torch.cat([each["index"] for each in answers]),
        ranked_sec=torch.cat([each["ranked_sec"] for each in answers]),
        iou=torch.cat([each["iou"] for each in answers]),
    )
