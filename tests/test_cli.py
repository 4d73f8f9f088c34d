"""A user's mistake gets exit code 1 and a few lines that name key, value and what is allowed; a bug its traceback."""

from __future__ import annotations

import re
import time
from pathlib import Path

import h5py
import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from commands import TINY, Ended, call, spawn
from cpnet import mistakes, train
from cpnet.config import CONFIG_DIR, ConfigError, register_schemas
from cpnet.data.moment import DataError
from cpnet.data.synthetic import SyntheticCorpus


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the synthetic corpus of the tiny run and its checkpoint."""
    folder = tmp_path_factory.mktemp("place")
    ended = call("train", *TINY, "hydra.run.dir=run", "logger=none", folder=folder)
    assert ended.code == 0, ended.err
    return folder


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    register_schemas()
    GlobalHydra.instance().clear()
    overrides = [
        *TINY,
        "logger=none",
        "output_dir=refused",
        "model_name=cpnet_small",
        "experiment_name=null",
        "trainer.max_epochs=${epochs}",
    ]
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_DIR)):
        return hydra.compose("train", overrides=overrides)


@pytest.fixture
def tiny(composed: DictConfig) -> DictConfig:
    """What the command line of the tiny run composes, to be changed."""
    return composed.copy()


def complaint(ended: Ended) -> str:
    """What a failed command said, which must be short and without a traceback."""
    assert ended.code == 1
    assert "Traceback" not in ended.out + ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("cpnet: ")]
    assert len(lines) == 1
    said = ended.err[ended.err.index("cpnet: ") + len("cpnet: ") :]
    assert len(said.splitlines()) <= 8
    return said


def test_files_that_are_not_there_are_listed_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['train', 'dataset=tacos', 'model.pyramid_levels=3']\n"
        "try:\n"
        "    runpy.run_module('cpnet.train', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    print([name for name in ('torch', 'numpy', 'h5py', 'pytorch_lightning') if name in sys.modules])\n"
    )
    start = time.perf_counter()
    ended = spawn("-c", code, folder=tmp_path)
    assert time.perf_counter() - start < 10  # 1 s on an idle machine
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert ended.out.splitlines()[-1] == "[]"
    keys = [f"dataset.splits.{split}.annotations" for split in ("train", "val", "test")]
    keys += ["dataset.features.path", "dataset.word_vectors.path"]
    for file in ("train.json", "val.json", "test.json", "tall_c3d_features.hdf5"):
        assert f"data/tacos_org/{file}\n" in ended.err
    assert "data/glove/glove.6B.300d.txt\n" in ended.err
    for key in keys:
        assert re.search(rf"holds .*\n +published .*\n +elsewhere  {re.escape(key)}=PATH\n", ended.err)
    assert "5 of the 5 files that dataset=tacos needs" in ended.err
    assert "dataset=synthetic" in ended.err


def test_the_root_of_the_files_is_set_on_the_line_or_in_the_environment(tmp_path: Path) -> None:
    (tmp_path / "corpora" / "tacos_org").mkdir(parents=True)
    (tmp_path / "corpora" / "tacos_org" / "train.json").touch()
    ended = call("train", "dataset=tacos", "data_dir=corpora", folder=tmp_path)
    assert "4 of the 5 files that dataset=tacos needs" in ended.err
    assert "train.json" not in ended.err
    assert "corpora/tacos_org/val.json" in ended.err
    ended = call("train", "dataset=tacos", folder=tmp_path, environment={"CPNET_DATA": "there"})
    assert "there/tacos_org/train.json" in ended.err


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("dataset=tacoss", r"dataset=tacoss: there is no such dataset\. Did you mean tacos\b"),
        ("model=cpnet_tiny", r"model is one of: cpnet, cpnet_small, cpnet_wo_cam, cpnet_wo_cp\n"),
        ("logger=null", r"a group is chosen by a name, not by null"),
        ("datset=tacos", r"datset: there is no such key\. Did you mean dataset\b"),
        ("model.pyramid_level=3", r"model\.pyramid_level: there is no such key\. Did you mean model\.pyramid_levels\b"),
        ("pyramid_levels=3", r"pyramid_levels: there is no such key\. Did you mean model\.pyramid_levels\b"),
        (
            "model.encoder.kernel=3",
            r"model\.encoder\.kernel: .*\n  keys under model\.encoder: kernel_size, conv_layers,",
        ),
        ("optimizer.learning_rate=1", r"optimizer\.learning_rate: .*\n  keys under optimizer: lr, weight_decay, betas"),
        ("metrics.threshold=[0.5]", r"metrics\.threshold: .* Did you mean metrics\.thresholds\b"),
        ("model.pyramid_levels=abc", r"model\.pyramid_levels: Value 'abc' of type 'str' .* Integer"),
        ("model.context_aware=maybe", r"model\.context_aware: Value 'maybe' is not a valid bool"),
        ("epochs=1.5", r"epochs: Value '1\.5' of type 'float' .* Integer"),
        ("epochs", r"'epochs'\nmissing EQUAL"),
    ],
)
def test_a_wrong_key_or_type(override: str, said: str, tmp_path: Path) -> None:
    assert re.search(said, complaint(call("train", override, folder=tmp_path)))
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.pyramid_levels=0", r"model\.pyramid_levels must be 1 to 8; got 0"),
        ("model.pyramid_levels=99", r"model\.pyramid_levels must be 1 to 8; got 99"),
        ("model.hidden_dim=100", r"model\.hidden_dim must be a multiple of model\.encoder\.num_heads; got 100 and 8"),
        ("model.hidden_dim=0", r"model\.hidden_dim must be 2 or more .*; got 0"),
        ("model.dropout=1", r"model\.dropout must be at least 0 and below 1; got 1"),
        ("model.encoder.kernel_size=4", r"model\.encoder\.kernel_size must be odd and positive; got 4"),
        ("model.order=sorted", r"model\.order must be one of swap, none; got 'sorted'"),
        ("dataset.blind=x", r"dataset\.blind must be one of none, video, query; got 'x'"),
        ("dataset.validation=x", r"dataset\.validation must be one of file, holdout, test; got 'x'"),
        ("dataset.on_defect=x", r"dataset\.on_defect must be error or drop, found 'x'"),
        ("dataset.ground_truth=x", r"dataset\.ground_truth must be one of clipped, raw; got 'x'"),
        ("dataset.holdout_fraction=2", r"dataset\.holdout_fraction must lie between 0 and 1; got 2"),
        ("dataset.max_words=0", r"dataset\.max_words must be 1 or more; got 0"),
        ("dataset.features.layout=zip", r"dataset\.features\.layout=zip is none of auto, hdf5,"),
        ("dataset.generate.actions=99", r"dataset\.generate\.actions must be 5 to 12, found 99"),
        ("sampling.clips=0", r"sampling\.clips=0: a video needs at least one clip"),
        ("batch_size=0", r"batch_size must be 1 or more; got 0"),
        ("num_workers=-1", r"num_workers must be 0 or more; got -1"),
        ("epochs=0", r"epochs must be 1 or more; got 0"),
        ("seed=-1", r"seed: -1 is not in bounds.* 0 to 4294967295"),
        ("loss.attention_weight=-1", r"loss\.attention_weight must be .*0 or more; got -1"),
        ("loss.attention_normalizer=x", r"loss\.attention_normalizer must be one of target, literal; got 'x'"),
        ("optimizer.lr=-1", r"optimizer: Invalid learning rate: -1"),
        ("optimizer.betas=[2,0.9]", r"optimizer: Invalid beta parameter at index 0: 2"),
        ("optimizer.betas=[0.9]", r"optimizer\.betas must be two numbers; got \[0\.9\]"),
        ("scheduler.warmup=5", r"scheduler.warmup .* \[0, 1\), got 5"),
        ("metrics.thresholds=[2]", r"metrics: .*threshold must lie in \(0, 1\], got 2"),
        ("metrics.recall_at=[0]", r"metrics: .*n must be at least 1, got 0"),
        ("trainer.precision=16-mixed", r"trainer\.precision=16-mixed is for GPUs.* bf16-mixed or 32-true"),
        ("trainer.accelerator=abacus", r"trainer: .*accelerator='abacus'.* Available names are: auto,"),
        ("trainer.limit_train_batches=-1", r"trainer: .*-1 for limit_train_batches, it has to be in \[0\.0, 1\.0\]"),
        ("trainer.strategy=ddp_notebook", r"trainer\.strategy=ddp_notebook loses what its processes measure; take ddp"),
        ("trainer.accumulate_grad_batches=0", r"trainer\.accumulate_grad_batches must be 1 or more; got 0"),
        ("callbacks.checkpoint=null", r"callbacks\.checkpoint must be a ModelCheckpoint"),
        ("callbacks.checkpoint.monitor=val/x", r"callbacks: .*monitor='val/x'.* could not find .*'val/mIoU'"),
        ("callbacks.early_stopping.monitor=val/x", r"callbacks\.early_stopping\.monitor: .*val/x.* not available"),
    ],
)
def test_an_impossible_value(
    override: str, said: str, tiny: DictConfig, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    parsed = OverridesParser.create().parse_override(override)
    OmegaConf.update(tiny, parsed.key_or_group, parsed.value())
    with pytest.raises(mistakes.USER_ERRORS) as caught:
        train.main(tiny)
    assert re.match(said, mistakes.explain(caught.value, "train"))
    assert not (place / "refused" / "results.json").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.pyramid_levels=99", "model.pyramid_levels must be 1 to 8; got 99"),
        ("+model.heads=3", "model: CPNet.__init__() got an unexpected keyword argument 'heads'"),
        ("optimizer.lr=-1", "optimizer: Invalid learning rate: -1.0"),
        ("batch_size=0", "batch_size must be 1 or more; got 0"),
    ],
)
def test_an_impossible_value_on_the_command_line(override: str, said: str, place: Path) -> None:
    overrides = [*TINY, "logger=none", "hydra.run.dir=refused", override]
    assert complaint(call("train", *overrides, folder=place)) == f"{said}\n"


def test_a_logger_that_does_not_exist_is_refused_before_training(place: Path) -> None:
    pytest.importorskip("wandb")
    overrides = [*TINY, "hydra.run.dir=refused", "logger=wandb", "logger.wandb.mode=loud"]
    said = complaint(call("train", *overrides, folder=place))
    assert said.startswith("logger.wandb.mode must be one of offline, online; got 'loud'")


@pytest.fixture
def incomplete(tmp_path: Path) -> Path:
    """A corpus whose features lack the first twelve videos."""
    SyntheticCorpus(folder=tmp_path / "corpus", videos=60).prepare()
    with h5py.File(tmp_path / "corpus" / "features.hdf5", "a") as file:
        for name in sorted(file)[:12]:
            del file[name]
    return tmp_path


def test_features_that_lack_videos_of_a_split(incomplete: Path) -> None:
    # Given as a corpus of one's own: one that is made from a seed would be made anew.
    splits = [
        f"dataset.splits.{split}.{key}=corpus/{name.format(split)}"
        for split in ("train", "test")
        for key, name in (("annotations", "charades_sta_{}.txt"), ("durations", "Charades_v1_{}.csv"))
    ]
    paths = ["dataset.features.path=corpus/features.hdf5", "dataset.word_vectors.path=corpus/glove.txt"]
    widths = ["dataset.features.dim=64", "dataset.word_vectors.dim=50"]
    settings = [*splits, *paths, *widths, "dataset.validation=test"]  # so that no video of train is held out
    said = complaint(call("train", "dataset=charades_sta", "model=cpnet_small", *settings, folder=incomplete))
    first = ", ".join(f"'S{number:04d}'" for number in range(10))
    assert f"12 of 48 videos of split train have no features in corpus/features.hdf5: {first}, ..." in said
    assert "set dataset.features.path=" in said


def test_a_mistake_of_ours_keeps_its_traceback(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a bug of ours")

    monkeypatch.setattr("cpnet.results.save_config", broken)
    with pytest.raises(KeyError, match="a bug of ours") as caught:
        call("train", *TINY, "logger=none", "hydra.run.dir=broken", folder=place)
    assert "train" in [entry.name for entry in caught.traceback]


@pytest.mark.parametrize("error", [ConfigError("model.x must be 1; got 2"), DataError("a.txt: line 3: no span")])
def test_an_error_that_is_meant_for_the_user_is_said_as_it_is(error: Exception) -> None:
    wrapper = RuntimeError("somewhere in a framework")
    wrapper.__cause__ = error
    assert mistakes.explain(wrapper, "train") == str(error)


def test_no_checkpoint(tmp_path: Path) -> None:
    assert "checkpoint=" in complaint(call("evaluate", folder=tmp_path))
    assert "there is no checkpoint at run/best.ckpt" in complaint(
        call("evaluate", "checkpoint=run/best.ckpt", folder=tmp_path)
    )


@pytest.mark.parametrize("content", ["text", "numbers", "half", "empty", "folder"])
def test_a_file_that_is_no_checkpoint(content: str, place: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.ckpt"
    if content == "folder":
        path.mkdir()
    elif content == "numbers":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        whole = (place / "run/checkpoints/best.ckpt").read_bytes()
        path.write_bytes({"text": b"hello", "half": whole[: len(whole) // 2], "empty": b""}[content])
    said = complaint(call("evaluate", "checkpoint=some.ckpt", folder=tmp_path))
    assert re.match(r"(there is no checkpoint at )?some\.ckpt\b", said)


CHECKPOINT = "checkpoint=run/checkpoints/best.ckpt"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "dataset.features.path=elsewhere.hdf5",
            r"there is no feature pack at elsewhere\.hdf5; set dataset\.features\.path",
        ),
        ("dataset.feature.path=x", r"dataset\.feature: there is no such key\. Did you mean dataset\.features\b"),
        ("dataset=tacos", r"dataset cannot be chosen here, only its keys can be set: name, "),
        ("batch_size=big", r"batch_size: Value 'big' of type 'str' .* Integer"),
        ("batch_size=0", r"batch_size must be 1 or more; got 0"),
        ("split=dev", r"split must be one of train, val, test; got 'dev'"),
        ("trainer=quantum", r"trainer is one of: auto, bf16, cpu, ddp, debug, gpu"),
        ("model.pyramid_levels=2", r"best\.ckpt holds the weights of another model \(.*model\.pyramid\.top_down\.join"),
        ("model.hidden_dim=32", r"best\.ckpt holds the weights of another model \(size mismatch"),
        ("trainer.strategy=ddp_fork", r"trainer\.strategy=ddp_fork loses what its processes measure; take ddp"),
    ],
)
def test_a_wrong_override_of_an_evaluation(override: str, said: str, place: Path) -> None:
    assert re.search(said, complaint(call("evaluate", CHECKPOINT, override, "hydra.run.dir=refused", folder=place)))


def test_a_checkpoint_may_lie_where_the_path_needs_quotes(place: Path) -> None:
    odd = place / "lr=1"
    odd.mkdir()
    (odd / "best.ckpt").write_bytes((place / "run/checkpoints/best.ckpt").read_bytes())
    ended = call("evaluate", "checkpoint='lr=1/best.ckpt'", "--cfg", "job", folder=place)
    assert ended.code == 0, ended.err
    assert "checkpoint: lr=1/best.ckpt\n" in ended.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hydra.run.dir=run"], None),  # it is there, a file of it is not: a mistake of ours
        (["hydra.run.dir=gone"], "gone/metrics.csv: No such file or directory; hydra.run.dir=FOLDER names another"),
        (["-m", "hydra.sweep.dir=gone"], "gone/metrics.csv: No such file or directory; hydra.sweep.dir=FOLDER names"),
        (["resume_from=gone"], "gone/metrics.csv: No such file or directory; that is where resume_from goes on"),
        ([], None),
    ],
)
def test_a_missing_file_is_told_from_a_folder_that_is_gone(
    arguments: list[str], said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train", *arguments])
    name = f"{tmp_path}/{'run' if said is None else 'gone'}/metrics.csv"
    found = mistakes.said(FileNotFoundError(2, "No such file or directory", name), "train")
    assert (found is None) == (said is None)
    assert str(said or "") in str(found or "")


def test_two_recipes_are_one_too_many(tmp_path: Path) -> None:
    ended = call("train", "dataset=synthetic", "model=cpnet_small", "size=tiny", folder=tmp_path)
    assert complaint(ended).startswith("size=... brings a model and recipe of its own")


def test_help_needs_no_checkpoint(tmp_path: Path) -> None:
    ended = call("evaluate", "--help", folder=tmp_path)
    assert ended.code == 0
    assert ended.out.startswith("python -m cpnet.evaluate checkpoint=PATH")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_choice_of_every_group(flag: str, tmp_path: Path) -> None:
    ended = call("train", "dataset=tacos", flag, folder=tmp_path)
    assert ended.code == 0
    said = " ".join(ended.out.split())
    for group in ("dataset", "model", "optimizer", "experiment", "size", "trainer", "hydra/launcher"):
        files = sorted(file.stem for file in (CONFIG_DIR / group).glob("*.yaml"))
        assert f"{group}={' | '.join(files)}" in said
    assert "override" not in said.replace("[overrides]", "")


@pytest.mark.parametrize(
    ("command", "key"), [("report", "resamples: 2000"), ("dashboard", "action: save # save | dry_run")]
)
def test_help_shows_a_commands_own_keys(command: str, key: str, tmp_path: Path) -> None:
    assert key in call(command, "--help", folder=tmp_path).out


def test_the_configuration_can_be_printed_without_any_file(tmp_path: Path) -> None:
    ended = call("train", "dataset=tacos", "--cfg", "job", folder=tmp_path)
    assert ended.code == 0
    printed = OmegaConf.create(ended.out)
    assert (printed.dataset.name, printed.model.pyramid_levels) == ("tacos", 3)
