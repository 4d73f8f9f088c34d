"""Choose the model that answers; answer the sentences of ``cpnet.predict``; print, draw and write the answers."""

from __future__ import annotations

import logging
import warnings
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cpnet.data.features.source import stamp_of
from cpnet.errors import ConfigError, DataError, quote
from cpnet.files import replacing
from cpnet.grounder import Grounder, Video
from cpnet.grounding.answer import Answer
from cpnet.runs.folder import chosen_checkpoint
from cpnet.runs.predictions import SUBMISSION, submission, write_jsonl
from cpnet.terminal import clock, print_moments, printable, seconds_bar
from cpnet.video.backbones import BACKBONES, is_joint, load_backbone
from cpnet.video.cut import cut, stills
from cpnet.video.decode import stated_duration
from cpnet.video.encode import EncodedVideo
from cpnet.video.extract import find_videos

STILLS = 12  # frames of the picture
SPAN = attrgetter("start_sec", "end_sec", "score")

log = logging.getLogger(__name__)


def choose_model(cfg: DictConfig, *, word_vectors: str | None = None) -> Grounder:
    """Load ``cfg.zero_shot``, a backbone that answers without training, or else the model of ``cfg.checkpoint``.

    Raises:
        ConfigError: zero_shot is set with checkpoint or word vectors, or its backbone encodes no sentences or lacks its
            weights
        DataError: there is no checkpoint, or it or the weights are damaged
    """
    given = {"checkpoint": cfg.checkpoint, "word_vectors": word_vectors}
    if cfg.zero_shot and (surplus := [key for key, value in given.items() if value]):
        raise ConfigError(f"zero_shot={cfg.zero_shot} answers without training; remove {' and '.join(surplus)}")
    if cfg.zero_shot:
        if cfg.zero_shot not in (able := [*filter(is_joint, BACKBONES)]):
            names = ", ".join(able)
            raise ConfigError(f"zero_shot must be a backbone that encodes sentences: {names}; got {cfg.zero_shot}")
        log.info("model: none, %s answers without training", cfg.zero_shot)
        return Grounder.zero_shot(load_backbone(cfg.zero_shot, weights=cfg.weights))
    path = chosen_checkpoint(cfg.checkpoint)
    return Grounder.from_checkpoint(path, word_vectors=word_vectors, backbone_weights=cfg.weights)


def predict(cfg: DictConfig, sentences: list[str]) -> None:
    """Answer sentences about a video, or about all files of a folder; a file that fails does not stop the others.

    Raises:
        ConfigError: the model cannot answer about files, a package is missing, or a target cannot be written
        DataError: there is no model, or videos failed
    """
    grounder = choose_model(cfg, word_vectors=cfg.word_vectors)
    grounder.look_up(sentences)  # wrong word vectors fail before files are encoded
    if cfg.videos:
        files = find_videos(Path(cfg.videos))
    else:
        files = {cfg.video if cfg.dataset else Path(cfg.video).stem: Path(cfg.video)}
    lines, failed = list[dict[str, Any]](), list[str]()
    for place, (name, file) in enumerate(files.items()):
        try:
            video, duration_sec = read(cfg, grounder, file)
            answers = grounder.answer(video, sentences, duration_sec=duration_sec, top=cfg.top)
        except DataError as error:
            if not cfg.videos:
                raise
            log.error("%s", error)
            failed.append(name)
            continue
        print_answers(f"{name}, {clock(duration_sec)}", answers)
        for number, answer in enumerate(answers, start=1):
            moments = map(SPAN, answer.moments)
            lines.append(submission(place * len(sentences) + number, answer.query, name, moments))
    try:
        target = cfg.json or (f"{cfg.output_dir}/{SUBMISSION}" if cfg.videos else None)
        if target and lines:
            write_jsonl(Path(target), lines)
            log.info("answers: %s", target)
        if not cfg.videos:
            write_media(cfg, file, duration_sec, answers)
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written ({error.strerror}); choose another file") from error
    if failed:
        raise DataError(f"{len(failed)} of {len(files)} videos have no answer, see above: {quote(failed, 20)}")


def read(cfg: DictConfig, grounder: Grounder, file: Path) -> tuple[Video, float]:
    """Return the rows of a file, or of ``cfg.video`` in the corpus ``cfg.dataset``, and the duration in seconds."""
    if cfg.dataset:
        from cpnet.training.build_data import read_video  # slow to import

        cfg.dataset.features.normalise = grounder.normalise  # as in training
        any_rate = bool(cfg.zero_shot)
        return read_video(cfg.dataset, cfg.video, cfg.duration, trained=grounder.extractor, any_rate=any_rate)
    video = encode(grounder, file, cfg.cache)
    if video.defects:
        log.warning("%s is damaged: %s", file, video.defects)
    return video, video.duration_sec


def print_answers(title: str, answers: list[Answer]) -> None:
    """Print the moments that answer each sentence, best first, and the words that the model does not know."""
    rows = []
    for answer in answers:
        for rank, moment in enumerate(answer.moments):
            rows.append(("" if rank else answer.query, *SPAN(moment)))
    print_moments(title, rows)
    if unknown := dict.fromkeys(word for answer in answers for word in answer.unknown_words):
        log.info("words that the model does not know: %s; word_vectors=FILE looks words up", quote(unknown, 20))


def write_media(cfg: DictConfig, file: Path, duration_sec: float, answers: list[Answer]) -> None:
    """Draw the answers about a video to ``picture``, and cut the best moment out to ``clip``."""
    if cfg.picture:
        from cpnet.reporting.figures import timeline  # slow to import

        target = Path(cfg.output_dir) / "timeline.png" if cfg.picture == "auto" else Path(cfg.picture)
        middles = [(place + 0.5) * duration_sec / STILLS for place in range(STILLS)]
        figure = timeline.draw(file.name, duration_sec, answers, [] if cfg.dataset else stills(file, middles))
        with replacing(target) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # characters that the font lacks become boxes
            figure.savefig(stream, dpi=120)
        log.info("picture: %s", target)
    if cfg.clip:
        cut(file, answers[0].moments[0].start_sec, answers[0].moments[0].end_sec, Path(cfg.clip))
        log.info("clip: %s", cfg.clip)


def encode(grounder: Grounder, path: Path, cache: str | None) -> EncodedVideo:
    """Encode a file with a progress bar, or return the rows that the folder ``cache`` has of it.

    Raises the errors of ``Grounder.encode``.
    """
    kind = grounder.known_extractor()
    kept = Path(cache) / f"{stamp_of([path], path.resolve(), kind)}.npz" if cache else None
    if kept and kept.is_file():
        with suppress(DataError):  # damaged
            return EncodedVideo.load(kept)
    with seconds_bar(printable(path.name), stated_duration(path)) as show:
        video = grounder.encode(path, progress=show)
    if kept:
        with suppress(OSError, DataError):  # the next question takes as long
            kept.parent.mkdir(parents=True, exist_ok=True)
            video.save(kept)
    return video
