"""Runs and sweeps that start in the same second. Oracle: the folders that real processes create."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import start

NOW = "2026-01-02_03-04-05"
COMMAND = f"""
import runpy, sys, types
from datetime import datetime
import hydra.core.utils
hydra.core.utils.datetime = types.SimpleNamespace(now=lambda: datetime.strptime("{NOW}", "%Y-%m-%d_%H-%M-%S"))
runpy.run_module(f"cpnet.{{sys.argv.pop(1)}}", run_name="__main__", alter_sys=True)
"""
RACE = """
from pathlib import Path
from cpnet.launch.own_folder import new_folder
print(*[new_folder(Path("many/now")).name for _ in range(20)])
"""
FAILING = ("dataset=tacos", "data_dir=nowhere")  # fails when the folder exists


def together(folder: Path, *arguments: str) -> list[str]:
    """Start four processes at once and return what each printed."""
    started = [start("-c", *arguments, folder=folder) for _ in range(4)]
    return ["".join(process.communicate()) for process in started]


@pytest.mark.parametrize(
    ("arguments", "parent"),
    [
        (("train", *FAILING), "outputs/tacos/cpnet"),
        (("prepare", *FAILING), "outputs/prepare/tacos"),
        (("train", "-m", *FAILING, "seed=1,2", "hydra/launcher=basic"), "outputs/multirun/tacos"),
    ],
)
def test_each_run_gets_its_own_folder(arguments: tuple[str, ...], parent: str, tmp_path: Path) -> None:
    printed = together(tmp_path, COMMAND, *arguments)
    assert all("files that dataset=tacos needs" in each for each in printed), printed
    folders = sorted((tmp_path / parent).iterdir())
    assert [folder.name for folder in folders] == [NOW, f"{NOW}_2", f"{NOW}_3", f"{NOW}_4"]
    below = "0" if "-m" in arguments else "."
    assert all((folder / below / ".hydra/overrides.yaml").is_file() for folder in folders)


def test_no_two_processes_get_the_same_folder(tmp_path: Path) -> None:
    names = " ".join(together(tmp_path, RACE)).split()
    assert sorted(names) == sorted(["now", *(f"now_{number}" for number in range(2, 81))])
