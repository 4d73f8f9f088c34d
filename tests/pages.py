"""Run the commands and the code of pages, as their reader would."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from commands import call, spawn

ROOT = Path(__file__).parents[1]


def blocks(page: str, *languages: str) -> list[str]:
    """Return a page's fenced blocks of these languages; ``""`` is a block without one."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [block for language, block in found if language in languages]


def lines(page: str, *languages: str) -> list[str]:
    """Return the lines of a page's blocks; one that ends with a backslash is joined with the next."""
    return [
        line for block in blocks(page, *languages) for line in block.replace("\\\n", " ").splitlines() if line.strip()
    ]


def run(line: str, *more: str, folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a line as a shell would, but the package's commands in this process; return what it printed.

    ``more`` arguments are added to a training.
    """
    words = shlex.split(line, comments=True)
    if words[:2] == ["python", "-m"]:
        added = more if words[2] == "cpnet.train" else ()
        ended = call(words[2].removeprefix("cpnet."), *words[3:], *added, folder=folder, environment=environment)
    elif words[0] == "python":
        ended = spawn(*words[1:], folder=folder)
    else:
        return subprocess.run(line, shell=True, check=True, cwd=folder, capture_output=True, text=True).stdout
    return ended.out
