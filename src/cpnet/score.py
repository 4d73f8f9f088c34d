"""``python -m cpnet.score predictions=FILE dataset=NAME [split=test] [against=FILE]``: score any system's predictions.

Needs the annotations of the corpus alone: no model, no features, no word vectors.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from omegaconf import DictConfig

from cpnet.errors import ConfigError
from cpnet.launch import command


def main(cfg: DictConfig) -> None:
    """Read annotations and predictions, and print the tables.

    Raises:
        ConfigError: a value is invalid
        DataError: a file is missing or malformed
    """
    from cpnet.config.corpus import build_annotations
    from cpnet.config.instantiate import config_errors, containers
    from cpnet.data.annotations import check_split
    from cpnet.data.times import times
    from cpnet.evaluation import matching, trivial
    from cpnet.evaluation.published import published_rows
    from cpnet.files import write_json
    from cpnet.options import MetricsOptions
    from cpnet.reporting import scored
    from cpnet.reporting.published import published_tables
    from cpnet.runs.submissions import read_submission
    from cpnet.terminal import printable

    check_split(cfg.split)
    files = [Path(each).expanduser() for each in (cfg.predictions, cfg.against) if each]
    names = [path.stem for path in files]
    if len({*names, scored.DIFFERENCE}) <= len(names):
        names = [*map(str, files)]
    if cfg.round_sec is not None and not cfg.round_sec > 0:
        raise ConfigError(f"round_sec must be positive, or null for times as they are; got {cfg.round_sec}")
    if not cfg.resamples > 0:
        raise ConfigError(f"resamples must be positive; got {cfg.resamples}")
    with config_errors("metrics"):
        options = MetricsOptions(**containers(cfg.metrics))
    splits, _ = build_annotations(cfg.dataset).read(without={"val"} - {cfg.split})
    moments = splits[cfg.split]
    if not any(moment.windows_sec for moment in moments):
        raise ConfigError(f"split={cfg.split}: its annotations have no true windows, so nothing can be scored")
    videos = {moment.qid: moment.video for moment in moments}
    systems, remarks = [], []
    for name, path in zip(names, files, strict=True):
        submission = read_submission(path, videos)
        matched = matching.match(moments, submission.ranked, round_sec=cfg.round_sec)
        with config_errors("metrics"):
            systems.append(scored.score(name, matched, moments, options))
        remarks += submission.remarks(name)
    constants = trivial.trivial_rows(times(splits["train"]), times(moments), metrics=options)
    measured = scored.means(systems, resamples=cfg.resamples)
    rules = [f"IoU {'>' if options.strict else '>='} m", f"true windows {cfg.dataset.ground_truth}"]
    rules += [] if cfg.round_sec is None else [f"times rounded to {cfg.round_sec:g} s"]
    title = f"{cfg.dataset.name}, {cfg.split} split, {len(moments)} pairs; {', '.join(rules)}; 95 % intervals"
    scored.print_table(title, *scored.table(measured, constants))
    scored.print_sentences([*remarks, *scored.remarks(systems, moments)])
    for each in published_tables(published_rows(cfg.dataset.name)) if cfg.split == "test" else []:
        scored.print_table(each.title, *each.cells())
    write_json(Path(cfg.output_dir, "scores.json"), scored.as_json(systems, measured, constants))
    sys.stdout.write(f"outputs: {printable(cfg.output_dir)}\n")


if __name__ == "__main__":
    gc.disable()  # collections would take a quarter of the short time, and find nothing
    command.run(main, config_name="score")
