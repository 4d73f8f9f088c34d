"""Inspect, pack, generate or extract video features, or split a corpus by the distribution of its moments.

``python -m cpnet.prepare dataset=NAME dataset.features.path=PATH [action=inspect|pack|surrogate]``: ``inspect`` prints
the properties and defects of a pack, with exit code 1 if no model can be trained on it; ``pack`` writes its packed
store; ``surrogate`` generates the features of ``dataset=charades_sta_actions``, which are not published.

``python -m cpnet.prepare dataset=NAME action=resplit by=length|position``: write new splits of a corpus, among them a
test split out of distribution.

``python -m cpnet.prepare action=extract videos=FOLDER features=STORE [backbone=NAME weights=FILE]``: encode a folder of
video files.
"""

from __future__ import annotations

from omegaconf import DictConfig

from cpnet.errors import ConfigError
from cpnet.launch import command

ACTIONS = ("inspect", "pack", "surrogate", "resplit", "extract")


def main(cfg: DictConfig) -> None:
    """Check that the corpus exists, and run the action."""
    for key, allowed in (("action", ACTIONS), ("dtype", ("float16", "float32"))):
        if cfg[key] not in allowed:
            raise ConfigError(f"{key} must be one of {', '.join(allowed)}; got {cfg[key]!r}")
    if cfg.action not in ("surrogate", "extract"):
        command.check_corpus(cfg, words_known=True, annotations_only=cfg.action == "resplit")
    if cfg.dataset.generate and cfg.action != "extract":
        from cpnet.training import build_data

        generate = build_data.build_generator(cfg.dataset)
        if generate:
            generate()
    from cpnet.actions import preparation

    getattr(preparation, cfg.action)(cfg)


if __name__ == "__main__":
    command.run(main, config_name="prepare")
