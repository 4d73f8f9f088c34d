"""Draw the figures of a checkpoint: chosen pairs, failures that people may accept, and the corpus."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from omegaconf import DictConfig, ListConfig

from cpnet.data.datamodule import GroundingDataModule
from cpnet.data.moment import Moment, normalise_id
from cpnet.data.times import times
from cpnet.data.tokens import tokenize
from cpnet.errors import ConfigError, cut
from cpnet.evaluation.functional import Floats
from cpnet.evaluation.trivial import trivial_predictors
from cpnet.inspection.choose import Choice
from cpnet.inspection.observe import Observed, Observer, open_models
from cpnet.inspection.references import Failure, find_failures, references_of
from cpnet.inspection.scene import Scene
from cpnet.reporting.figures import corpus, maps
from cpnet.reporting.figures.style import COLUMN_STYLE, Drawn, write
from cpnet.terminal import printable
from cpnet.video.extract import find_videos

USUAL = 6  # pairs that are drawn without a choice, from the lowest to the highest IoU
TOGETHER = 6  # queries of a video in its timeline, unless more are chosen
FAILURES = 6  # of the figure
LONGEST_NAME = 60  # letters of an id in a file name

log = logging.getLogger(__name__)


def draw_figures(cfg: DictConfig) -> None:
    """Predict pairs of ``cfg.split`` with ``cfg.checkpoint``, and draw them into ``figures/`` of the output folder.

    Raises:
        ConfigError: a value is invalid
        DataError: the checkpoint, the corpus or another file is malformed, or there is no such pair
    """
    qids = cfg.qid if isinstance(cfg.qid, ListConfig) else [] if cfg.qid is None else [cfg.qid]
    wishes = {key: cfg[key] for key in ("video", "worst", "best", "random", "seed")}
    choice = Choice(qid=[*map(str, qids)], **wishes)
    files = find_videos(Path(cfg.video_dir), key="video_dir") if cfg.video_dir else {}
    log.info("model: %s", cfg.checkpoint)
    datamodule, observers = open_models(cfg)
    split = datamodule.test_split
    moments = datamodule.dataset(split).moments
    named = choice.by_name(moments, split)
    references, surplus = references_of(Path(cfg.references), moments) if cfg.references else ({}, 0)
    if surplus:
        log.warning("%d pairs of %s are not in the split and are ignored", surplus, cfg.references)
    rows = range(len(moments)) if named is None else [row for each in _films(moments, named).values() for row in each]
    log.info("%s predicts %d pairs", observers[0].name, len(rows))
    observed = observers[0].observe(rows)
    chosen = choice.by_iou(_ious(observed), len(moments), usual=USUAL) if named is None else named
    failures = find_failures(observed, references) if named is None else []
    films = _films(moments, chosen)
    drawn = dict.fromkeys(
        [*(row for each in films.values() for row in each), *(each.row for each in failures[:FAILURES])]
    )
    scene = Scene(
        moments=moments,
        models=[each.name for each in observers],
        observed=[observed, *(each.observe([*drawn]) for each in observers[1:])],
        references=references,
        files={normalise_id(name): path for name, path in files.items()},
    )
    for number, row in enumerate(chosen, start=1):
        iou = "" if observed[row].iou is None else f"IoU {observed[row].iou:.2f}  "
        line = f"{number:02}  {iou}{cut(moments[row].qid, 60)}: {cut(moments[row].query, 100)}"
        sys.stdout.write(f"{printable(line)}\n")
    for sentence in _remarks(scene, observers, failures, [*drawn]):
        log.info("%s", sentence)
    figures = chain(_pairs(scene, observers, chosen, films), _failures(scene, failures))
    whole = _corpus(datamodule, split, observed, strict=cfg.metrics.strict) if named is None else ()
    _write(chain(figures, whole), Path(cfg.output_dir) / "figures")


def _ious(observed: Mapping[int, Observed]) -> list[float] | None:
    """Return the IoU of each pair in the order of the split; None if the split has no true windows."""
    ious = [observed[row].iou for row in sorted(observed)]
    return None if all(iou is None for iou in ious) else [iou or 0.0 for iou in ious]


def _films(moments: Sequence[Moment], chosen: Sequence[int]) -> dict[str, list[int]]:
    """Return the rows of each chosen pair's video, the chosen ones first, then others in order of time."""
    films: dict[str, list[int]] = {}
    for row in chosen:
        films.setdefault(normalise_id(moments[row].video), []).append(row)
    of_video: dict[str, list[int]] = {video: [] for video in films}
    for row, moment in enumerate(moments):
        if (video := normalise_id(moment.video)) in films:
            of_video[video].append(row)
    for video, rows in films.items():
        others = sorted({*of_video[video]} - {*rows}, key=lambda row: (moments[row].windows_sec, row))
        rows += others[: max(0, TOGETHER - len(rows))]
    return films


def _pairs(
    scene: Scene, observers: Sequence[Observer], chosen: Sequence[int], films: Mapping[str, Sequence[int]]
) -> Iterator[Drawn]:
    """Yield a timeline for each video, and the maps of each chosen pair."""
    mapped = [each for each in observers if each.has_maps]
    seen = set()
    for number, row in enumerate(chosen, start=1):
        moment, video = scene.moments[row], normalise_id(scene.moments[row].video)
        if video not in seen:
            seen.add(video)
            title = f"{moment.video}, {moment.duration_sec:.1f} s"
            yield scene.timeline(f"{number:02}_{_file_name(moment.video)}_timeline", {title: films[video]})
        stem, title = f"{number:02}_{_file_name(moment.qid)}", f"{moment.qid}: {moment.query}"
        levels = []
        for observer in mapped:
            words, level = observer.maps(row)
            levels += [level] if level else []
            if observer is observers[0]:
                figure = maps.draw_words(title, words, moment.windows_sec)
                yield Drawn(name=f"{stem}_words", figure=figure, numbers=words.numbers())
        if levels:
            numbers = (record for each in levels for record in each.numbers())
            figure = maps.draw_levels(title, levels, moment.windows_sec)
            yield Drawn(name=f"{stem}_levels", figure=figure, numbers=numbers)


def _failures(scene: Scene, failures: Sequence[Failure]) -> Iterator[Drawn]:
    """Yield the timelines of failures that people may accept, and a record for every pair of a low IoU."""
    moments, groups = scene.moments, dict[str, list[int]]()
    for number, failure in enumerate(failures[:FAILURES], start=1):
        reasons = [f"{failure.annotator or 'an annotator'} agrees, IoU {failure.agreement:.2f}"] * failure.accepted
        reasons += [f"attention has {failure.peaks} peaks"] * (failure.peaks > 1)
        if reasons:
            moment = moments[failure.row]
            groups[f"{number}. {moment.video}, {moment.duration_sec:.1f} s: {'; '.join(reasons)}"] = [failure.row]
    if not groups:
        return
    records = []
    for failure in failures:
        moment, each = moments[failure.row], scene.observed[0][failure.row]
        record = {"qid": moment.qid, "video": moment.video, "query": moment.query, "iou": each.iou}
        records.append(record | {key: value for key, value in asdict(failure).items() if key != "row"})
    yield replace(scene.timeline("failures", groups), numbers=records)


def _corpus(
    datamodule: GroundingDataModule, split: str, observed: Mapping[int, Observed], *, strict: bool
) -> Iterator[Drawn]:
    """Yield the figures of the corpus: where moments lie, query lengths, and words by IoU."""
    train, tested = datamodule.dataset("train").moments, datamodule.dataset(split).moments
    splits = {"train": train, split: tested}
    predicted = np.array([observed[row].predicted_sec for row in range(len(tested))])
    durations = np.array([moment.duration_sec for moment in tested])
    groups = {name: _fractions(moments) for name, moments in splits.items()}
    groups["predicted"] = predicted / durations[:, None]
    constants = trivial_predictors(*times(train), strict=strict)
    numbers = corpus.moment_numbers(groups)
    yield Drawn(name="corpus_moments", figure=corpus.draw_moments(groups, constants), numbers=numbers)
    tokens = {name: [tokenize(moment.query) for moment in moments] for name, moments in splits.items()}
    lengths = {name: [*map(len, each)] for name, each in tokens.items()}
    found = _ious(observed)
    ious = None if found is None else np.array(found)
    records = corpus.query_numbers(lengths, split, ious)
    yield Drawn(name="corpus_queries", figure=corpus.draw_queries(records, [*splits], split), numbers=records)
    if ious is not None and (scores := corpus.score_words(tokens[split], ious)):
        figure = corpus.draw_words(scores, float(ious.mean()))
        yield Drawn(name="corpus_words", figure=figure, numbers=[*map(asdict, scores)])


def _fractions(moments: Sequence[Moment]) -> Floats:
    """Return all true spans of moments in fractions of their videos. Shape: (N, 2)"""
    spans = [(s / each.duration_sec, e / each.duration_sec) for each in moments for s, e in each.windows_sec]
    return np.array(spans, np.float64).reshape(-1, 2)


def _file_name(text: str) -> str:
    """Return an id as a part of a file name.

    >>> _file_name("../3MSZA:1")
    '3MSZA-1'
    """
    return re.sub(r"[^\w-]+", "-", text, flags=re.ASCII).strip("-")[:LONGEST_NAME]


def _write(figures: Iterable[Drawn], folder: Path) -> None:
    """Write figures one by one, and print the folder.

    Raises:
        ConfigError: the folder cannot be written to
    """
    written = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with rc_context(COLUMN_STYLE):
            for each in figures:  # drawn one by one
                written += len(write(each, folder))
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written ({error.strerror}); set hydra.run.dir=FOLDER") from error
    sys.stdout.write(f"outputs: {printable(str(folder))}: {written} files, each figure as png, svg and csv\n")


def _remarks(
    scene: Scene, observers: Sequence[Observer], failures: Sequence[Failure], drawn: Sequence[int]
) -> list[str]:
    """Return what the figures do not show, and why."""
    lines = []
    for observer, observed in zip(observers, scene.observed, strict=True):
        if not observer.has_maps:
            lines.append(f"{observer.name} has no maps of clips and words: no figure of S_q, S_v and M")
        elif not observer.has_levels:
            lines.append(f"{observer.name} has no context-aware module: no figure of M")
        if not any(observed[row].attention.size for row in drawn):
            lines.append(f"{observer.name} has no attention over time: timelines show spans only")
    if scene.files and (missing := [row for row in drawn if normalise_id(scene.moments[row].video) not in scene.files]):
        lines.append(
            f"{len(missing)} of {len(drawn)} pairs have no video file in video_dir: their timelines have no frames"
        )
    if failures:
        peaks = sum(each.peaks > 1 for each in failures)
        line = f"of {len(failures)} pairs with IoU below 0.5, {peaks} have an attention with several peaks"
        accepted = f", and {sum(each.accepted for each in failures)} agree with another annotator"
        lines.append(line + accepted * bool(scene.references))
    return lines
