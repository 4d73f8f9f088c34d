"""Every shipped file composes, makes what it names, and is counted; wrong keys and wrong types are refused by name."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.callbacks import Timer
from torch import nn

from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.build import build_module, factory, instantiate, instantiate_all, make_trainer, optimizer_factory
from cpnet.config import CONFIG_DIR, ConfigError, register_schemas
from cpnet.data.vocabulary import Vocabulary
from cpnet.precision import choose_precision
from cpnet.speed import Compilation

# A new file is counted here once it is meant to stay.
SHIPPED = {
    "callbacks": 1,
    "dataset": 8,
    "dataset/annotations": 1,
    "experiment": 17,
    "hydra/launcher": 4,
    "hydra/sweeper": 1,
    "logger": 3,
    "loss": 1,
    "model": 4,
    "optimizer": 2,
    "recipe": 1,
    "sampling": 3,
    "scheduler": 4,
    "size": 3,
    "trainer": 7,
}
# The others hold parts that files of groups share, or what a whole run is made of.
GROUPS = [group for group in SHIPPED if "/" not in group and group not in ("experiment", "recipe", "size")]
EXPERIMENTS = sorted(file.stem for file in (CONFIG_DIR / "experiment").glob("*.yaml"))
CHOICES = [(group, file.stem) for group in GROUPS for file in sorted((CONFIG_DIR / group).glob("*.yaml"))]
DATASETS, MODELS = ([name for group, name in CHOICES if group == wanted] for wanted in ("dataset", "model"))
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
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        yield


@cache
def compose(*overrides: str, name: str = "train") -> DictConfig:
    """Compose as a run does, with the folder that only a run has; nobody may change what is composed once for all."""
    needed = {"train": ["output_dir=out", "model_name=model", "experiment_name=null"], "dashboard": []}
    folder = needed.get(name, ["output_dir=out"])
    cfg = hydra.compose(name, overrides=[*folder, *overrides])
    OmegaConf.set_readonly(cfg, True)
    return cfg


def refusal(override: str) -> str:
    """The key that a refusal is about, and what it says; set as hydra sets it, which composes much longer."""
    cfg = compose().copy()
    OmegaConf.set_readonly(cfg, False)
    parsed = OverridesParser.create().parse_override(override)
    with pytest.raises(OmegaConfBaseException) as caught:
        OmegaConf.update(cfg, parsed.key_or_group, parsed.value(), merge=True)
    return f"{caught.value.full_key}: {caught.value}"


@pytest.mark.parametrize("group", sorted(SHIPPED))
def test_every_file_is_counted(group: str) -> None:
    assert len(list((CONFIG_DIR / group).glob("*.yaml"))) == SHIPPED[group]


def test_every_group_is_known() -> None:
    groups = {file.parent.relative_to(CONFIG_DIR).as_posix() for file in CONFIG_DIR.glob("*/**/*.yaml")}
    assert groups | {"experiment"} == {*SHIPPED, "hydra/job_logging"}  # a link, in a checkout
    commands = {"train", "resume", "evaluate", "prepare", "report", "dashboard"}
    assert {file.stem for file in CONFIG_DIR.glob("*.yaml")} == commands
    assert len(CHOICES) == sum(SHIPPED[group] for group in GROUPS)


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_file_composes(group: str, name: str) -> None:
    cfg = compose(f"{group}={name}")
    resolved = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    assert resolved[group] or (group, name) == ("logger", "none")


# Callbacks and loggers are any class that Lightning takes.
@pytest.mark.parametrize(("group", "name"), [choice for choice in CHOICES if choice[0] not in ("callbacks", "logger")])
def test_every_file_begins_with_its_schema_or_with_a_file_that_does(group: str, name: str) -> None:
    first = OmegaConf.load(CONFIG_DIR / group / f"{name}.yaml").defaults[0]
    assert first.startswith("base_") or (CONFIG_DIR / group / f"{first.partition('@')[0]}.yaml").is_file()


@pytest.mark.parametrize("group", ["dataset", "model", "loss", "optimizer", "scheduler", "sampling", "trainer"])
def test_an_unknown_key_of_a_group_is_refused_by_name(group: str) -> None:
    assert refusal(f"{group}.surprise=1").startswith(f"{group}.surprise: Key 'surprise' ")


@pytest.mark.parametrize("key", ["surprise", "metrics.surprise", "model.cam.surprise", "dataset.features.surprise"])
def test_an_unknown_key_elsewhere_is_refused_by_name(key: str) -> None:
    assert refusal(f"{key}=1").startswith(f"{key}: Key 'surprise' ")


def test_hydra_sets_a_key_in_the_same_way() -> None:
    for override in ("model.surprise=1", "model.pyramid_levels=abc"):
        with pytest.raises(HydraException) as caught:
            compose(override)
        cause = caught.value.__cause__
        assert isinstance(cause, OmegaConfBaseException)
        assert f"{cause.full_key}: {cause}" == refusal(override)


def typed_keys(node: object, prefix: str) -> list[tuple[str, str]]:
    """Keys of a schema with a value that their type does not take; a string takes any scalar."""
    assert isinstance(node, dict)
    wrong = {bool: "abc", int: "1.5", float: "abc", str: "[1]", list: "3", dict: "3"}
    pairs = []
    for key, value in node.items():
        if key != "_target_":
            pairs.append((f"{prefix}.{key}", wrong[type(value)]))
            pairs += typed_keys(value, f"{prefix}.{key}") if isinstance(value, dict) else []
    return pairs


def model_keys() -> list[tuple[str, str]]:
    register_schemas()
    node = OmegaConf.to_container(ConfigStore.instance().load("model/base_cpnet.yaml").node)
    assert isinstance(node, dict)
    return typed_keys(node | {"video_dim": 1}, "model")


def test_the_keys_of_the_model_are_those_of_its_constructor() -> None:
    from cpnet.models import CPNet

    top = {key.split(".")[1] for key, _ in model_keys()}
    assert top == set(inspect.signature(CPNet).parameters) - {"word_vectors"}
    assert len(model_keys()) == 21


@pytest.mark.parametrize(("key", "value"), model_keys())
def test_a_wrong_type_under_model_is_refused_by_name(key: str, value: str) -> None:
    assert key in refusal(f"{key}={value}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset.features.dim", "wide"),
        ("dataset.splits.train", "3"),
        ("dataset.generate.videos", "many"),
        ("dataset.holdout_fraction", "tenth"),
        ("dataset.max_words", "2.5"),
        ("loss.attention_weight", "much"),
        ("optimizer.lr", "fast"),
        ("optimizer.betas", "0.9"),
        ("scheduler.warmup", "long"),
        ("sampling.clips", "1.5"),
        ("trainer.deterministic", "maybe"),
        ("trainer.limit_train_batches", "few"),
        ("metrics.thresholds", "[half]"),
        ("metrics.strict", "rather"),
        ("epochs", "1.5"),
        ("batch_size", "big"),
        ("seed", "1.5"),
    ],
)
def test_a_wrong_type_elsewhere_is_refused_by_name(key: str, value: str) -> None:
    assert key in refusal(f"{key}={value}")


@pytest.mark.parametrize(("value", "kind"), [("1", int), ("1.0", float), ("null", type(None))])
def test_one_batch_is_not_all_of_them(value: str, kind: type) -> None:
    # Lightning takes the number 1 for a batch and 1.0 for every batch.
    assert type(compose(f"trainer.limit_train_batches={value}").trainer.limit_train_batches) is kind


def test_the_defaults_are_the_papers() -> None:
    cfg = compose()
    assert cfg.model._target_ == "cpnet.models.CPNet"
    assert (cfg.model.hidden_dim, cfg.model.pyramid_levels, cfg.sampling.clips) == (512, 3, 128)
    assert cfg.model.encoder == {"kernel_size": 15, "conv_layers": 4, "num_heads": 8}
    assert (cfg.model.contextual_pyramid, cfg.model.context_aware, cfg.model.cam.scale) == (True, True, False)
    assert (cfg.optimizer._target_, cfg.optimizer.lr) == ("torch.optim.Adam", 1e-4)
    assert (cfg.optimizer.weight_decay, cfg.scheduler._target_) == (0.0, "cpnet.schedules.constant")
    assert (cfg.batch_size, cfg.trainer.gradient_clip_val) == (100, 0.5)
    assert (cfg.loss.attention_weight, cfg.loss.regression_weight) == (1.0, 1.0)
    assert list(cfg.metrics.thresholds) == [0.3, 0.5, 0.7]
    assert cfg.callbacks.checkpoint.monitor == "val/mIoU"
    assert cfg.dataset.validation != "test"


def test_a_run_is_as_fast_as_the_machine_lets_it_by_default() -> None:
    cfg = compose()
    assert (cfg.trainer.precision, cfg.trainer.compile) == ("auto", "auto")
    assert (cfg.evaluation_order, cfg.optimizer.fused) == ("video", True)


def test_what_follows_from_a_value_is_not_written_again() -> None:
    cfg = compose("dataset=activitynet_captions", "sampling.clips=400", "dataset.features.dim=7", "epochs=3")
    assert (cfg.model.video_dim, cfg.model.max_length, cfg.trainer.max_epochs) == (7, 400, 3)
    cfg = compose("dataset.features.dim=7", "dataset.word_vectors.dim=5", "dataset.generate.folder=there")
    assert (cfg.dataset.generate.dim, cfg.dataset.generate.word_dim) == (7, 5)
    assert cfg.dataset.splits.test.annotations.startswith("there/")
    assert cfg.dataset.features.path.startswith("there/")


@pytest.mark.parametrize(
    ("name", "differs"), [("cpnet_wo_cp", "contextual_pyramid"), ("cpnet_wo_cam", "context_aware")]
)
def test_an_ablation_differs_from_cpnet_in_one_key(name: str, differs: str) -> None:
    ablated, full = (dict(compose(f"model={model}").model) for model in (name, "cpnet"))
    assert {key for key in full if ablated[key] != full[key]} == {differs}


def test_the_small_preset_brings_its_recipe_and_leaves_the_rest_to_the_line() -> None:
    cfg = compose("model=cpnet_small")
    assert (cfg.model.hidden_dim, cfg.model.max_length, cfg.sampling.clips) == (
        128,
        50,
        32,
    )  # queries have up to 50 words
    assert cfg.sampling._target_ == "cpnet.data.sampling.MeanPool"
    assert (cfg.optimizer._target_, cfg.scheduler._target_) == ("torch.optim.AdamW", "cpnet.schedules.one_cycle")
    assert (cfg.model.cam.scale, cfg.model.video_dim) == (True, cfg.dataset.features.dim)
    chosen = compose("model=cpnet_small", "optimizer=adam", "sampling=linear", "sampling.clips=64")
    assert (chosen.optimizer._target_, chosen.model.max_length) == ("torch.optim.Adam", 64)
    assert chosen.sampling._target_ == "cpnet.data.sampling.Linear"


def test_a_dashboard_names_keys_that_a_run_has() -> None:
    board, cfg = compose(name="dashboard"), compose()
    assert all(OmegaConf.select(cfg, key, throw_on_missing=True) is not None for key in board.swept)
    assert board.thresholds == cfg.metrics.thresholds
    assert board.project == compose("logger=wandb").logger.wandb.project


@dataclass
class Toy:
    """Two words and a batch of one pair, of whatever width a model asks for."""

    vocabulary: Vocabulary
    batch: GroundingBatch


def toy(*, clips: int, video_dim: int) -> Toy:
    words = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    words[:2] = 0
    batch = GroundingBatch(
        video=torch.randn(1, clips, video_dim, generator=torch.Generator().manual_seed(1)),
        video_mask=torch.arange(clips)[None] < clips - 3,
        query=torch.tensor([[2, 1, 3]]),
        query_mask=torch.ones(1, 3, dtype=torch.bool),
        span=torch.tensor([[0.2, 0.6]]),
        span_sec=torch.tensor([[2.0, 6.0]], dtype=torch.float64),
        duration_sec=torch.tensor([10.0], dtype=torch.float64),
        index=torch.tensor([0]),
    )
    return Toy(Vocabulary(("", "<unk>", "door", "open"), words), batch)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_answers_and_learns_from_a_batch(name: str) -> None:
    cfg = compose(f"model={name}", "sampling.clips=12", "model.hidden_dim=16")
    module = build_module(cfg, toy(clips=12, video_dim=64).vocabulary)
    data = toy(clips=12, video_dim=cfg.model.video_dim)
    output = module(data.batch)
    assert isinstance(output, GroundingOutput)
    assert (output.span.shape, output.ranked.shape, output.log_attention.shape) == ((1, 2), (1, 1, 2), (1, 12))
    loss = module.loss(output, data.batch)["loss"]
    torch.autograd.backward(loss)
    assert torch.isfinite(loss)
    assert sum(parameter.grad is not None for parameter in module.parameters()) > 10


def test_the_ablations_lose_parameters() -> None:
    sizes = {}
    for name in ("cpnet", "cpnet_wo_cp", "cpnet_wo_cam"):
        model = instantiate(compose(f"model={name}", "model.hidden_dim=16").model, word_vectors=torch.zeros(3, 5))
        sizes[name] = sum(parameter.numel() for parameter in model.parameters())
    assert sizes["cpnet"] > sizes["cpnet_wo_cam"] > sizes["cpnet_wo_cp"]


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_names_arguments_that_its_reader_takes(name: str) -> None:
    dataset = compose(f"dataset={name}").dataset
    reader = hydra.utils.get_method(dataset.reader._target_)
    given = {key for key in dataset.reader if not str(key).startswith("_")}
    splits = {"train", "test"} | ({"val"} if dataset.validation == "file" else set())
    assert set(dataset.splits) == splits
    for files in dataset.splits.values():
        inspect.signature(reader).bind(**dict.fromkeys([*given, *files], "x"))


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_says_where_its_files_are_published(name: str) -> None:
    dataset = compose(f"dataset={name}").dataset
    if dataset.generate is None:
        assert dataset.published
        assert dataset.features.published
        assert dataset.features.holds
        assert str(dataset.features.dim) in dataset.features.holds


def test_every_corpus_is_a_file_of_its_own_name() -> None:
    names = {name: compose(f"dataset={name}").dataset.name for name in DATASETS}
    assert names == {name: name for name in DATASETS} | {"activitynet": "activitynet_captions"}


@pytest.mark.parametrize("name", DATASETS)
def test_a_corpus_is_one_short_file(name: str) -> None:
    lines = (CONFIG_DIR / "dataset" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    # Header and the paper's numbers are no settings.
    settings = [line for line in lines if line and not line.startswith(("#", "paper:", "  cpnet"))]
    assert len(settings) <= 20


@pytest.mark.parametrize("name", DATASETS)
def test_the_papers_rows_are_the_papers(name: str) -> None:
    paper = OmegaConf.to_container(compose(f"dataset={name}").dataset.paper)
    assert isinstance(paper, dict)
    same = {"activitynet": "activitynet_captions"}.get(name, name)
    assert {model: row for model, row in paper.items() if row} == PAPER_ROWS.get(same, {})


@pytest.mark.parametrize("name", [name for group, name in CHOICES if group == "optimizer"])
@pytest.mark.parametrize("schedule", [name for group, name in CHOICES if group == "scheduler"])
def test_every_optimizer_runs_under_every_schedule(name: str, schedule: str) -> None:
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


@pytest.mark.parametrize("name", [name for group, name in CHOICES if group == "sampling"])
def test_every_sampling_makes_its_clips(name: str) -> None:
    policy = instantiate(compose(f"sampling={name}", "sampling.clips=5").sampling)
    clips, real = policy(torch.ones(10, 2), torch.tensor([0]), torch.tensor([9]))
    assert (clips.shape, real.tolist()) == ((1, 5, 2), [5])


def runnable(*overrides: str) -> DictConfig:
    """Make a configuration that a run may change, with the precision that it would choose."""
    cfg = compose(*overrides).copy()
    OmegaConf.set_readonly(cfg, False)
    cfg.trainer.precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    return cfg


@pytest.mark.parametrize("name", [name for group, name in CHOICES if group == "trainer"])
def test_every_trainer_is_made_where_its_devices_are(name: str) -> None:
    cfg = runnable(f"trainer={name}")
    if cfg.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="trainer: No supported gpu backend"):
            make_trainer(cfg, callbacks=[], logger=False)
        return
    # A machine without the devices still takes the arguments.
    trainer = make_trainer(cfg, callbacks=[], logger=False, **({"accelerator": "cpu"} if name == "ddp" else {}))
    assert trainer.max_epochs == cfg.trainer.max_epochs


@pytest.mark.parametrize("written", ["true", "True", "false", "auto"])
def test_a_trainer_compiles_as_its_keys_say(written: str, tmp_path: Path) -> None:
    cfg = runnable("trainer=cpu", f"trainer.compile={written}", f"trainer.compile_cache={tmp_path}/there")
    before = cfg.copy()
    given = Timer()
    made = make_trainer(cfg, callbacks=[given], logger=False)
    (compilation,) = (each for each in vars(made)["callbacks"] if isinstance(each, Compilation))
    assert (compilation.when, compilation.cache) == (written.lower(), tmp_path / "there")
    assert given in vars(made)["callbacks"]
    assert cfg == before  # a run's configuration goes into its checkpoints


@pytest.mark.parametrize(("written", "means"), [("auto", "false"), ("true", "true"), ("false", "false")])
def test_no_clock_decides_about_a_deterministic_run(written: str, means: str) -> None:
    cfg = runnable("trainer=cpu", f"trainer.compile={written}", "trainer.deterministic=true")
    try:
        made = make_trainer(cfg, callbacks=[], logger=False)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)  # the trainer sets it for the whole process
    (compilation,) = (each for each in vars(made)["callbacks"] if isinstance(each, Compilation))
    assert compilation.when == means


@pytest.mark.parametrize(
    ("devices", "batch_size", "effective", "added_up"), [(1, 4, 8, 2), (2, 4, 8, 1), (2, 5, 30, 3)]
)
def test_the_effective_batch_says_how_many_are_added_up(
    devices: int, batch_size: int, effective: int, added_up: int
) -> None:
    several = (f"trainer.devices={devices}", f"batch_size={batch_size}", f"trainer.effective_batch_size={effective}")
    made = make_trainer(runnable("trainer=ddp", "trainer.accelerator=cpu", *several), callbacks=[], logger=False)
    assert made.accumulate_grad_batches == added_up
    assert added_up * devices * batch_size == effective


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.effective_batch_size=12", r"=12 must be a multiple of batch_size x processes = 4 x 2 = 8"),
        ("trainer.effective_batch_size=4", r"=4 must be a multiple of"),
        ("trainer.effective_batch_size=0", r"=0 must be a multiple of"),
        ("trainer.accumulate_grad_batches=2", r"=16 says how many batches .* leave out accumulate_grad_batches=2"),
    ],
)
def test_an_impossible_effective_batch_is_refused(override: str, said: str) -> None:
    given = ("trainer=ddp", "trainer.accelerator=cpu", "batch_size=4", "trainer.effective_batch_size=16")
    with pytest.raises(ConfigError, match=rf"^trainer\.effective_batch_size{said}"):
        make_trainer(runnable(*given, override), callbacks=[], logger=False)


def test_a_trainer_refuses_another_word_for_compile() -> None:
    with pytest.raises(ConfigError, match=r"^trainer\.compile must be true, false or auto; got 'often'"):
        make_trainer(runnable("trainer=cpu", "trainer.compile=often"), callbacks=[], logger=False)


@pytest.mark.parametrize(
    ("optimizer", "precision", "fused"),
    [
        ("adam", "32-true", True),
        ("adamw", "bf16-mixed", True),
        ("adam", "16-mixed", False),
        ("adamw", "16-mixed", False),
    ],
)
def test_a_fused_optimizer_leaves_the_unscaling_to_the_trainer(optimizer: str, precision: str, fused: bool) -> None:
    cfg = compose(f"optimizer={optimizer}", f"trainer.precision={precision}").copy()
    OmegaConf.set_readonly(cfg, False)
    made = optimizer_factory(cfg)([nn.Parameter(torch.ones(1))])
    assert made.defaults["fused"] is fused
    assert cfg.optimizer.fused is True


@pytest.mark.parametrize("name", [name for group, name in CHOICES if group == "logger"])
def test_every_logger_is_made_and_writes_below_the_run(name: str, tmp_path: Path) -> None:
    cfg = compose(f"logger={name}", f"output_dir={tmp_path}")
    if name == "wandb":
        pytest.importorskip("wandb")
    if name == "tensorboard":
        pytest.importorskip("tensorboard")
    loggers = instantiate_all(cfg.logger)
    assert len(loggers) == (0 if name == "none" else 1)
    for logger in loggers:
        assert Path(logger.save_dir) == tmp_path


def test_a_callback_set_to_null_is_left_out() -> None:
    here = "output_dir=here"
    assert len(instantiate_all(compose(here).callbacks)) == 4
    assert len(instantiate_all(compose(here, "callbacks.early_stopping=null").callbacks)) == 3


def test_evaluation_refuses_unknown_keys_and_wrong_types() -> None:
    ConfigStore.instance().store(name="from_checkpoint", node=json.loads('{"batch_size": 3, "seed": 0}'))
    assert compose("batch_size=4", name="evaluate").batch_size == 4
    for override in ("surprise=1", "batch_size=big", "trainer.surprise=1", "dataset.surprise=1"):
        with pytest.raises(ConfigCompositionException):
            compose(override, name="evaluate")


def test_a_refusal_names_the_group_where_the_constructor_does_not() -> None:
    node: Any = compose("optimizer.lr=-1").optimizer
    with pytest.raises(ConfigError, match=r"^optimizer: .*learning rate.*-1"):
        factory(node)([nn.Parameter(torch.ones(1))])
    with pytest.raises(ConfigError, match=r"^loss\.attention_weight must be .*; got -1"):
        instantiate(compose("loss.attention_weight=-1").loss)
    with pytest.raises(ConfigError, match=r"^trainer: .*unexpected keyword argument 'surprise'"):
        make_trainer(runnable("+trainer.surprise=1"), callbacks=[], logger=False)


def variants(experiment: str) -> list[list[str]]:
    """The overrides of each job of an experiment, of one seed."""
    swept = OmegaConf.load(CONFIG_DIR / "experiment" / f"{experiment}.yaml").hydra.sweeper.params
    parser = OverridesParser.create()
    values = {str(key): parser.parse_override(f"{key}={value}") for key, value in swept.items()}
    assert list(values.pop("seed").sweep_string_iterator()) == ["0", "1", "2"]
    return [[f"{key}={value}"] for key, each in values.items() for value in each.sweep_string_iterator()] or [[]]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_short_and_says_what_the_paper_has(name: str) -> None:
    lines = (CONFIG_DIR / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 15
    header = "\n".join(line for line in lines if line.startswith("#"))
    assert "paper" in header


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_header_of_an_experiment_has_the_papers_numbers(name: str) -> None:
    text = (CONFIG_DIR / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    dataset = compose(f"experiment={name}").dataset.name
    for model, row in PAPER_ROWS.get(dataset, {}).items():
        if model == "cpnet" or name.startswith("table1"):
            assert all(f"{value:.2f}" in text for value in row.values())


@pytest.mark.parametrize("size", ["full", "small", "tiny"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_job_of_an_experiment_makes_a_model_of_its_own(name: str, size: str) -> None:
    made = []
    for overrides in variants(name):
        cfg = compose(f"experiment={name}", f"size={size}", *overrides)
        assert cfg.dataset.name == {"small": "charades_sta_actions", "tiny": "synthetic"}.get(size, cfg.dataset.name)
        made.append(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    assert len({json.dumps(each, sort_keys=True) for each in made}) == len(made)


def test_the_twins_differ_from_the_experiment_in_their_size_alone() -> None:
    full, small = (
        compose("experiment=ablation_levels", "model.pyramid_levels=2", f"size={s}") for s in ("full", "small")
    )
    assert (full.model.hidden_dim, small.model.hidden_dim) == (512, 128)
    assert full.model.pyramid_levels == small.model.pyramid_levels == 2
    preset = compose("model=cpnet_small")
    for key in ("sampling", "optimizer", "scheduler", "batch_size"):
        assert small[key] == preset[key]
