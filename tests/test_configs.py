"""Every shipped config composes and builds what it names; wrong keys, types and values are refused by name.

Oracle: the numbers of the paper, typed here again.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from cpnet.config import CONFIG_DIR, register_schemas
from cpnet.config.instantiate import factory, instantiate, instantiate_all
from cpnet.data.required_files import needed_files
from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError
from cpnet.training.build import training_module


def names(folder: str) -> list[str]:
    return sorted(file.stem for file in (CONFIG_DIR / folder).glob("*.yaml"))


PARTS = ("experiment", "size")  # choose in several groups
GROUPS = sorted({file.parent.name for file in CONFIG_DIR.glob("*/*.yaml")} - {*PARTS})
CHOICES = [(group, name) for group in GROUPS for name in names(group)]
PAPER_ROWS = {  # Tables 1 to 4, in per cent
    "charades_sta": {
        "cpnet": {"R1@0.3": 71.94, "R1@0.5": 60.27, "R1@0.7": 38.74, "mIoU": 52.00},
        "cpnet_wo_cp": {"R1@0.3": 71.24, "R1@0.5": 59.73, "R1@0.7": 39.85, "mIoU": 51.54},
        "cpnet_wo_cam": {"R1@0.3": 71.61, "R1@0.5": 59.38, "R1@0.7": 39.03, "mIoU": 51.73},
    },
    "charades_sta_c3d": {"cpnet": {"R1@0.5": 40.32, "R1@0.7": 22.47, "mIoU": 37.36}},
    "activitynet_captions": {"cpnet": {"R1@0.5": 40.56, "R1@0.7": 21.63, "mIoU": 40.65}},
    "tacos": {"cpnet": {"R1@0.3": 42.61, "R1@0.5": 28.29, "mIoU": 28.69}},
}


@pytest.fixture(autouse=True, scope="module")
def _hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    register_schemas()
    for stored in ("from_checkpoint", "from_run"):
        ConfigStore.instance().store(name=stored, node={"batch_size": 3, "seed": 0})
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        yield


@cache
def compose(*overrides: str, name: str = "train") -> DictConfig:
    """Compose with the values that only a run has; read-only, because compositions are shared."""
    of_a_run = {
        "train": ["output_dir=out", "model_name=model", "experiment_name=null"],
        "evaluate": ["output_dir=out"],
        "score": ["dataset=synthetic"],
    }
    cfg = hydra.compose(name, overrides=[*of_a_run.get(name, []), *overrides])
    OmegaConf.set_readonly(cfg, True)
    return cfg


def plain(node: object) -> Any:
    return OmegaConf.to_container(OmegaConf.create(node) if isinstance(node, dict) else node, resolve=True)


def error_of(override: str) -> str:
    """Return the key and the message of the error; Hydra's own composition takes much longer."""
    cfg = compose().copy()
    OmegaConf.set_readonly(cfg, False)
    parsed = OverridesParser.create().parse_override(override)
    with pytest.raises(OmegaConfBaseException) as caught:
        OmegaConf.update(cfg, parsed.key_or_group, parsed.value(), merge=True)
    return f"{caught.value.full_key}: {caught.value}"


@pytest.mark.parametrize("name", names("."))
def test_every_command_composes(name: str) -> None:
    assert compose(name=name)


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_composes(group: str, name: str) -> None:
    resolved = OmegaConf.to_container(compose(f"{group}={name}"), resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    assert resolved[group] or (group, name) == ("logger", "none")


@pytest.mark.parametrize("group", ["launcher", "sweeper"])
def test_every_launcher_and_sweeper_composes(group: str) -> None:
    for name in names(f"hydra/{group}"):
        cfg = hydra.compose("train", overrides=[f"hydra/{group}={name}"], return_hydra_config=True)
        assert cfg.hydra[group]._target_


@pytest.mark.parametrize("group", [group for group in GROUPS if group not in ("callbacks", "logger")])
def test_every_choice_starts_with_a_schema(group: str) -> None:
    for name in names(group):
        first = OmegaConf.load(CONFIG_DIR / group / f"{name}.yaml").defaults[0]
        assert first.startswith("base_") or first.partition("@")[0] in names(group), name


KEYS = ["model.cam", "dataset.features", "metrics"]


@pytest.mark.parametrize("parent", ["", *KEYS, *(group for group in GROUPS if group not in ("callbacks", "logger"))])
def test_unknown_key_is_refused_by_name(parent: str) -> None:
    key = f"{parent}.surprise".lstrip(".")
    assert error_of(f"{key}=1").startswith(f"{key}: Key 'surprise' ")


@pytest.mark.parametrize("override", ["model.surprise=1", "model.pyramid_levels=abc"])
def test_hydra_reports_the_same_error(override: str) -> None:
    with pytest.raises(HydraException) as caught:
        compose(override)
    cause = caught.value.__cause__
    assert isinstance(cause, OmegaConfBaseException)
    assert f"{cause.full_key}: {cause}" == error_of(override)


def typed_keys(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the keys of a schema with a value of a wrong type; a string accepts any scalar."""
    wrong = {bool: "abc", int: "1.5", float: "abc", str: "[1]", list: "3", dict: "3"}
    for key, value in node.items():
        if not key.startswith("_"):
            yield f"{prefix}.{key}", wrong[type(value)]
            yield from typed_keys(value, f"{prefix}.{key}") if isinstance(value, dict) else ()


def model_keys() -> list[tuple[str, str]]:
    register_schemas()
    node = OmegaConf.to_container(ConfigStore.instance().load("model/base_cpnet.yaml").node)
    assert isinstance(node, dict)
    return [*typed_keys({str(key): value for key, value in node.items()} | {"video_dim": 1}, "model")]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *model_keys(),
        *(("dataset.features.dim", "wide"), ("dataset.splits.train", "3"), ("dataset.generate.videos", "many")),
        *(("dataset.holdout_fraction", "tenth"), ("dataset.max_words", "2.5"), ("loss.attention_weight", "much")),
        *(("optimizer.lr", "fast"), ("optimizer.betas", "0.9"), ("scheduler.warmup", "long"), ("epochs", "1.5")),
        *(("trainer.deterministic", "maybe"), ("trainer.limit_train_batches", "few"), ("metrics.thresholds", "[half]")),
        *(("metrics.strict", "rather"), ("sampling.clips", "1.5"), ("batch_size", "big"), ("seed", "1.5")),
    ],
)
def test_wrong_type_is_refused_by_name(key: str, value: str) -> None:
    assert key in error_of(f"{key}={value}")


@pytest.mark.parametrize(("value", "kind"), [("1", int), ("1.0", float), ("null", type(None))])
def test_limit_of_batches_keeps_its_type(value: str, kind: type) -> None:
    # For Lightning 1 is one batch and 1.0 is all of them.
    assert type(compose(f"trainer.limit_train_batches={value}").trainer.limit_train_batches) is kind


def test_defaults_are_those_of_the_paper() -> None:
    cfg = compose()
    assert cfg.model._target_ == "cpnet.models.CPNet"
    assert (cfg.model.hidden_dim, cfg.model.pyramid_levels, cfg.sampling.clips) == (512, 3, 128)
    assert cfg.model.encoder == {"kernel_size": 15, "conv_layers": 4, "num_heads": 8}
    assert (cfg.model.contextual_pyramid, cfg.model.context_aware, cfg.model.cam.scale) == (True, True, False)
    assert (cfg.optimizer._target_, cfg.optimizer.lr) == ("torch.optim.Adam", 1e-4)
    assert (cfg.optimizer.weight_decay, cfg.scheduler._target_) == (0.0, "cpnet.training.schedules.constant")
    assert (cfg.batch_size, cfg.trainer.gradient_clip_val) == (100, 0.5)
    assert (cfg.loss.attention_weight, cfg.loss.regression_weight) == (1.0, 1.0)
    assert list(cfg.metrics.thresholds) == [0.3, 0.5, 0.7]
    assert cfg.callbacks.checkpoint.monitor == "val/mIoU"
    assert cfg.dataset.validation != "test"
    assert (cfg.trainer.precision, cfg.trainer.compile, cfg.evaluation_order) == ("auto", "auto", "video")


def test_dependent_values_follow() -> None:
    cfg = compose("dataset=activitynet_captions", "sampling.clips=400", "dataset.features.dim=7", "epochs=3")
    assert (cfg.model.video_dim, cfg.model.max_length, cfg.trainer.max_epochs) == (7, 400, 3)
    cfg = compose("dataset.features.dim=7", "dataset.word_vectors.dim=5", "dataset.generate.folder=there")
    assert (cfg.dataset.generate.dim, cfg.dataset.generate.word_dim) == (7, 5)
    assert cfg.dataset.splits.test.annotations.startswith("there/")
    assert cfg.dataset.features.path.startswith("there/")


@pytest.mark.parametrize(
    ("name", "differs"), [("cpnet_wo_cp", "contextual_pyramid"), ("cpnet_wo_cam", "context_aware")]
)
def test_ablated_model_differs_in_one_key(name: str, differs: str) -> None:
    ablated, full = (dict(compose(f"model={model}").model) for model in (name, "cpnet"))
    assert {key for key in full if ablated[key] != full[key]} == {differs}


def test_small_preset_chooses_its_recipe_unless_overridden() -> None:
    cfg = compose("model=cpnet_small")
    assert (cfg.model.hidden_dim, cfg.model.max_length, cfg.sampling.clips) == (128, 50, 32)  # queries have <= 50 words
    assert (cfg.sampling._target_, cfg.optimizer._target_) == ("cpnet.data.sampling.MeanPool", "torch.optim.AdamW")
    assert cfg.scheduler._target_ == "cpnet.training.schedules.one_cycle"
    assert (cfg.model.cam.scale, cfg.model.video_dim) == (True, cfg.dataset.features.dim)
    chosen = compose("model=cpnet_small", "optimizer=adam", "sampling=linear", "sampling.clips=64")
    assert (chosen.optimizer._target_, chosen.model.max_length) == ("torch.optim.Adam", 64)


def test_dashboard_names_keys_of_a_run() -> None:
    board, cfg = compose(name="dashboard"), compose()
    assert all(OmegaConf.select(cfg, key, throw_on_missing=True) is not None for key in board.swept)
    assert board.thresholds == cfg.metrics.thresholds
    assert board.project == compose("logger=wandb").logger.wandb.project


@pytest.mark.parametrize("name", names("model"))
def test_every_model_is_built_with_its_loss(name: str) -> None:
    cfg = compose(f"model={name}", "sampling.clips=12", "model.hidden_dim=16")
    module = training_module(cfg, Vocabulary(("", "<unk>", "a", "b"), torch.randn(4, 6)))
    assert module.loss is not None


@pytest.mark.parametrize("name", names("dataset"))
def test_every_dataset_is_one_short_complete_file(name: str) -> None:
    dataset = compose(f"dataset={name}").dataset
    assert dataset.name == {"activitynet": "activitynet_captions"}.get(name, name)
    assert plain(dataset.paper) == PAPER_ROWS.get(dataset.name, {})
    if dataset.generate is None:
        assert dataset.published
        assert dataset.features.published
        assert str(dataset.features.dim) in dataset.features.holds
    for file in needed_files(plain(dataset)):
        assert file.holds
        assert str(file.path) == OmegaConf.select(dataset, file.key.removeprefix("dataset."))
    tests = {"test_iid", "test_ood"} if name.endswith("_cd") else {"test"}
    assert set(dataset.splits) == {"train", *tests} | ({"val"} if dataset.validation == "file" else set())
    reader = hydra.utils.get_method(dataset.reader._target_)
    arguments = {str(key): "x" for key in dataset.reader if not str(key).startswith("_")}
    for files in dataset.splits.values():
        inspect.signature(reader).bind(**arguments, **files)
    lines = (CONFIG_DIR / "dataset" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    # without comments and the paper's numbers
    assert len([line for line in lines if line and not line.startswith(("#", "paper:", "  cpnet"))]) <= 20


@pytest.mark.parametrize("name", names("optimizer"))
@pytest.mark.parametrize("schedule", names("scheduler"))
def test_every_optimizer_runs_with_every_schedule(name: str, schedule: str) -> None:
    cfg = compose(f"optimizer={name}", f"scheduler={schedule}")
    optimizer = factory(cfg.optimizer)([nn.Parameter(torch.ones(2))])
    scheduler = factory(cfg.scheduler)(optimizer, total_steps=10)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert max(rates) == pytest.approx(cfg.optimizer.lr)
    assert min(rates) >= 0


@pytest.mark.parametrize("name", names("sampling"))
def test_every_sampling_makes_its_clips(name: str) -> None:
    policy = instantiate(compose(f"sampling={name}", "sampling.clips=5").sampling)
    clips, real = policy(torch.ones(10, 2), torch.tensor([0]), torch.tensor([9]))
    assert (clips.shape, real.tolist()) == ((1, 5, 2), [5])


def test_logger_without_its_package_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("Neither `tensorboard` nor `tensorboardX` is available.")

    monkeypatch.setattr(TensorBoardLogger, "__init__", missing)
    with pytest.raises(ConfigError, match=r"logger\.tensorboard: Neither `tensorboard`"):
        instantiate_all(compose("logger=tensorboard", f"output_dir={tmp_path}").logger)


@pytest.mark.parametrize("name", names("logger"))
def test_every_logger_writes_to_the_output_folder(name: str, tmp_path: Path) -> None:
    if name in ("wandb", "tensorboard"):
        pytest.importorskip(name)
    loggers = instantiate_all(compose(f"logger={name}", f"output_dir={tmp_path}").logger)
    assert [Path(logger.save_dir) for logger in loggers] == ([] if name == "none" else [tmp_path])


# An experiment takes seconds to compose: a quick test composes the small jobs of these alone.
QUICK = ("compare_charades_i3d", "table1_ablation", "ablation_levels")


def jobs(experiment: str, size: str = "full") -> list[list[str]]:
    """Return the overrides of each job of an experiment, for one seed."""
    node = OmegaConf.load(CONFIG_DIR / "experiment" / f"{experiment}.yaml")
    OmegaConf.update(node, "hydra.runtime.choices.size", size)
    swept = node.hydra.sweeper.params
    parser = OverridesParser.create()
    values = {str(key): parser.parse_override(f"{key}={value}") for key, value in swept.items()}
    assert list(values.pop("seed").sweep_string_iterator()) == ["0", "1", "2"]
    axes = [
        [f"{key}={value}" for value in each.sweep_string_iterator()]
        for key, each in values.items()
        if each.is_sweep_override()
    ]
    fixed = [f"{key}={each.get_value_string()}" for key, each in values.items() if not each.is_sweep_override()]
    return [[*fixed, value] for axis in axes for value in axis] or [fixed]


@pytest.mark.parametrize("name", names("experiment"))
def test_every_experiment_is_short_and_states_the_numbers_of_the_paper(name: str) -> None:
    text = (CONFIG_DIR / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 15
    assert "paper" in "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for model, row in PAPER_ROWS.get(compose(f"experiment={name}").dataset.name, {}).items():
        if model == "cpnet" or name.startswith("table1"):
            assert all(f"{value:.2f}" in text for value in row.values())


SIZES = [
    pytest.param(name, size, marks=[] if size == "small" and name in QUICK else pytest.mark.slow)
    for name in names("experiment")
    for size in ("small", "full", "tiny")
]


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_jobs_of_an_experiment_differ(name: str, size: str) -> None:
    made = []
    for overrides in jobs(name, size):
        cfg = compose(f"experiment={name}", f"size={size}", *overrides)
        assert size == "full" or cfg.epochs <= 20  # of a small preset
        assert cfg.dataset.name == {"small": "charades_sta_actions", "tiny": "synthetic"}.get(size, cfg.dataset.name)
        made.append(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    assert len({json.dumps(each, sort_keys=True) for each in made}) == len(made)


def test_small_size_chooses_the_small_preset_with_its_schedule() -> None:
    small = compose("experiment=ablation_levels", "model.pyramid_levels=2", "size=small")
    preset = compose("model=cpnet_small", "model.pyramid_levels=2", "dataset=charades_sta_actions")
    for key in ("model", "sampling", "optimizer", "scheduler", "batch_size", "epochs", "dataset"):
        assert small[key] == preset[key]
    assert compose("size=tiny", "model=cpnet_wo_cp_small").model.contextual_pyramid is False
