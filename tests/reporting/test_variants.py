"""Oracle: names written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.reporting.variants import name_runs
from reporting.made import config


def names(*configs: dict[str, Any]) -> list[str]:
    return [*name_runs([each["model_name"] for each in configs], configs).names]


def notes(*configs: dict[str, Any]) -> list[str]:
    return [*name_runs([each["model_name"] for each in configs], configs).notes]


def test_keys_that_differ_name_the_row() -> None:
    runs = [
        config(model__pyramid_levels=levels, model__cam={"scale": scale})
        for levels in (1, 2)
        for scale in (False, True)
    ]
    assert names(*runs) == [
        "model.cam.scale=false, model.pyramid_levels=1",
        "model.cam.scale=true, model.pyramid_levels=1",
        "model.cam.scale=false, model.pyramid_levels=2",
        "model.cam.scale=true, model.pyramid_levels=2",
    ]


def test_runs_that_differ_in_nothing_have_the_models_name() -> None:
    assert names(config(seed=0), config(seed=1)) == ["cpnet", "cpnet"]


def test_keys_of_the_machine_and_the_order_do_not_name_a_row() -> None:
    one = config(
        output_dir="/a",
        data_dir="/b",
        num_workers=1,
        evaluation_order="split",
        run_name="a",
        trainer__accelerator="gpu",
    )
    other = config(output_dir="/c", sweep={"resume": True}, logger={"csv": None}, trainer__precision="bf16-mixed")
    third = config(dataset__features={"path": "/elsewhere/pack.hdf5", "dim": 4, "residence": "memory", "layout": "npy"})
    assert names(one, other, third) == ["cpnet"] * 3
    assert notes(one, other, third) == []


def test_keys_of_the_trainer_that_change_a_step_do() -> None:
    assert names(config(), config(trainer__gradient_clip_val=None)) == [
        "trainer.gradient_clip_val=0.5",
        "trainer.gradient_clip_val=null",
    ]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"trainer__devices": 4}, "trainer.devices=4"),
        ({"dataset__features__path": "/home/me/other.hdf5"}, "dataset.features.path=other.hdf5"),
        ({"dataset__features__key": "fc7"}, "dataset.features.key=fc7"),
        ({"dataset__word_vectors": {"path": "/home/me/glove.840B.txt"}}, "dataset.word_vectors.path=glove.840B.txt"),
        ({"callbacks": {"early_stopping": None}}, "callbacks.early_stopping=null"),
        ({"callbacks": {"checkpoint": {"monitor": "val/R1@0.7"}}}, "callbacks.checkpoint.monitor=val/R1@0.7"),
    ],
)
def test_what_changes_the_weights_or_which_are_taken_does(changes: dict[str, Any], name: str) -> None:
    assert names(config(), config(**changes))[1] == name


def test_what_follows_from_a_key_is_not_named() -> None:
    runs = [config(sampling__clips=clips, model__max_length=max(clips, 15)) for clips in (8, 12, 64)]
    assert names(*runs) == ["sampling.clips=8", "sampling.clips=12", "sampling.clips=64"]
    assert notes(*runs) == []
    runs[0]["model"]["max_length"] = 99  # set by somebody: 8 and 12 clips both gave 15
    assert names(*runs)[0] == "sampling.clips=8"
    assert names(config(model__max_length=40), config(model__max_length=50))[1] == "model.max_length=50"


def test_of_keys_that_differ_together_one_names_the_row_and_a_note_tells_the_others() -> None:
    adam = {"_target_": "torch.optim.Adam", "lr": 1e-4}
    adamw = {"_target_": "torch.optim.AdamW", "lr": 4e-4, "weight_decay": 0.01}
    runs = config(optimizer=adam), config(optimizer=adamw)
    assert names(*runs) == ["optimizer=Adam", "optimizer=AdamW"]
    assert notes(*runs) == ["optimizer differs together with optimizer.lr, optimizer.weight_decay"]


def test_a_preset_is_a_name_without_the_keys_that_follow_from_it() -> None:
    full = config(model__contextual_pyramid=True)
    ablated = config(model="cpnet_wo_cp", model__contextual_pyramid=False, batch_size=100)
    assert names(full, ablated) == ["cpnet", "cpnet_wo_cp"]
    assert notes(full, ablated) == ["with the model's preset differ also batch_size"]
    more = config(model="cpnet_wo_cp", model__contextual_pyramid=False, batch_size=100, epochs=9)
    assert names(full, ablated, more) == ["cpnet, epochs=3", "cpnet_wo_cp, epochs=3", "cpnet_wo_cp, epochs=9"]


def test_of_many_ablations_each_row_is_named_by_what_is_ablated() -> None:
    usual: dict[str, Any] = {"model__pyramid_levels": 3, "model__fusion": "folded", "epochs": 4, "batch_size": 32}
    rows = [usual, usual, *(usual | {key: 9} for key in usual)]
    assert names(*(config(**row) for row in rows)) == [
        *("cpnet", "cpnet", "model.pyramid_levels=9", "model.fusion=9", "epochs=9", "batch_size=9"),
    ]
    said = "batch_size=32, epochs=4, model.fusion=folded, model.pyramid_levels=3"
    assert notes(*(config(**row) for row in rows)) == [f"where a row's name does not say otherwise: {said}"]


def test_blind_runs_are_rows_of_their_own() -> None:
    assert names(config(), config(dataset__blind="video")) == ["dataset.blind=none", "dataset.blind=video"]


def test_a_path_in_a_name_is_not_of_this_machine() -> None:
    runs = [
        config(dataset__features={"concat": [{"path": path}]}) for path in ("/home/me/flow.hdf5", "C:\\me\\rgb.hdf5")
    ]
    assert names(*runs) == ["dataset.features.concat=[{path: flow.hdf5}]", "dataset.features.concat=[{path: rgb.hdf5}]"]


def test_a_key_that_only_some_have_is_named_where_it_is() -> None:
    assert names(config(), config(novelty="absent"), config(novelty="")) == ["cpnet", "novelty='absent'", "novelty=''"]


KEYS = ("batch_size", "epochs", "model__pyramid_levels", "sampling__clips", "model__max_length")
RUN = st.tuples(st.sampled_from(["cpnet", "small"]), *(st.integers(1, 2) for _ in KEYS))


@given(st.lists(RUN, min_size=1, max_size=6))
def test_runs_share_a_name_only_where_they_share_all_keys(runs: list[tuple[Any, ...]]) -> None:
    found = names(*(config(model=model, **dict(zip(KEYS, values, strict=True))) for model, *values in runs))
    for run, name in zip(runs, found, strict=True):
        for other, its in zip(runs, found, strict=True):
            assert (run == other) == (name == its)
