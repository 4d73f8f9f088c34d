"""Keys of ``cpnet.predict``; its answers are tested in ``smoke/test_predict.py``."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from cpnet.actions.answers import print_answers
from cpnet.config import CONFIG_DIR
from cpnet.errors import ConfigError
from cpnet.grounding.answer import Answer, FoundMoment
from cpnet.predict import check

FILE = {"video": "a.mp4", "query": "she waits"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"query": "she waits"}, "set one of video=FILE and videos=FOLDER"),
        (FILE | {"videos": "."}, "set one of video=FILE and videos=FOLDER"),
        (FILE | {"query": None, "queries": "blank.txt"}, "no sentence"),
        (FILE | {"query": None, "queries": "latin.txt"}, "queries=latin.txt cannot be read as text in UTF-8"),
        (FILE | {"queries": "some.txt"}, "set one of query=SENTENCE and queries=FILE"),
        (FILE | {"video": "b (1).mp4"}, "no file at video=b (1).mp4; to ask about features"),
        (FILE | {"word_vectors": "glove.txt"}, "no file at word_vectors=glove.txt"),
        (FILE | {"top": 0}, "top must be 1 or more; got 0"),
        (FILE | {"json": "nowhere/a.json"}, "json=nowhere/a.json cannot be written: it is no regular file"),
        (FILE | {"json": "pipe"}, "json=pipe cannot be written"),
        (FILE | {"json": "./a.mp4"}, "json=a.mp4 would overwrite an input"),
        (FILE | {"query": None, "queries": "some.txt", "json": "./some.txt"}, "json=some.txt would overwrite an input"),
        (FILE | {"clip": "a.avi"}, "clip=a.avi must end with .mp4"),
        (FILE | {"duration": 9.0}, "duration=SECONDS is for dataset=NAME; files have their own"),
        (FILE | {"clip": "b.mp4", "query": ["she waits", "he leaves"]}, "clip=FILE needs video=FILE and one sentence"),
        ({"videos": ".", "query": "she waits", "clip": "b.mp4"}, "dataset, picture and clip need video, not videos"),
    ],
)
def test_wrong_keys_get_one_message(
    keys: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"a.mp4": b"", "blank.txt": b"\n \n", "latin.txt": b"\xe9", "some.txt": b"he leaves\n"}
    for name, content in files.items():
        Path(name).write_bytes(content)
    os.mkfifo("pipe")
    cfg = OmegaConf.merge(OmegaConf.load(CONFIG_DIR / "predict.yaml"), {"dataset": None}, keys)
    assert isinstance(cfg, DictConfig)
    with pytest.raises(ConfigError, match=re.escape(message)):
        check(cfg)


def test_table_has_times_and_scores(capsys: pytest.CaptureFixture[str]) -> None:
    moment = FoundMoment(query="a", start_sec=62.44, end_sec=3723.96, score=0.875)
    answers = [
        Answer(query="a", moments=(moment, replace(moment, score=0.5)), attention=np.zeros(0, np.float32)),
        Answer(query="\x1b[1m b", moments=(replace(moment, start_sec=0),), attention=np.zeros(0, np.float32)),
    ]
    print_answers("kitchen", answers)
    rows = [line.strip("│").split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["a", "1:02.4", "1:02:04.0", "0.88"],
        ["", "1:02.4", "1:02:04.0", "0.50"],
        ["\\x1b[1m b", "0:00.0", "1:02:04.0", "0.88"],
    ]
