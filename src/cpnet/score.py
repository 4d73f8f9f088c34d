"""``python -m cpnet.score predictions=FILE dataset=NAME [split=test] [against=FILE]``: score any system's predictions.

Needs the annotations of the corpus alone: no model, no features, no word vectors. ``breakdown=true`` shows where the
system fails, and ``references=FILE`` compares it with several annotators.
"""

from __future__ import annotations

import gc
import os

from omegaconf import DictConfig

from cpnet.launch import command


def main(cfg: DictConfig) -> None:
    """Score the predictions."""
    command.check_corpus(cfg, annotations_only=True)
    from cpnet.actions.scoring import score  # after the number of threads is set

    score(cfg)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the products are small, and idle threads of NumPy take cores
    gc.disable()  # collections would take a quarter of the short time, and free nothing
    command.run(main, config_name="score")
