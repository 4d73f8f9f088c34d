"""What a configuration may read of the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from commands import TINY, call
from config.test_targets import experiment, refused
from cpnet.config import register_schemas

SECRETS = (
    *("WANDB_API_KEY", "PATH", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "SLURM_JWT", "CPNET_TOKEN", "CPNET_password"),
    *("HOMEPAGE", "cpnet_data", "X"),
)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_not_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register_schemas()
    monkeypatch.setenv(name, "s3cr3t")
    for interpolation in (f"${{oc.env:{name}}}", f"${{oc.env:{name},other}}"):
        with pytest.raises(InterpolationResolutionError) as caught:
            _ = OmegaConf.create({"key": interpolation}).key
        assert "may not read this variable" in str(caught.value)
        assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("name", ["CPNET_DATA", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "HOME", "LOCAL_RANK"])
def test_what_a_cluster_says_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register_schemas()
    monkeypatch.setenv(name, "s3cr3t")
    assert OmegaConf.create({"key": f"${{oc.env:{name}}}"}).key == "s3cr3t"
    monkeypatch.delenv(name)
    assert OmegaConf.create({"key": f"${{oc.env:{name},null}}"}).key is None


@pytest.mark.parametrize("mode", [("--cfg", "job", "--resolve"), pytest.param((), marks=pytest.mark.slow)])
def test_an_experiment_that_was_sent_copies_no_secret(mode: tuple[str, ...], tmp_path: Path) -> None:
    arguments = experiment(tmp_path, {"dataset": {"published": "${oc.env:WANDB_API_KEY}"}})
    ended = call("train", *mode, *arguments, *TINY, folder=tmp_path, environment={"WANDB_API_KEY": "s3cr3t"})
    assert "CPNET_" in refused(ended, "${oc.env:WANDB_API_KEY}: ", tmp_path)
    assert "s3cr3t" not in ended.out + ended.err
    assert not any(b"s3cr3t" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
