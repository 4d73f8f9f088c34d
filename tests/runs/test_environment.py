"""Oracle: git itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cpnet.runs.environment import git_commit


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder outside of any repository, with a file named as the module."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set by git hooks
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "repository" / "package"
    folder.mkdir(parents=True)
    (folder / "environment.py").write_text("old")
    return folder


@pytest.fixture
def checkout(outside: Path) -> Path:
    git(outside.parent, "init", "--quiet")
    git(outside.parent, "add", ".")
    git(outside.parent, "commit", "--quiet", "-m", "all")
    return outside


def test_commit_of_a_checkout(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert git_commit(checkout) == commit
    (checkout / "untracked").touch()
    assert git_commit(checkout) == commit
    (checkout / "environment.py").write_text("new")
    assert git_commit(checkout) == f"{commit}+changes"


def test_no_commit_outside_of_a_repository_or_in_an_empty_one(outside: Path) -> None:
    assert git_commit(outside) is None
    git(outside.parent, "init", "--quiet")
    git(outside.parent, "add", ".")
    assert git_commit(outside) is None


def test_no_commit_of_a_repository_that_does_not_track_the_package(checkout: Path) -> None:
    # a virtual environment inside another project
    installed = checkout.parent / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "environment.py").touch()
    assert git_commit(installed) is None


def test_no_commit_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit(checkout) is None
