"""``python -m cpnet.score predictions=FILE dataset=NAME [split=test] [against=FILE]``: score any system's predictions.

Needs the annotations of the corpus alone: no model, no features, no word vectors.
"""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from cpnet.errors import ConfigError
from cpnet.launch import command


def main(cfg: DictConfig) -> None:
    """Read annotations and predictions, and print the table.

    Raises:
        ConfigError: a value is invalid
        DataError: a file is missing or malformed
    """
    from cpnet.config.corpus import build_annotations
    from cpnet.config.instantiate import config_errors, containers
    from cpnet.data.times import times
    from cpnet.evaluation import matching, trivial
    from cpnet.files import write_json
    from cpnet.options import MetricsOptions
    from cpnet.reporting import scored
    from cpnet.runs.submissions import read_submission
    from cpnet.terminal import printable

    files = [Path(each).expanduser() for each in (cfg.predictions, cfg.against) if each]
    if cfg.round_sec is not None and not cfg.round_sec > 0:
        raise ConfigError(f"round_sec must be positive, or null for times as they are; got {cfg.round_sec}")
    with config_errors("metrics"):
        options = MetricsOptions(**containers(cfg.metrics))
    splits, _ = build_annotations(cfg.dataset).read()
    if cfg.split not in splits:
        raise ConfigError(f"split must be one of {', '.join(splits)}; got {cfg.split!r}")
    moments = splits[cfg.split]
    if not any(moment.windows_sec for moment in moments):
        raise ConfigError(f"split={cfg.split}: its annotations have no true windows, so nothing can be scored")
    systems, unread = [], []
    for path in files:
        submission = read_submission(path)
        matched = matching.match(moments, submission.ranked, round_sec=cfg.round_sec)
        with config_errors("metrics"):
            systems.append(scored.score(path.stem, matched, moments, options))
        unread += submission.remarks(path.stem)
    constants = trivial.trivial_rows(times(splits["train"]), times(moments), metrics=options)
    rules = [f"IoU {'>' if options.strict else '>='} m", f"true windows {cfg.dataset.ground_truth}"]
    rules += [] if cfg.round_sec is None else [f"times rounded to {cfg.round_sec:g} s"]
    title = (
        f"{cfg.dataset.name}, {cfg.split} split, {len(moments)} pairs; {', '.join(rules)}; 95 % intervals over pairs"
    )
    lines = scored.table(systems, constants, resamples=cfg.resamples)
    scored.print_scores(title, *lines, [*unread, *scored.remarks(systems, moments)])
    write_json(Path(cfg.output_dir, "scores.json"), scored.as_json(systems, constants))
    sys.stdout.write(f"outputs: {printable(cfg.output_dir)}\n")


if __name__ == "__main__":
    command.run(main, config_name="score")
