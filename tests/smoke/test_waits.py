"""The host waits for a GPU within a step only where this file says so. Oracle: a pretended GPU that counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from apple import apple, waits
from corpora import CLIPS, TRAIN, ready, trainer, write_corpus
from cpnet.data.sampling import MeanPool, Pick
from cpnet.training.callbacks.non_finite import NonFinite
from cpnet.training.losses import GroundingLoss
from cpnet.training.module import GroundingModule
from models.pairs import small_model

STEP = {"module.py:configure_gradient_clipping": 1}  # whether the gradients are finite


def waits_per_batch(run: Callable[[int], None]) -> dict[str, float]:
    counts = []
    for batches in (1, 3):
        waits.clear()
        with apple():
            run(batches)
        counts.append(Counter(waits))
    return {name: count / 2 for name, count in (counts[1] - counts[0]).items()}


@pytest.mark.parametrize(
    ("placement", "sampling"), [pytest.param("disk", Pick, marks=pytest.mark.slow), ("device", MeanPool)]
)
def test_steps_wait_only_for_what_is_named(placement: str, sampling: type[Any], tmp_path: Path) -> None:
    arguments = write_corpus(tmp_path, dict.fromkeys(("train", "val", "test"), TRAIN))
    arguments |= {"batch_size": 1, "sampling": sampling(clips=CLIPS), "evaluation_order": "video"}
    datamodule = ready(arguments | {"features": arguments["features"] | {"placement": placement}})
    adam = partial(torch.optim.Adam, lr=1e-3, fused=True)
    module = GroundingModule(model=small_model(dropout=0.2).train(), loss=GroundingLoss(), optimizer=adam)

    def fit(batches: int) -> None:
        limits = {"limit_train_batches": batches, "limit_val_batches": 1, "max_epochs": 1, "gradient_clip_val": 0.5}
        trainer(accelerator="auto", callbacks=[NonFinite(limit=3)], **limits).fit(module, datamodule=datamodule)

    def test(batches: int) -> None:
        run = trainer(accelerator="auto", limit_val_batches=batches, limit_test_batches=batches)
        run.validate(module, datamodule=datamodule, verbose=False)
        run.test(module, datamodule=datamodule, verbose=False)

    assert waits_per_batch(fit) == STEP
    assert waits_per_batch(test) == {}
