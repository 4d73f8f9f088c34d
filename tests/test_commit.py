"""The oracle is git itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cpnet.commit import git_commit


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of the module's name, in no repository."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # of a hook that runs the tests
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "repository" / "package"
    folder.mkdir(parents=True)
    (folder / "commit.py").write_text("old")
    return folder


@pytest.fixture
def checkout(outside: Path) -> Path:
    git(outside.parent, "init", "--quiet")
    git(outside.parent, "add", ".")
    git(outside.parent, "commit", "--quiet", "-m", "all")
    return outside


def test_the_commit_of_a_checkout(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert git_commit(checkout) == commit
    (checkout / "untracked").touch()
    assert git_commit(checkout) == commit
    (checkout / "commit.py").write_text("new")
    assert git_commit(checkout) == f"{commit}+changes"


def test_no_commit_outside_a_repository(outside: Path) -> None:
    assert git_commit(outside) is None


def test_no_commit_before_the_first(outside: Path) -> None:
    git(outside.parent, "init", "--quiet")
    git(outside.parent, "add", ".")
    assert git_commit(outside) is None


def test_no_commit_of_a_repository_that_only_surrounds_us(checkout: Path) -> None:
    # As of an environment inside of somebody's repository.
    installed = checkout.parent / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "commit.py").touch()
    assert git_commit(installed) is None


def test_no_commit_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit(checkout) is None
