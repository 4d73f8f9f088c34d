"""``python -m cpnet.search index=FOLDER [videos=FOLDER] [query="..."]``: index videos, and find a sentence in them."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from cpnet.config import as_text
from cpnet.errors import ConfigError
from cpnet.launch import command

log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> None:
    """Build or extend the index, and search it; exit with code 1 if videos could not be read."""
    if not (cfg.query or "").strip() and (cfg.query is not None or cfg.videos is None):
        raise ConfigError('set videos=FOLDER to build the index, or query="SENTENCE" to search it')
    if cfg.top < 1:
        raise ConfigError(f"top must be 1 or more; got {cfg.top}")
    if cfg.json is not None:
        command.check_target("json", Path(cfg.json), cfg.checkpoint)
        if Path(cfg.json).resolve().parent == Path(cfg.index).resolve():
            raise ConfigError(f"json={cfg.json} is inside the index; choose another folder")
    failed = {} if cfg.videos is None else build(cfg)
    if cfg.query is not None:
        search(cfg)
    if failed:
        raise SystemExit(1)


def build(cfg: DictConfig) -> dict[str, str]:
    """Encode the videos that the index lacks; return why some of them could not be read, by id."""
    from cpnet.index import row_kind
    from cpnet.video.backbones import is_joint
    from cpnet.video.extract import extract

    index, how = Path(cfg.index), {key: cfg[key] for key in ("weights", "workers")}
    backbone, fps = row_kind(index, cfg.backbone, cfg.fps, cfg.checkpoint)
    # Similarities of float16 take several times as long; other rows are read by the model alone.
    dtype: Literal["float16", "float32"] = "float32" if is_joint(backbone) else "float16"
    done = extract(Path(cfg.videos), index, backbone=backbone, fps=fps, **how, dtype=dtype)
    log.info("%s: %d videos, %d encoded now; %s", index, len(done.store), len(done.encoded), done.store.extractor)
    return done.failed


def search(cfg: DictConfig) -> None:
    """Print the moments that the sentence describes, and write them to ``cfg.json``."""
    from cpnet import files, terminal
    from cpnet.grounder import Grounder
    from cpnet.grounding.zero_shot import joint as as_joint
    from cpnet.index import VideoIndex
    from cpnet.runs.folder import chosen_checkpoint
    from cpnet.video.backbones import is_joint, load_backbone

    index = VideoIndex.open(cfg.index)
    kind, joint = index.extractor, is_joint(index.extractor.backbone)
    backbone = as_joint(load_backbone(kind.backbone, weights=cfg.weights, fps=kind.fps)) if joint else None
    model = None
    if cfg.checkpoint or not joint:
        model = Grounder.from_checkpoint(chosen_checkpoint(cfg.checkpoint))
    else:
        log.info("model: none, the similarity of rows and sentence answers; checkpoint=PATH sets one")
    hits = index.search(cfg.query, model, backbone=backbone, top=cfg.top)
    terminal.print_moments(cfg.query, [(hit.video, hit.start_sec, hit.end_sec, hit.score) for hit in hits])
    if cfg.json is not None:
        files.write_json(Path(cfg.json), {"query": cfg.query, "moments": [asdict(hit) for hit in hits]})


if __name__ == "__main__":
    sys.argv[1:] = as_text(sys.argv[1:], ("index", "videos", "query", "checkpoint", "weights", "json"))
    command.run(main, config_name="search")
