"""A multirun of two jobs writes two complete offline runs of Weights & Biases, and sends nothing."""

from __future__ import annotations

import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from omegaconf import OmegaConf

from commands import TINY, call, read_json
from tracking.offline import OfflineRun, guarded_environment, read

pytest.importorskip("wandb", reason="needs the extra [wandb]")

SEEDS = (0, 1)
# Environment variables that no file may contain
SECRETS = {
    "WANDB_API_KEY": "f00dbabe" * 5,
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG",
    "GITHUB_TOKEN": "ghp_thisIsNoTokenOfAnybody",
    "CPNET_PASSWORD": "correct-horse-battery",
}
LOSSES = ("loss", "attention", "regression")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracking")
    with guarded_environment(folder) as (environment, requests):
        sweep = ("seed=0,1", "hydra/launcher=basic", "hydra.sweep.dir=sweep", "trainer.max_epochs=2")
        command = ("train", "-m", *TINY, *sweep, "logger=wandb", "logger.wandb.predictions=5")
        call(*command, folder=folder, environment=environment | SECRETS)
        wandb.teardown()  # wandb caches the account of the environment
        assert requests == []
        # The guard records a request.
        with pytest.raises(OSError, match=r"."):
            urllib.request.build_opener(urllib.request.ProxyHandler({"http": environment["HTTP_PROXY"]})).open(
                "http://example.invalid", timeout=5
            )
        assert len(requests) == 1
    return folder / "sweep"


@pytest.fixture(scope="module")
def runs(sweep: Path) -> list[OfflineRun]:
    return [read(sweep / str(job)) for job in range(len(SEEDS))]


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Name and content of every file in a folder, with the members of archives unpacked."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, str(path).encode() + path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    for member in archive.namelist():
                        yield path / member, archive.read(member)


def test_no_file_contains_a_secret_of_the_environment(sweep: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "packed.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("member", SECRETS["WANDB_API_KEY"] * 9)
    secrets = [each.encode() for each in SECRETS.values()]
    assert [path.name for path, content in contents(tmp_path) if secrets[0] in content] == ["member"]
    read = dict(contents(sweep.parent))
    assert {".ckpt", ".wandb", ".yaml", ".json", ".jsonl", ".log"} <= {path.suffix for path in read}
    assert [path for path, content in read.items() if any(secret in content for secret in secrets)] == []


def test_each_job_is_a_separate_finished_run(runs: list[OfflineRun]) -> None:
    assert len({run.start["run_id"] for run in runs}) == len(SEEDS)
    assert [run.exit_code for run in runs] == [0, 0]
    assert [run.start["display_name"] for run in runs] == [f"synthetic/cpnet_small/{seed}" for seed in SEEDS]
    tags = ["synthetic", "cpnet_small", "selection:holdout", "strict:False", "ground_truth:clipped"]
    assert all(run.start["tags"] == tags and run.start["project"] == "cpnet" for run in runs)


def test_run_has_its_configuration(sweep: Path, runs: list[OfflineRun]) -> None:
    for job, run in enumerate(runs):
        config = OmegaConf.to_container(OmegaConf.load(sweep / str(job) / "config.yaml"))
        assert isinstance(config, dict)
        assert {key: run.config[str(key)] for key in config} == config
        assert run.config["seed"] == SEEDS[job]


def test_run_has_its_curves_by_epoch(runs: list[OfflineRun]) -> None:
    train = {*(f"train/{name}" for name in LOSSES), "train/learning_rate", "train/gradient_norm"}
    validation = {*(f"val/{name}" for name in LOSSES), "val/mIoU", "val/R1@0.3", "val/R1@0.5", "val/R1@0.7"}
    for run in runs:
        for names in (train, validation):
            rows = [row for row in run.history if names <= set(row)]
            assert [row["epoch"] for row in rows] == [0, 1]


def test_run_has_its_results_predictions_and_picture(sweep: Path, runs: list[OfflineRun]) -> None:
    for job, run in enumerate(runs):
        results = read_json(sweep / str(job) / "results.json")
        assert run.summary["test/mIoU"] == pytest.approx(results["metrics"]["mIoU"], abs=1e-4)
        assert len(run.tables["predictions"]["data"]) == 5
        assert set(run.pictures) == {"length_confusion"}


def test_run_has_no_host_and_no_metadata(sweep: Path, runs: list[OfflineRun]) -> None:
    assert all("host" not in run.start and "git" not in run.start for run in runs)
    assert {path.name for path in sweep.rglob("wandb/*/files/*")} == {"media"}
