"""``python -m cpnet.prepare dataset=NAME dataset.features.path=PATH [action=inspect|pack]``: know a feature pack.

``inspect`` says what it is and what is wrong with it, code 1 if nothing can be trained; ``pack`` makes it fast to read.
"""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from cpnet import cli
from cpnet.config import ConfigError

log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> None:
    """Check that the corpus is there, and do what is asked."""
    actions = {"inspect": inspect, "pack": pack}
    for key, allowed in (("action", [*actions]), ("dtype", ["float16", "float32"])):
        if cfg[key] not in allowed:
            raise ConfigError(f"{key} must be one of {', '.join(allowed)}; got {cfg[key]!r}")
    cli.check_corpus(cfg, words_known=True)
    if cfg.dataset.generate:
        from cpnet.build import instantiate

        instantiate(cfg.dataset.generate).prepare()
    actions[cfg.action](cfg)


def inspect(cfg: DictConfig) -> None:
    """Look at the pack, and end the program with code 1 where it will not do.

    Raises:
        DataError: the pack or the annotations cannot be read at all
    """
    from dataclasses import replace
    from pathlib import Path

    from cpnet import build, diagnosis, progress
    from cpnet.data.features import PackedFeatures, inspection, is_gone, open_features

    arguments, store = {**build.feature_arguments(cfg), "dim": None}, build.packed_store(cfg)
    # A reversed pair of an evaluation split stops a training; here it is counted.
    splits, reports = replace(build.build_annotations(cfg), on_defect="drop").read()
    found = inspection.inspect(
        PackedFeatures(path=store) if is_gone(arguments) and store.exists() else open_features(**arguments),
        splits,
        dataset=cfg.dataset.name,
        dim=cfg.dataset.features.dim,
        annotations=reports,
        on_defect=cfg.dataset.on_defect,
        progress=progress.track,
    )
    diagnosis.publish(found, Path(cfg.output_dir))
    if found.problems():
        raise SystemExit(1)


def pack(cfg: DictConfig) -> None:
    """Write the packed store of all videos of the corpus.

    Raises:
        DataError: something is wrong with the pack, or there is no room for the store
    """
    from cpnet import build, progress
    from cpnet.data import features
    from cpnet.data.features import pack as packing

    splits, _ = build.build_annotations(cfg).read()
    source, store = features.open_features(**build.feature_arguments(cfg)), build.packed_store(cfg)
    for split, moments in splits.items():
        features.check_coverage(source, split=split, videos=[moment.video for moment in moments])
    durations = {moment.video: moment.duration_sec for moments in splits.values() for moment in moments}
    packing.pack(source, store, durations=durations, dtype=cfg.dtype, progress=progress.track)
    log.info("packed into %s", features.PackedFeatures(path=store).describe())


if __name__ == "__main__":
    cli.run(main, config_name="prepare")
