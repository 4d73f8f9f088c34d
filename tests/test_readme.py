"""The README's commands, and those of ``docs/``, are accepted by cpnet word by word: their configuration composes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from commands import call
from pages import ROOT, lines

COMMAND = re.compile(r" *python -m cpnet\.(\w+) (.*)")
OF_A_CHECKPOINT = ("evaluate",)  # composes from the file that its command names
OF_A_RUN = ("resume_from=", "--config-dir", "figures=true")  # these too


def commands(page: str) -> list[tuple[str, list[str]]]:
    """Return name and arguments of the commands in the fenced blocks of a page."""
    matches = map(COMMAND.fullmatch, lines(page, "", "sh"))
    found = [(match[1], shlex.split(match[2], comments=True)) for match in matches if match]
    return [(name, [each for each in arguments if each != "-m"]) for name, arguments in found]


@pytest.mark.parametrize(("name", "fewest"), [("README.md", 7), pytest.param("docs/*.md", 20, marks=pytest.mark.slow)])
def test_commands_are_accepted(name: str, fewest: int, tmp_path: Path) -> None:
    found = [each for page in sorted(ROOT.glob(name)) for each in commands(str(page))]
    assert len(found) >= fewest
    for command, arguments in found:
        if command in OF_A_CHECKPOINT or any(each.startswith(OF_A_RUN) for each in arguments):
            continue
        call(command, *arguments, "--cfg", "job", folder=tmp_path)


def test_the_readme_is_short_and_its_pages_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    for link in re.findall(r"\]\(([^)#:]+)[)#]", text):
        assert (ROOT / link).exists(), link
