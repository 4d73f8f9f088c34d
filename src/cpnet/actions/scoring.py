"""Score the predictions of any system against the annotations of a corpus."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from cpnet.config.corpus import build_annotations
from cpnet.config.instantiate import config_errors, containers
from cpnet.data.annotations import Annotations
from cpnet.data.moment import Moment
from cpnet.data.readers.references import read_references
from cpnet.data.times import times
from cpnet.errors import ConfigError
from cpnet.evaluation.annotators import References, match_references
from cpnet.evaluation.matching import match, video_and_query
from cpnet.evaluation.published import published_rows
from cpnet.evaluation.trivial import trivial_rows
from cpnet.files import write_json
from cpnet.options import MetricsOptions
from cpnet.reporting import annotators, scored
from cpnet.reporting.breakdown import Broken, break_down_systems
from cpnet.reporting.printing import print_sentences, print_table
from cpnet.reporting.published import published_tables
from cpnet.reporting.scored import Scored
from cpnet.reporting.statistics import FEWEST
from cpnet.runs.submissions import read_submission
from cpnet.terminal import printable


def score(cfg: DictConfig) -> None:
    """Read annotations and predictions, print the tables, and write ``scores.json``.

    Raises:
        ConfigError: a value is invalid
        DataError: a file is missing or malformed
    """
    annotations = build_annotations(cfg.dataset)
    split = _check(cfg, annotations)
    with config_errors("metrics"):
        options = MetricsOptions(**containers(cfg.metrics))
    splits, _ = annotations.read(without={"val"} - {split})
    moments = splits[split]
    if not any(moment.windows_sec for moment in moments):
        raise ConfigError(f"split={split}: its annotations have no true windows, so nothing can be scored")
    references = _read_references(cfg, moments) if cfg.references else None
    systems, remarks = _score_files(cfg, moments, options)
    constants = trivial_rows(times(splits["train"]), times(moments), metrics=options)
    measured = scored.means(systems, resamples=cfg.resamples)
    rules = [f"IoU {'>' if options.strict else '>='} m", f"true windows {cfg.dataset.ground_truth}"]
    rules += [] if cfg.round_sec is None else [f"times rounded to {cfg.round_sec:g} s"]
    title = f"{cfg.dataset.name}, {split} split, {len(moments)} pairs; {', '.join(rules)}; 95 % intervals"
    print_table(title, *scored.table(measured, constants))
    print_sentences([*remarks, *scored.remarks(systems, moments)])
    content = scored.as_json(systems, measured, constants)
    if references:
        first = {each.name: each.matched.ranked[:, 0] for each in systems}
        columns = annotators.compare(first, references, moments, options, constants, resamples=cfg.resamples)
        annotators.print_comparison(columns, references, len(moments))
        content["references"] = annotators.as_json(columns, references)
    if cfg.breakdown:
        scores = {each.name: each.scores for each in systems}
        broken = break_down_systems(scores, moments, splits["train"], constants)
        _print_breakdown(broken, len(moments), Path(cfg.output_dir, "breakdown.png"))
        content["breakdown"] = broken.as_json()
    for each in published_tables(published_rows(cfg.dataset.name)) if split == "test" else []:
        print_table(each.title, *each.cells())
    write_json(Path(cfg.output_dir, "scores.json"), content)
    sys.stdout.write(f"outputs: {printable(cfg.output_dir)}\n")


def _check(cfg: DictConfig, annotations: Annotations) -> str:
    """Check the root keys; return the split to score."""
    (split, *others) = annotations.measured(cfg.split)
    if others:
        raise ConfigError(f"split={cfg.split}: choose one of {', '.join(annotations.tests)}")
    if cfg.round_sec is not None and not cfg.round_sec > 0:
        raise ConfigError(f"round_sec must be positive, or null for times as they are; got {cfg.round_sec}")
    if cfg.resamples < FEWEST:
        raise ConfigError(f"resamples must be at least {FEWEST}; got {cfg.resamples}")
    return split


def _score_files(cfg: DictConfig, moments: list[Moment], options: MetricsOptions) -> tuple[list[Scored], list[str]]:
    """Read and score the predictions; return them with remarks on what could not be read."""
    files = [Path(each).expanduser() for each in (cfg.predictions, cfg.against) if each]
    names = [path.stem for path in files]
    if len({*names, scored.DIFFERENCE}) <= len(names):
        names = [*map(str, files)]
    pairs = {moment.qid: video_and_query(moment) for moment in moments}
    systems, remarks = [], []
    for name, path in zip(names, files, strict=True):
        submission = read_submission(path, pairs)
        matched = match(moments, submission.ranked, round_sec=cfg.round_sec)
        with config_errors("metrics"):
            systems.append(scored.score(name, matched, moments, options))
        remarks += submission.remarks(name)
    return systems, remarks


def _read_references(cfg: DictConfig, moments: list[Moment]) -> References:
    """Read the spans of several annotators for the pairs of a split."""
    read = read_references(Path(cfg.references).expanduser())
    references = match_references(moments, read, clip=cfg.dataset.ground_truth == "clipped")
    if not references.places:
        raise ConfigError(f"references={cfg.references}: no row has the video and the query of a pair of {cfg.split}")
    return references


def _print_breakdown(broken: Broken, pairs: int, picture: Path) -> None:
    """Print the mIoU by group of pairs, and draw it."""
    from cpnet.reporting.figures.breakdown import figure  # matplotlib is slow to import
    from cpnet.reporting.figures.style import save

    print_table("mIoU by group of pairs; 95 % intervals", *broken.cells())
    save(figure(broken, f"mIoU by group of pairs, {pairs} pairs"), picture)
