"""Environment variables that a configuration may read."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from cpnet.config import register_schemas

SECRETS = (
    *("WANDB_API_KEY", "PATH", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "SLURM_JWT", "CPNET_TOKEN", "CPNET_password"),
    *("HOMEPAGE", "cpnet_data", "X"),
)


@pytest.mark.parametrize("name", SECRETS)
def test_secret_is_not_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register_schemas()
    monkeypatch.setenv(name, "s3cr3t")
    for interpolation in (f"${{oc.env:{name}}}", f"${{oc.env:{name},other}}"):
        with pytest.raises(InterpolationResolutionError) as caught:
            _ = OmegaConf.create({"key": interpolation}).key
        assert "may not read this variable" in str(caught.value)
        assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("name", ["CPNET_DATA", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "HOME", "LOCAL_RANK"])
def test_cluster_variable_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register_schemas()
    monkeypatch.setenv(name, "value")
    assert OmegaConf.create({"key": f"${{oc.env:{name}}}"}).key == "value"
    monkeypatch.delenv(name)
    assert OmegaConf.create({"key": f"${{oc.env:{name},null}}"}).key is None
