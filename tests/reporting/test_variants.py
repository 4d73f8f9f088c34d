"""Oracle: names written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.reporting.variants import name_runs
from reporting.made import config

ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-4}
ADAMW = {"_target_": "torch.optim.AdamW", "lr": 4e-4, "weight_decay": 0.01}
WITHOUT_CP: dict[str, Any] = {"model": "cpnet_wo_cp", "model__contextual_pyramid": False, "batch_size": 100}
USUAL: dict[str, Any] = {"model__pyramid_levels": 3, "model__fusion": "folded", "epochs": 4, "batch_size": 32}


def names(*configs: dict[str, Any]) -> list[str]:
    return name_runs([each["model_name"] for each in configs], configs)[0]


@pytest.mark.parametrize(
    ("runs", "expected", "notes"),
    [
        ([{"seed": 0}, {"seed": 1}], ["cpnet", "cpnet"], []),
        (
            [{"model__cam": {"scale": scale}, "epochs": epochs} for epochs in (1, 2) for scale in (False, True)],
            [f"epochs={epochs}, model.cam.scale={scale}" for epochs in (1, 2) for scale in ("false", "true")],
            [],
        ),
        (
            [{"sampling__clips": clips, "model__max_length": max(clips, 15)} for clips in (8, 12, 64)],
            ["sampling.clips=8", "sampling.clips=12", "sampling.clips=64"],
            ["sampling.clips also changes model.max_length"],
        ),
        (
            [{"optimizer": ADAM}, {"optimizer": ADAMW}],
            ["optimizer=Adam", "optimizer=AdamW"],
            ["optimizer also changes optimizer.lr, optimizer.weight_decay"],
        ),
        (
            [{"model__contextual_pyramid": True}, WITHOUT_CP],
            ["cpnet", "cpnet_wo_cp"],
            ["the model's preset also changes batch_size"],
        ),
        (
            [{"model__contextual_pyramid": True}, WITHOUT_CP, WITHOUT_CP | {"epochs": 9}],
            ["cpnet, epochs=3", "cpnet_wo_cp, epochs=3", "cpnet_wo_cp, epochs=9"],
            ["the model's preset also changes batch_size"],
        ),
        (
            [USUAL, USUAL, *(USUAL | {key: 9} for key in USUAL)],
            ["cpnet", "cpnet", "model.pyramid_levels=9", "model.fusion=9", "epochs=9", "batch_size=9"],
            ["unless the name differs: batch_size=32, epochs=4, model.fusion=folded, model.pyramid_levels=3"],
        ),
        (
            [{"dataset__features": {"concat": [{"path": path}]}} for path in ("/me/flow.hdf5", "C:\\me\\rgb.hdf5")],
            ["dataset.features.concat=[{path: flow.hdf5}]", "dataset.features.concat=[{path: rgb.hdf5}]"],
            [],
        ),
        ([{}, {"novelty": "absent"}, {"novelty": ""}], ["cpnet", "novelty='absent'", "novelty=''"], []),
    ],
)
def test_rows_are_named_by_the_keys_that_differ(
    runs: list[dict[str, Any]], expected: list[str], notes: list[str]
) -> None:
    configs = [config(**changes) for changes in runs]
    assert name_runs([each["model_name"] for each in configs], configs) == (expected, notes)


@pytest.mark.parametrize(
    "changes",
    [
        {"output_dir": "/c", "data_dir": "/d", "evaluation_order": "split", "run_name": "a"},
        {"sweep": {"resume": True}, "logger": {"csv": None}, "trainer__precision": "bf16-mixed"},
        {"dataset__features": {"path": "/elsewhere/pack.hdf5", "dim": 4, "placement": "memory", "layout": "npy"}},
    ],
)
def test_keys_outside_the_method_do_not_name_a_row(changes: dict[str, Any]) -> None:
    assert name_runs(["cpnet"] * 2, [config(), config(**changes)]) == (["cpnet"] * 2, [])


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"trainer__devices": 4}, "trainer.devices=4"),
        ({"trainer__gradient_clip_val": None}, "trainer.gradient_clip_val=null"),
        ({"dataset__blind": "video"}, "dataset.blind=video"),
        ({"dataset__features__path": "/home/me/other.hdf5"}, "dataset.features.path=other.hdf5"),
        ({"dataset__features__key": "fc7"}, "dataset.features.key=fc7"),
        (
            {"dataset__splits": {"train": {"annotations": "/me/half.txt"}}},
            "dataset.splits.train.annotations=half.txt",
        ),
        ({"dataset__word_vectors": {"path": "/home/me/glove.840B.txt"}}, "dataset.word_vectors.path=glove.840B.txt"),
        ({"init_from": "/me/a/checkpoints/best.ckpt"}, "init_from=/me/a/checkpoints/best.ckpt"),
        ({"trainer__max_epochs": 9}, "epochs=9"),
        ({"trainer__check_val_every_n_epoch": 2}, "trainer.check_val_every_n_epoch=2"),
        ({"callbacks": {"early_stopping": None}}, "callbacks.early_stopping=null"),
        ({"callbacks": {"checkpoint": {"monitor": "val/R1@0.7"}}}, "callbacks.checkpoint.monitor=val/R1@0.7"),
    ],
)
def test_keys_of_the_method_name_a_row(changes: dict[str, Any], name: str) -> None:
    assert names(config(), config(**changes))[1] == name


KEYS = ("batch_size", "epochs", "model__pyramid_levels", "sampling__clips", "model__max_length")
RUN = st.tuples(st.sampled_from(["cpnet", "small"]), *(st.integers(1, 3) for _ in KEYS))


@given(st.lists(RUN, min_size=1, max_size=6))
def test_runs_share_a_name_if_and_only_if_all_keys_are_equal(runs: list[tuple[Any, ...]]) -> None:
    found = names(*(config(model=model, **dict(zip(KEYS, values, strict=True))) for model, *values in runs))
    for run, name in zip(runs, found, strict=True):
        for other, its in zip(runs, found, strict=True):
            assert (run == other) == (name == its)
