"""All of a run on a pretended Apple GPU, which has no float64. Oracle: the CPU, with the trained weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from apple import apple
from commands import TINY, call, read_json

RUN = (
    *(each for each in TINY if each != "trainer=debug"),
    *("epochs=2", "trainer.limit_train_batches=2", "hydra.run.dir=run"),
)


@pytest.mark.slow
def test_run_is_trained_resumed_and_evaluated(tmp_path: Path) -> None:
    with apple():
        for arguments in (("epochs=1",), ("resume=true",)):
            call("train", *RUN, *arguments, folder=tmp_path)
    evaluate = ("checkpoint=run/checkpoints/best.ckpt", "trainer=cpu", "trainer.precision=32-true")
    call("evaluate", *evaluate, "hydra.run.dir=cpu", folder=tmp_path)
    apples, cpus = (read_json(tmp_path / name / "results.json") for name in ("run", "cpu"))
    assert apples["metrics"] == pytest.approx(cpus["metrics"], abs=1e-3)  # other attention kernels
    assert apples["precision"] == "32-true"


@pytest.mark.parametrize(
    "override", ["trainer.precision=16-mixed", "trainer.compile=true", "dataset.features.placement=device"]
)
def test_settings_for_nvidia_gpus_are_refused(override: str, place: Path) -> None:
    with apple():
        ended = call("train", *RUN, override, "hydra.run.dir=apple", folder=place, code=1)
    assert override in ended.err
    assert "NVIDIA" in ended.err
