"""Find a sentence in many videos.

``python -m cpnet.search index=FOLDER videos=FOLDER`` encodes video files into an index, or adds new ones to it.
``python -m cpnet.search index=FOLDER query="..." [top=10] [checkpoint=PATH]`` prints the best moments of its videos.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from cpnet.config import as_text
from cpnet.errors import ConfigError
from cpnet.launch import command

TEXTS = ("index", "videos", "query", "checkpoint", "weights", "json")

log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> None:
    """Build or extend the index, and search it; exit with code 1 if videos could not be read."""
    if cfg.videos is None and not (cfg.query or "").strip():
        raise ConfigError('set videos=FOLDER to build the index, or query="SENTENCE" to search it')
    if cfg.top < 1:
        raise ConfigError(f"top must be 1 or more; got {cfg.top}")
    failed = {} if cfg.videos is None else build(cfg)
    if cfg.query is not None:
        search(cfg)
    if failed:
        log.error("%d videos are not in the index, see above; the same command tries them again", len(failed))
        raise SystemExit(1)


def build(cfg: DictConfig) -> dict[str, str]:
    """Encode the videos that the index lacks; return why some could not be read, by id."""
    from cpnet import terminal
    from cpnet.searching import VideoIndex, find_model
    from cpnet.video.backbones import is_joint
    from cpnet.video.extract import extract

    index, how = Path(cfg.index), {key: cfg[key] for key in ("backbone", "fps", "weights", "workers")}
    if cfg.backbone is None:
        known = VideoIndex.open(index) if index.exists() else find_model(cfg.checkpoint)
        if known and known.extractor:
            how |= {"backbone": known.extractor.backbone, "fps": cfg.fps or known.extractor.fps}
        else:
            how["backbone"] = "efficientnet_lite0"
    # Similarities of float16 take several times as long; rows without similarities are read by the model alone.
    dtype = "float32" if is_joint(how["backbone"]) else "float16"
    done = extract(Path(cfg.videos), index, **how, dtype=dtype, progress=terminal.track)
    log.info("%s: %d videos, %d of them new; %s", index, len(done.store), len(done.encoded), done.store.extractor)
    return done.failed


def search(cfg: DictConfig) -> None:
    """Print the moments that the sentence describes, and write them to ``cfg.json``."""
    from cpnet import files, terminal
    from cpnet.reporting.terminal import print_hits
    from cpnet.searching import VideoIndex, find_model
    from cpnet.video.backbones import is_joint, load_backbone

    index = VideoIndex.open(cfg.index)
    kind, model = index.extractor, find_model(cfg.checkpoint)
    backbone = load_backbone(kind.backbone, weights=cfg.weights, fps=kind.fps) if is_joint(kind.backbone) else None
    if backbone and not cfg.checkpoint and (model is None or model.extractor != kind):
        log.info("no model of these rows is known, so the similarity of rows and sentence alone answers")
        model = None
    hits = index.search(cfg.query, model, backbone=backbone, top=cfg.top, progress=terminal.track)
    print_hits(cfg.query, hits)
    if cfg.json is not None:
        files.write_json(Path(cfg.json), {"query": cfg.query, "moments": [asdict(hit) for hit in hits]})


if __name__ == "__main__":
    sys.argv[1:] = as_text(sys.argv[1:], TEXTS)
    command.run(main, config_name="search")
