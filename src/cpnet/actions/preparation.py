"""The actions of ``cpnet.prepare``."""

from __future__ import annotations

import logging
import re
import shlex
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from cpnet.config.corpus import build_annotations, corpus_yaml
from cpnet.data import resplit as splitting
from cpnet.data.corpora.surrogate import write_action_scores
from cpnet.data.required_files import NeededFile, check_files
from cpnet.errors import ConfigError

log = logging.getLogger(__name__)


def inspect(cfg: DictConfig) -> None:
    """Inspect the pack, or its packed store if the pack was deleted; exit with code 1 if training would fail."""
    from cpnet.data.features import inspection, open_features
    from cpnet.reporting import features
    from cpnet.training import build_data

    delivered = build_data.build_features(cfg.dataset.features)
    arguments = {"path": delivered.store_path()} if delivered.has_only_store() else delivered.arguments()
    # Training rejects reversed pairs of evaluation splits; inspection counts them.
    splits, reports = replace(build_annotations(cfg.dataset), on_defect="drop").read()
    found = inspection.inspect(
        open_features(**{**arguments, "dim": None}),  # another width is a finding
        splits,
        dataset=cfg.dataset.name,
        dim=cfg.dataset.features.dim,
        annotations=reports,
        on_defect=cfg.dataset.on_defect,
        on_missing=cfg.dataset.on_missing,
    )
    features.publish(found, Path(cfg.output_dir))
    if found.problems():
        raise SystemExit(1)


def pack(cfg: DictConfig) -> None:
    """Write the packed store of all videos of the corpus."""
    from cpnet.data import features
    from cpnet.training import build_data

    annotations = build_annotations(cfg.dataset)
    delivered = build_data.build_features(cfg.dataset.features)
    source = features.open_features(**delivered.arguments())
    splits, _ = features.split_by_features(source, annotations.read()[0], on_missing=annotations.on_missing)
    videos = [moment.video for moments in splits.values() for moment in moments]
    log.info("packed into %s", delivered.pack(source, videos, dtype=cfg.dtype).describe())


def surrogate(cfg: DictConfig) -> None:
    """Write scores of Charades' actions, generated from its annotations, to ``dataset.features.path``."""
    dataset = cfg.dataset
    if dataset.name != "charades_sta_actions":
        raise ConfigError(
            f"action=surrogate is for dataset=charades_sta_actions; the features of dataset={dataset.name} are "
            f"published {dataset.features.published or 'elsewhere'}"
        )
    if not isinstance(dataset.features.path, str):
        raise ConfigError(f"action=surrogate writes one file; got dataset.features.path={dataset.features.path}")
    path = Path(dataset.features.path).expanduser()
    if path.exists():
        raise ConfigError(f"{path} exists already; move it away, or set dataset.features.path to another place")
    needed = [
        NeededFile(
            Path(dataset.splits[split].durations).expanduser(),
            f"dataset.splits.{split}.durations",
            "Charades' annotated actions",
            dataset.published,
        )
        for split in ("train", "test")
    ]
    check_files(dataset.name, needed)
    count = write_action_scores(path, [file.path for file in needed])
    log.info("wrote scores of %d videos to %s", count, path)


def resplit(cfg: DictConfig) -> None:
    """Write new splits and their yaml into a new folder; print and draw how moments are distributed in each."""
    from cpnet.reporting.figures import distributions
    from cpnet.reporting.printing import print_table

    if cfg.by not in splitting.MEASURES:
        raise ConfigError(f"action=resplit needs by={'|'.join(splitting.MEASURES)}; got by={cfg.by}")
    name, root = f"{re.sub(r'[^-.0-9A-Za-z]+', '_', cfg.dataset.name)}_by_{cfg.by}", Path(cfg.data_dir).expanduser()
    folder = Path(cfg.folder).expanduser().absolute() if cfg.folder else root / name
    if folder.exists():
        raise ConfigError(f"{folder} exists already; move it away, or set folder=PATH to a new folder")
    annotations = replace(build_annotations(cfg.dataset), on_defect="drop", ground_truth="clipped")
    if annotations.validation == "test":  # whose pairs would count twice
        annotations = replace(annotations, validation="holdout")
    splits = splitting.resplit(annotations.read()[0], by=cfg.by, seed=cfg.seed)
    places = {split: f"{folder if cfg.folder else f'${{data_dir}}/{name}'}/{split}.jsonl" for split in splits}
    command = f"python -m cpnet.prepare dataset={cfg.dataset.name} action=resplit by={cfg.by} seed={cfg.seed}"
    yaml = corpus_yaml(cfg.dataset, name=name, files=places, published=f"written by {command}")
    try:
        splitting.write(folder, splits, name=name, yaml=yaml)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror}); set folder=PATH to another place") from error
    lines = [
        [split, str(len({each.video for each in moments})), str(len(moments))]
        + [f"{splitting.measure(moments, key).mean():.3f}" for key in splitting.MEASURES]
        for split, moments in splits.items()
    ]
    print_table(f"{name}, fractions of the video", ["", "videos", "pairs", "mean length", "mean position"], lines)
    picture = Path(cfg.output_dir, "distributions.png")
    distributions.draw(f"moments of {name}", splits, picture)
    log.info("picture of the distributions: %s", picture)
    chosen = ["--config-dir", str(folder), f"dataset={name}", f"data_dir={root}"]
    log.info("train on it: python -m cpnet.train %s", shlex.join(chosen))


def extract(cfg: DictConfig) -> None:
    """Encode the videos of a folder; exit with code 1 if some of them could not be read."""
    for key in ("videos", "features"):
        if cfg[key] is None:
            raise ConfigError(f"action=extract needs {key}: videos=FOLDER features=STORE")
    from cpnet.video import extract as extraction  # an optional package reads video files

    done = extraction.extract(
        Path(cfg.videos).expanduser(),
        Path(cfg.features).expanduser(),
        **{key: cfg[key] for key in ("backbone", "weights", "fps", "workers", "dtype")},
    )
    log.info("encoded %d videos; %s has %d", len(done.encoded), cfg.features, len(done.store))
    log.info("train on them with dataset.features.path=%s dataset.features.dim=%d", cfg.features, done.store.dim)
    if done.failed:
        log.error("%d videos could not be encoded (reasons above); the same command tries them again", len(done.failed))
        raise SystemExit(1)
