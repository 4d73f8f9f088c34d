"""Software and hardware of a run: package versions, device, git commit."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from cpnet import __version__

VERSIONED = ("torch", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy", "h5py")


def package_versions() -> dict[str, str]:
    """Return the versions of cpnet and of the packages that can change a result."""
    return {"cpnet-grounding": __version__} | {name: version(name) for name in VERSIONED}


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or the type of another device, such as ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def git_commit(folder: Path = Path(__file__).parent) -> str | None:
    """Return the commit of the checkout that contains a folder, with ``+changes`` if tracked files were modified.

    Returns None outside of a checkout, and for a folder that the surrounding repository does not track.
    """
    try:
        tracked = _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(folder, "rev-parse", "HEAD") if tracked else ""
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return result.stdout.strip()
