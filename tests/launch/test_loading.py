"""The source calls no loader that can run code. The syntax tree is searched, so that no call can hide in a branch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cpnet

SOURCE = Path(cpnet.__file__).parents[1]
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle", "code"}
CALLS = {"eval", "exec", "compile", "__import__", "breakpoint"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn"}
# Keywords that these calls must have, and keywords that may have one value only
NEEDED = {"torch.load": {"weights_only": True}, "load_from_checkpoint": {"weights_only": True}}
ONLY = {"allow_pickle": False, "shell": False, "weights_only": True, "trust_remote_code": False}
YAML = {"safe_load", "YAMLError"}  # of yaml; OmegaConf.load builds plain containers alone


def dotted(node: ast.expr) -> str:
    """Return the dotted name of an expression, without a part that is not a name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


def findings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{each.name}" for each in node.names]
            yield from (name for name in names if name.split(".")[0] in MODULES or name in SHELLS | {"torch.load"})
        elif isinstance(node, ast.Attribute) and dotted(node.value) == "yaml" and node.attr not in YAML:
            yield f"yaml.{node.attr}"
        elif isinstance(node, ast.Call):
            yield from of_call(node)


def of_call(node: ast.Call) -> Iterator[str]:
    name = dotted(node.func)
    if name.endswith(".dump_checkpoint"):  # writes a checkpoint; weights_only means something else there
        return
    given = {each.arg: getattr(each.value, "value", "not a constant") for each in node.keywords if each.arg}
    if name in CALLS | SHELLS:
        yield name
    needed = next((each for last, each in NEEDED.items() if f".{name}".endswith(f".{last}")), {})
    if "ckpt_path" in given and "**" not in given:  # Lightning restores a checkpoint
        needed = {"weights_only": True}
    yield from (f"{name} without {key}={value}" for key, value in needed.items() if given.get(key) is not value)
    yield from (f"{name}({key}={given[key]})" for key, only in ONLY.items() if given.get(key, only) is not only)


def test_source_calls_no_unsafe_loader() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 80
    found = {
        f"{path.relative_to(SOURCE).as_posix()}: {each}"
        for path in files
        for each in findings(path.read_text(encoding="utf-8"))
    }
    assert found == set()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("torch.load(p)", ["torch.load without weights_only=True"]),
        ("torch.load(p, weights_only=safe)", ["torch.load without weights_only=True", "torch.load(weights_only=not a"]),
        ("from torch import load", ["torch.load"]),
        ("M.load_from_checkpoint(p)", ["M.load_from_checkpoint without weights_only=True"]),
        ("trainer.fit(m, ckpt_path=p)", ["trainer.fit without weights_only=True"]),
        ("trainer.fit(m, ckpt_path=p, weights_only=True)", []),
        ("np.load(p, allow_pickle=True)", ["np.load(allow_pickle=True"]),
        ("from joblib import load", ["joblib.load"]),
        ("yaml.load(t, Loader=yaml.Loader)", ["yaml.load", "yaml.Loader"]),
        ("yaml.safe_load(t)", []),
        ("subprocess.run(c, shell=True)", ["subprocess.run(shell=True"]),
        ("os.system(c)", ["os.system"]),
        ("eval(t)", ["eval"]),
        ("model.eval()\nre.compile(p)", []),
    ],
)
def test_search_finds_unsafe_loaders(line: str, found: list[str]) -> None:
    actual = sorted(findings(line))
    assert len(actual) == len(found)
    assert all(each.startswith(expected) for each, expected in zip(actual, sorted(found), strict=True))
