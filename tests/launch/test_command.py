"""A user error ends with exit code 1 and a short message: key, value, what is allowed. A bug keeps its traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from torch._inductor.exc import InductorError

from commands import TINY, call, compose, spawn, start
from cpnet import train
from cpnet.config import CONFIG_DIR
from cpnet.errors import ConfigError, DataError
from cpnet.launch import messages
from cpnet.launch.command import arranged


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    names = ("output_dir=refused", "model_name=cpnet_small", "experiment_name=null")
    return compose(*TINY, *names, "trainer.max_epochs=${epochs}")


@pytest.fixture
def tiny(composed: DictConfig) -> DictConfig:
    """Configuration of a tiny run, which the test changes."""
    return composed.copy()


def message_of(command: str, *arguments: str, folder: Path) -> str:
    """Run a command that fails; return its message, which must be short and without a traceback."""
    ended = call(command, *arguments, folder=folder, code=1)
    assert "Traceback" not in ended.out + ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("cpnet: ")]
    assert len(lines) == 1
    message = ended.err[ended.err.index("cpnet: ") + len("cpnet: ") :]
    assert len(message.splitlines()) <= 8
    return message


def test_missing_files_are_listed_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['train', 'dataset=tacos', 'model.pyramid_levels=3']\n"
        "try:\n"
        "    runpy.run_module('cpnet.train', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    print([name for name in ('torch', 'numpy', 'h5py', 'pytorch_lightning') if name in sys.modules])\n"
    )
    ended = spawn("-c", code, folder=tmp_path, code=1)
    assert "Traceback" not in ended.err
    assert ended.out.splitlines()[-1] == "[]"
    assert "5 of the 5 files that dataset=tacos needs" in ended.err
    assert "dataset=synthetic" in ended.err


def test_data_dir_is_set_by_override_or_environment(tmp_path: Path) -> None:
    (tmp_path / "corpora" / "tacos_org").mkdir(parents=True)
    (tmp_path / "corpora" / "tacos_org" / "train.json").touch()
    ended = call("train", "dataset=tacos", "data_dir=corpora", folder=tmp_path, code=1)
    assert "4 of the 5 files that dataset=tacos needs" in ended.err
    assert "train.json" not in ended.err
    assert "corpora/tacos_org/val.json" in ended.err
    ended = call("train", "dataset=tacos", folder=tmp_path, code=1, environment={"CPNET_DATA": "there"})
    assert "there/tacos_org/train.json" in ended.err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset=tacoss", r"dataset=tacoss: there is no such dataset\. Did you mean tacos\b"),
        (
            "model=cpnet_tiny",
            r"model is one of: ablr, ablr_small, ablr_tacos, cpnet, cpnet_frames, cpnet_plus, .*, vslnet_small\n",
        ),
        ("logger=null", r"a group needs a name, not null"),
        ("datset=tacos", r"datset: there is no such key\. Did you mean dataset\b"),
        ("model.pyramid_level=3", r"model\.pyramid_level: there is no such key\. Did you mean model\.pyramid_levels\b"),
        ("pyramid_levels=3", r"pyramid_levels: there is no such key\. Did you mean model\.pyramid_levels\b"),
        ("model.encoder.kernel=3", r"model\.encoder\.kernel: .*\n  keys under model\.encoder: kernel_size,"),
        ("optimizer.learning_rate=1", r"optimizer\.learning_rate: .*\n  keys under optimizer: lr, weight_decay, betas"),
        ("metrics.threshold=[0.5]", r"metrics\.threshold: .* Did you mean metrics\.thresholds\b"),
        ("model.pyramid_levels=abc", r"model\.pyramid_levels: Value 'abc' of type 'str' .* Integer"),
        ("model.context_aware=maybe", r"model\.context_aware: Value 'maybe' is not a valid bool"),
        ("epochs", r"epochs: .* an override is KEY=VALUE"),
        ("data_dir=runs/lr=1", r"data_dir=runs/lr=1: Hydra cannot read .*\n.*: 'data_dir=\"runs/lr=1\"'\n"),
        ("data_dir=a#b", r": 'data_dir=\"a#b\"'\n"),
        ("data_dir=[x]/ü", r": 'data_dir=\"\[x\]/ü\"'\n"),
        ("data_dir=a(b)", r": 'data_dir=\"a\(b\)\"'\n"),
        ("data_dir=a,b", r"one value, or several\? .* -m\.\n.*: 'data_dir=\"a,b\"'\n"),
        ("dataset.generate.videos=3", r"dataset\.generate\.videos: there is no such key"),
        (
            "dataset.paper.cpnet={mIoU: 3.5}",
            r"^dataset\.paper\.cpnet=\{mIoU: 3\.5\}: a mapping without a value, .*--config-dir FOLDER",
        ),
        ("model=[1]", r"model=\[1\]: a mapping without a value"),
    ],
)
def test_wrong_key_or_type(override: str, message: str, tmp_path: Path) -> None:
    groups = [] if override.startswith(("dataset=", "data_dir=")) else ["dataset=tacos"]
    assert re.search(message, message_of("train", *groups, override, folder=tmp_path))
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.pyramid_levels=0", r"model\.pyramid_levels must be 1 to 8; got 0"),
        ("epochs=0", r"epochs must be 1 or more; got 0"),
        ("seed=-1", r"seed: -1 is not in bounds.* 0 to 4294967295"),
        ("optimizer.lr=-1", r"optimizer: Invalid learning rate: -1"),
        ("optimizer.betas=[0.9]", r"optimizer\.betas must be two numbers; got \[0\.9\]"),
        ("metrics.thresholds=[2]", r"metrics: .*threshold must lie in \(0, 1\], got 2"),
        ("trainer.accelerator=abacus", r"trainer: .*accelerator='abacus'.* Available names are: auto,"),
        ("trainer.limit_train_batches=-1", r"trainer: .*-1 for limit_train_batches, it has to be in \[0\.0, 1\.0\]"),
        ("trainer.accumulate_grad_batches=0", r"trainer\.accumulate_grad_batches must be 1 or more; got 0"),
        ("callbacks.checkpoint.monitor=val/x", r"callbacks: .*monitor='val/x'.* could not find .*'val/mIoU'"),
        ("callbacks.early_stopping.monitor=val/x", r"callbacks\.early_stopping\.monitor: .*val/x.* not available"),
    ],
)
def test_impossible_value(
    override: str, message: str, tiny: DictConfig, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    parsed = OverridesParser.create().parse_override(override)
    OmegaConf.update(tiny, parsed.key_or_group, parsed.value())
    with pytest.raises(messages.USER_ERRORS) as caught:
        train.main(tiny)
    assert re.match(message, messages.explain(caught.value, "train"))
    assert not (place / "refused" / "results.json").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("-m a=1 --config-dir x=y b=~/c", "a=1 b=/home/me/c -m --config-dir x=y"),
        ("--config-dir=~/c ~a a='~' a=[~/b,~/c]", "~a a='/home/me' a=[/home/me/b,/home/me/c] --config-dir=/home/me/c"),
        ("a=b~/c a=~b --cfg job", "a=b~/c a=~b --cfg job"),
        ("query='~ ~'", "query='~ ~'"),
    ],
)
def test_command_line_is_arranged(arguments: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert arranged(arguments.split()) == expected.split()


def test_impossible_value_on_the_command_line(place: Path) -> None:
    overrides = [*TINY, "logger=none", "hydra.run.dir=refused", "+model.heads=3"]
    message = message_of("train", *overrides, folder=place)
    assert message == "model: CPNet.__init__() got an unexpected keyword argument 'heads'\n"


def test_wrong_logger_mode_is_refused_before_training(place: Path) -> None:
    pytest.importorskip("wandb")
    overrides = [*TINY, "hydra.run.dir=refused", "logger=wandb", "logger.wandb.mode=loud"]
    message = message_of("train", *overrides, folder=place)
    assert message.startswith("logger.wandb.mode must be one of offline, online; got 'loud'")


def test_bug_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpnet.launch.command.check_corpus", None)
    with pytest.raises(TypeError, match="not callable") as caught:
        call("train", *TINY, folder=tmp_path)
    assert "main" in [entry.name for entry in caught.traceback]


@pytest.mark.parametrize("error", [ConfigError("model.x must be 1; got 2"), DataError("a.txt: line 3: no span")])
def test_wrapped_user_error_is_found(error: Exception) -> None:
    wrapper = RuntimeError("raised by a framework")
    wrapper.__cause__ = error
    assert messages.explain(wrapper, "train") == str(error)


def test_damaged_cache_of_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "cache/compiled")
    full = messages.message_for(OSError(28, "No space left on device", "run/results.json"), "train")
    assert full == (
        "run/results.json: No space left on device; free some space; resume_from=FOLDER continues a training, "
        "sweep.resume=true a sweep"
    )
    message = messages.message_for(InductorError(ImportError("x.so: file too short"), None), "train")
    assert "x.so: file too short)\n" in str(message)
    assert "delete cache/compiled, or set trainer.compile=false" in str(message)


@pytest.mark.parametrize(
    ("arguments", "parent"),
    [
        (("cpnet.train",), "tacos/cpnet"),
        pytest.param(("cpnet.prepare",), "prepare/tacos", marks=pytest.mark.slow),
        pytest.param(
            *(("cpnet.train", "-m", "seed=1,2", "hydra/launcher=basic"), "multirun/tacos"), marks=pytest.mark.slow
        ),
    ],
)
def test_runs_that_start_together_have_folders_of_their_own(
    arguments: tuple[str, ...], parent: str, tmp_path: Path
) -> None:
    line = ("-m", *arguments, "dataset=tacos", "data_dir=nowhere")  # fails when the folder exists
    for process in [start(*line, folder=tmp_path) for _ in range(3)]:
        assert "files that dataset=tacos needs" in "".join(process.communicate())
    below = "0" if "-m" in arguments else "."
    assert len(list((tmp_path / "outputs" / parent).glob(f"*/{below}/.hydra/overrides.yaml"))) == 3


def test_missing_or_damaged_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("hello", encoding="utf-8")
    for arguments, message in (
        ((), "checkpoint is required: checkpoint=outputs/RUN/checkpoints/best.ckpt"),
        (("checkpoint=run/best.ckpt",), "no checkpoint at run/best.ckpt; the best one of a run is "),
        (("checkpoint=text.ckpt",), "text.ckpt is not a checkpoint or is damaged ("),
    ):
        assert message in message_of("evaluate", *arguments, folder=tmp_path)


CHECKPOINT = "checkpoint=run/checkpoints/best.ckpt"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.features.path=x.hdf5", r"no feature pack at x\.hdf5; set dataset\.features\.path"),
        ("dataset.feature.path=x", r"dataset\.feature: there is no such key\. Did you mean dataset\.features\b"),
        ("dataset=taco", r"dataset=taco: there is no such dataset\. Did you mean tacos"),
        ("batch_size=big", r"batch_size: Value 'big' of type 'str' .* Integer"),
        ("batch_size=0", r"batch_size must be 1 or more; got 0"),
        ("split=dev", r"split must be one of train, val, test; got 'dev'"),
        ("trainer=quantum", r"trainer is one of: auto, bf16, cpu, ddp, debug, gpu"),
        ("model.pyramid_levels=2", r"best\.ckpt: the weights do not fit the model \(.*pyramid\.top_down\.join"),
        ("model.hidden_dim=32", r"best\.ckpt: the weights do not fit the model \(size mismatch"),
        ("trainer.strategy=ddp_fork", r"trainer\.strategy must be one of auto, ddp, .*; got ddp_fork"),
    ],
)
def test_wrong_override_of_an_evaluation(override: str, message: str, place: Path) -> None:
    assert re.search(message, message_of("evaluate", CHECKPOINT, override, "hydra.run.dir=refused", folder=place))


def test_checkpoint_path_may_be_quoted(place: Path) -> None:
    odd = place / "lr=1"
    odd.mkdir()
    (odd / "best.ckpt").write_bytes((place / "run/checkpoints/best.ckpt").read_bytes())
    ended = call("evaluate", "checkpoint='lr=1/best.ckpt'", "--cfg", "job", folder=place)
    assert "checkpoint: lr=1/best.ckpt\n" in ended.out


def test_cpnet_lists_and_runs_commands(tmp_path: Path) -> None:
    ended = spawn("-m", "cpnet", folder=tmp_path)
    for command in ("train", "evaluate", "export", "prepare", "report", "dashboard"):
        assert f"\n  {command} " in ended.out
    ended = spawn("-m", "cpnet", "train", "epochs=1.5", folder=tmp_path, code=1)
    assert "cpnet: epochs: Value '1.5'" in ended.err
    ended = spawn("-m", "cpnet", "trian", folder=tmp_path, code=2)
    assert ended.err.splitlines()[0] == "cpnet: there is no command 'trian'"


def test_help_lists_all_choices_of_all_groups(tmp_path: Path) -> None:
    ended = call("train", "dataset=tacos", "-h", folder=tmp_path)
    printed = " ".join(ended.out.split())
    for group in ("dataset", "model", "optimizer", "experiment", "size", "trainer", "hydra/launcher"):
        files = sorted(file.stem for file in (CONFIG_DIR / group).glob("*.yaml"))
        assert f"{group}={' | '.join(files)}" in printed
    assert "override" not in printed.replace("[overrides]", "")


@pytest.mark.parametrize(
    ("command", "key"), [("report", "resamples: 2000"), ("evaluate", "split: test # train | val | test")]
)
def test_help_lists_root_keys(command: str, key: str, tmp_path: Path) -> None:
    assert key in call(command, "--help", folder=tmp_path).out


def test_configuration_is_printed_without_dataset_files(tmp_path: Path) -> None:
    ended = call("train", "dataset=tacos", "--cfg", "job", folder=tmp_path)
    printed = OmegaConf.create(ended.out)
    assert (printed.dataset.name, printed.model.pyramid_levels) == ("tacos", 3)
