"""Begin a training with the weights of another run: ``init_from=CHECKPOINT``."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError
from cpnet.runs.checkpoint import Checkpoint

log = logging.getLogger(__name__)


def initialise(module: nn.Module, source: Checkpoint, vocabulary: Vocabulary) -> None:
    """Load the weights of a checkpoint that fit a module by name and shape, and log the others.

    An ``nn.Embedding`` with a row for each word fits only if the words are the same.

    Raises:
        ConfigError: no weight fits
    """
    own, theirs, words = module.state_dict(), source.weights, vocabulary.words
    tables = {name for name, each in module.named_modules() if isinstance(each, nn.Embedding)}
    of_words = {f"{name}.weight" for name in tables if len(own[f"{name}.weight"]) == len(words)}
    wrong = of_words if source.vocabulary.words != words else set()
    fit = {name: each for name, each in theirs.items() if name in own.keys() - wrong and own[name].shape == each.shape}
    others = [
        f"\n  {name}: {_shape(theirs.get(name))} in the checkpoint, {_shape(own.get(name))} in this model"
        f"{', for other words' if name in wrong else ''}"
        for name in own | theirs
        if name not in fit
    ]
    listed = "".join(others) or " nothing"
    if not fit:
        raise ConfigError(f"init_from={source.path}: no weight fits this model{listed}")
    module.load_state_dict(fit, strict=False)
    log.info("init_from=%s: took %d of %d weights; not taken:%s", source.path, len(fit), len(own), listed)
    vectors = dict(zip(source.vocabulary.words, source.vocabulary.vectors, strict=True))
    here = zip(vocabulary.words, vocabulary.vectors, strict=True)
    if any(word in vectors and not torch.equal(vectors[word], vector) for word, vector in here):
        log.warning("init_from: the same words have other vectors in the checkpoint; see dataset.word_vectors.path")


def _shape(weight: Tensor | None) -> str:
    return "none" if weight is None else "x".join(map(str, weight.shape)) or "a scalar"
