"""``python -m cpnet.prepare dataset=NAME dataset.features.path=PATH [action=inspect|pack]``: know a feature pack.

``inspect`` says what it is and what is wrong with it, code 1 if nothing can be trained; ``pack`` makes it fast to read;
``surrogate`` makes the features of ``dataset=charades_sta_actions``, which nobody publishes.
"""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from cpnet import cli
from cpnet.config import ConfigError

log = logging.getLogger(__name__)

SURROGATE = "charades_sta_actions"


def main(cfg: DictConfig) -> None:
    """Check that the corpus is there, and do what is asked."""
    actions = {"inspect": inspect, "pack": pack, "surrogate": surrogate}
    for key, allowed in (("action", [*actions]), ("dtype", ["float16", "float32"])):
        if cfg[key] not in allowed:
            raise ConfigError(f"{key} must be one of {', '.join(allowed)}; got {cfg[key]!r}")
    if cfg.action != "surrogate":  # which makes what is not there
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


def surrogate(cfg: DictConfig) -> None:
    """Write scores of Charades' actions, made from its annotations, where ``dataset.features.path`` expects them.

    Raises:
        ConfigError: the dataset has features of its own
        DataError: something is wrong with Charades' csv files
    """
    from pathlib import Path

    from cpnet import progress
    from cpnet.data.surrogate import write_action_scores

    if cfg.dataset.name != SURROGATE:
        published = cfg.dataset.features.published or "where dataset.features.path says"
        raise ConfigError(
            f"action=surrogate is for dataset={SURROGATE}; the features of dataset={cfg.dataset.name} are published "
            f"{published}"
        )
    path = Path(cfg.dataset.features.path).expanduser()
    if path.exists():
        raise ConfigError(f"{path} is there already; move it away, or name another place: dataset.features.path=PATH")
    count = write_action_scores(
        path, [cfg.dataset.splits[split].durations for split in ("train", "test")], progress=progress.track
    )
    log.info("scores of %d videos: %s", count, path)


if __name__ == "__main__":
    cli.run(main, config_name="prepare")
