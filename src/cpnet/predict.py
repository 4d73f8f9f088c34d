"""``python -m cpnet.predict video=FILE query="..." [checkpoint=PATH] [top=3]``: find moments that sentences describe.

``videos=FOLDER`` asks about many files, ``queries=FILE.txt`` many sentences, ``dataset=NAME video=ID`` about features.
``zero_shot=BACKBONE weights=PATH`` answers without training.
"""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from cpnet.config import as_text
from cpnet.errors import ConfigError, cut
from cpnet.launch import command

SUFFIXES = {"picture": ".png", "clip": ".mp4"}
TEXTS = (
    *("video", "videos", "query", "queries", "checkpoint", "zero_shot", "weights", "word_vectors", "json", "cache"),
    *SUFFIXES,
)


def main(cfg: DictConfig) -> None:
    """Check keys and files, and answer."""
    sentences = check(cfg)
    if cfg.dataset:
        command.check_corpus(cfg, words_known=True)
    from cpnet.actions.answers import predict

    predict(cfg, sentences)


def check(cfg: DictConfig) -> list[str]:
    """Check that the keys fit together, files exist, and targets can be written; return the sentences without blanks.

    Raises:
        ConfigError: one of these is not so
    """
    try:
        lines = Path(cfg.queries).read_text(encoding="utf-8-sig").splitlines() if cfg.queries else []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"queries={cfg.queries} cannot be read as text in UTF-8 ({cut(str(error))})") from error
    query = cfg.query if isinstance(cfg.query, ListConfig) else [cfg.query or ""]
    sentences = [sentence for each in lines or query if (sentence := str(each).strip())]
    targets = {key: Path(cfg[key]) for key in ("json", "picture", "clip") if cfg[key] and cfg[key] != "auto"}
    no_file = cfg.video and not cfg.dataset and not Path(cfg.video).is_file()
    for wrong, message in (
        (bool(cfg.video) == bool(cfg.videos), "set one of video=FILE and videos=FOLDER"),
        (cfg.query and cfg.queries, "set one of query=SENTENCE and queries=FILE"),
        (not sentences, 'no sentence; say what happens in the moment, such as query="she opens the fridge"'),
        (cfg.videos and (cfg.dataset or targets.keys() - {"json"}), "dataset, picture and clip need video, not videos"),
        (cfg.duration is not None and not cfg.dataset, "duration=SECONDS is for dataset=NAME; files have their own"),
        (cfg.clip and (cfg.dataset or sentences[1:]), "clip=FILE needs video=FILE and one sentence"),
        (no_file, f"no file at video={cfg.video}; to ask about features of a corpus, add dataset=NAME"),
        (cfg.word_vectors and not Path(cfg.word_vectors).is_file(), f"no file at word_vectors={cfg.word_vectors}"),
        (cfg.top < 1, f"top must be 1 or more; got {cfg.top}"),
    ):
        if wrong:
            raise ConfigError(message)
    for key, path in targets.items():
        if path.suffix.lower() != SUFFIXES.get(key, path.suffix.lower()):
            raise ConfigError(f"{key}={path} must end with {SUFFIXES[key]}")
        command.check_target(key, path, cfg.video, cfg.queries, cfg.checkpoint)
    return sentences


if __name__ == "__main__":
    sys.argv[1:] = as_text(sys.argv[1:], TEXTS)
    command.run(main, config_name="predict")
