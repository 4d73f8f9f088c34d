"""Who may import whom, and how long things may be; read from the source, so that no import can hide in a function."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import cpnet

PACKAGE = Path(cpnet.__file__).parent
HEAVY = ("torch", "pytorch_lightning", "torchmetrics", "numpy", "h5py", "wandb")
FORBIDDEN_NAMES = {"utils", "util", "misc", "common", "helpers", "helper", "legacy"}


@dataclass(frozen=True)
class Room:
    """What a part of the package may import: modules of the package, each with all below it, and frameworks."""

    package: tuple[str, ...] = ()
    frameworks: tuple[str, ...] = ()


# The longest name that a module's name begins with is its room. The standard library is open to all.
ROOMS = {
    "spans": Room((), ("torch",)),
    "batch": Room((), ("torch",)),
    "printing": Room(),
    "data": Room(("batch", "spans", "data"), ("torch", "numpy", "h5py")),
    "data.moment": Room(),
    "data.readers": Room(("data.moment", "data.readers")),
    "data.files": Room(("data.moment",)),
    "data.identity": Room(("data.moment",)),
    "data.splits": Room(("data.moment", "data.identity")),
    "data.cleaning": Room(("data.moment",)),
    "data.atomic": Room(("data.moment",)),
    "data.annotations": Room(("data.moment", "data.cleaning", "data.identity", "data.splits")),
    "data.residence": Room(("data",), ("torch", "psutil")),
    "data.datamodule": Room(("batch", "spans", "data"), ("torch", "numpy", "h5py", "pytorch_lightning")),
    "models": Room(("batch", "models"), ("torch",)),
    "losses": Room(("batch", "spans"), ("torch",)),
    "metrics": Room(("spans", "metrics"), ("torch", "torchmetrics")),
    "module": Room(("batch", "spans", "losses", "metrics"), ("torch", "pytorch_lightning")),
    "tracking": Room(
        ("config", "tracking", "data.atomic", "interruption"),
        ("wandb", "wandb_workspaces", "pytorch_lightning", "PIL", "matplotlib"),
    ),
    "reporting": Room(
        ("reporting", "config", "data.atomic", "data.moment", "metrics", "printing", "results", "spans"),
        ("torch", "numpy", "matplotlib", "omegaconf", "rich", "yaml"),
    ),
    "config": Room(("config",), ("hydra", "omegaconf", "psutil")),
    "interruption": Room(),
    "locks": Room(("config",)),
    "epoch_lines": Room((), ("pytorch_lightning",)),
    "metrics_file": Room(("data.atomic",), ("pytorch_lightning",)),
    "migration": Room((), ("torch",)),
    "recovery": Room(
        ("recovery", "interruption", "locks", "checkpoint", "config", "data", "module"),
        ("torch", "numpy", "pytorch_lightning", "omegaconf"),
    ),
}
# The entry points and what joins the rooms for them.
ANYTHING = {
    *("", "train", "evaluate", "prepare", "build", "cli", "checkpoint", "predictions", "results", "precision"),
    *("schedules", "diagnosis", "progress", "speed", "report", "dashboard", "jobs", "commit", "run", "replay"),
    *("mistakes", "processes"),
}


def module_names(package: Path) -> dict[str, Path]:
    """Every module by its name within the package, the package itself by an empty one."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(path: Path, name: str) -> Iterator[str]:
    """Absolute dotted names that a module imports, with the imported attribute as their last part."""
    package = ["cpnet", *name.split(".")] if name else ["cpnet"]
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                yield ".".join([*start, *([node.module] if node.module else []), alias.name])


def room_of(name: str) -> str | None:
    rooms = [room for room in ROOMS if name == room or name.startswith(f"{room}.")]
    return max(rooms, key=len, default=None)


def violations(package: Path) -> list[str]:
    """Edges that the table does not allow, as ``MODULE imports NAME``, and modules that it does not know."""
    found = []
    modules = module_names(package)
    for name, path in modules.items():
        room = room_of(name)
        if room is None and name not in ANYTHING:
            found.append(f"{name} is in no room")
        for imported in imports(path, name):
            knows_wandb = "wandb" in imported.lower() and room != "tracking"
            if knows_wandb or (room is not None and not allowed(imported, ROOMS[room])):
                found.append(f"{name} imports {imported}")
    return found


def allowed(imported: str, room: Room) -> bool:
    top, _, rest = imported.partition(".")
    if top != "cpnet":
        return top in sys.stdlib_module_names or top in room.frameworks
    return any(rest == open_ or rest.startswith(f"{open_}.") for open_ in room.package)


def test_no_module_imports_what_its_room_may_not() -> None:
    assert violations(PACKAGE) == []


def test_every_room_of_the_table_is_there() -> None:
    modules = module_names(PACKAGE)
    assert {room for room in ROOMS if room not in modules} == set()
    assert {name for name in ANYTHING if name not in modules} == set()


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        ("models/network", "from cpnet.data.moment import Moment", ["cpnet.data.moment.Moment"]),
        ("models/network", "from cpnet import losses, batch", ["cpnet.losses"]),
        ("models/network", "def late() -> None:\n    import numpy as np", ["numpy"]),
        ("models/network", "from ..metrics import recall", ["cpnet.metrics.recall"]),
        ("models/network", "from . import encoder\nfrom cpnet.batch import GroundingBatch\nfrom torch import nn", []),
        ("models/network", "import cpnet", ["cpnet"]),
        ("models_of_others", "import os", None),
        ("losses", "from cpnet.models.cpnet import CPNet", ["cpnet.models.cpnet.CPNet"]),
        ("spans", "from cpnet.batch import GroundingBatch", ["cpnet.batch.GroundingBatch"]),
        ("data/moment", "import torch", ["torch"]),
        ("data/readers/__init__", "from .checks import read_text\nfrom ..moment import Moment", []),
        ("data/readers/tacos", "import numpy", ["numpy"]),
        ("data/readers/tacos", "from cpnet.data.glove import read_glove", ["cpnet.data.glove.read_glove"]),
        ("data/dataset", "import pytorch_lightning", ["pytorch_lightning"]),
        ("data/datamodule", "import pytorch_lightning", []),
        ("data/files", "import h5py", ["h5py"]),
        ("config", "import torch", ["torch"]),
        ("config", "from cpnet.data.moment import DataError", ["cpnet.data.moment.DataError"]),
        ("metrics/recall", "from cpnet.batch import GroundingBatch", ["cpnet.batch.GroundingBatch"]),
        ("module", "from cpnet.models import CPNet", ["cpnet.models.CPNet"]),
        ("tracking/runs", "import wandb, wandb_workspaces.reports.v2", []),
        ("tracking/runs", "import torch", ["torch"]),
        ("train", "import torch, cpnet.models, rich", []),
        ("train", "from pytorch_lightning.loggers import WandbLogger", ["pytorch_lightning.loggers.WandbLogger"]),
    ],
)
def test_the_reading_finds_a_forbidden_edge(tmp_path: Path, module: str, line: str, found: list[str] | None) -> None:
    path = tmp_path / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{line}\n")
    name = module.removesuffix("/__init__").replace("/", ".")
    expected = [f"{name} is in no room"] if found is None else [f"{name} imports {edge}" for edge in found]
    assert violations(tmp_path) == expected


def test_what_names_missing_files_imports_nothing_heavy() -> None:
    code = (
        "import sys, cpnet.cli, cpnet.train, cpnet.evaluate, cpnet.report, cpnet.dashboard, cpnet.data.files\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", ["train", "evaluate", "report", "dashboard"])
def test_entry_points_fit_on_a_screen(name: str) -> None:
    assert len((PACKAGE / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 80


def test_modules_are_short_and_named_after_what_they_hold() -> None:
    modules = module_names(PACKAGE)
    assert {name for name, path in modules.items() if len(path.read_text(encoding="utf-8").splitlines()) > 350} == set()
    assert {name for name in modules if FORBIDDEN_NAMES & set(name.split("."))} == set()


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines below signature and docstring, which are for the caller and may be as long as the contract is."""
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - statements[0].lineno + 1 if statements else 0


def test_functions_are_short() -> None:
    lengths = {
        f"{name}.{node.name}": body_lines(node)
        for name, path in module_names(PACKAGE).items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(lengths) > 200  # of the whole package
    assert {name: length for name, length in lengths.items() if length > 60} == {}
