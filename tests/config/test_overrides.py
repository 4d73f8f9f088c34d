"""Values on the command line. Oracles: the shell's rules of the standard library, Hydra's parser, OmegaConf."""

from __future__ import annotations

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given as for_all
from hypothesis import strategies
from omegaconf import OmegaConf

from cpnet.config import as_text, for_shell, given

PIECES = [*"=#[](){},: \\ü$'\"~/a1.\n", "${"]


@for_all(strategies.lists(strategies.sampled_from(PIECES), min_size=1).map("".join))
def test_printed_argument_is_read_as_the_path(path: str) -> None:
    (argument,) = shlex.split(for_shell("checkpoint", path))
    cfg = OmegaConf.create({"checkpoint": None})
    cfg.checkpoint = OverridesParser.create().parse_override(argument).value()
    assert cfg.checkpoint == path


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("she isn't here, is she? {a} ${b}", "she isn't here, is she? {a} ${b}"),
        ('"stop" he said, "now"', '"stop" he said, "now"'),
        (r"'it isn\'t'", "it isn't"),
        ("[a b, c]", ["a b", "c"]),
        ("null", None),
        ("3", "3"),
    ],
)
def test_sentence_is_read_as_typed(typed: str, value: object) -> None:
    (argument,) = as_text([f"query={typed}"], ["query"])
    cfg = OmegaConf.create({"query": None})
    cfg.query = OverridesParser.create().parse_override(argument).value()
    assert cfg.query == value
    assert as_text([f"other={typed}"], ["query"]) == [f"other={typed}"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("checkpoint=a/b.ckpt", "a/b.ckpt"),
        ("checkpoint='lr=1/b.ckpt'", "lr=1/b.ckpt"),
        (r"checkpoint=lr\=1/b.ckpt", "lr=1/b.ckpt"),
        ("checkpoint=lr=1/b.ckpt", "lr=1/b.ckpt"),  # Hydra refuses it later
        ("++checkpoint=a/b.ckpt", "a/b.ckpt"),
        ("checkpoint=null", ""),
        ("checkpoint=2026", "2026"),
        ("checkpoints=a", ""),
    ],
)
def test_value_is_read_as_hydra_reads_it(argument: str, value: str) -> None:
    assert given([argument, "seed=1"], "checkpoint") == value
