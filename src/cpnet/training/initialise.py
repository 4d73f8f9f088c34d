"""Begin a training with the weights of another run: ``init_from=CHECKPOINT``."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from cpnet.data.vocabulary import Vocabulary
from cpnet.errors import ConfigError
from cpnet.runs.checkpoint import Checkpoint

log = logging.getLogger(__name__)


def initialise(module: nn.Module, vocabulary: Vocabulary, source: Checkpoint) -> None:
    """Load the weights of a checkpoint that fit a module by name and shape, and log the others.

    An ``nn.Embedding`` with a row for each word takes the rows of the words that both vocabularies have.

    Raises:
        ConfigError: no weight fits
    """
    own, theirs = module.state_dict(), source.weights
    words = {f"{name}.weight" for name, each in module.named_modules() if isinstance(each, nn.Embedding)}
    counts = len(vocabulary.words), len(source.vocabulary.words)
    known = {word: row for row, word in enumerate(source.vocabulary.words)}
    rows = torch.tensor([(row, known[word]) for row, word in enumerate(vocabulary.words) if word in known])
    taken: dict[str, Tensor] = {}
    others = [f"{name} {_shape(theirs[name])}: not in this model" for name in theirs if name not in own]
    for name, weight in own.items():
        other = theirs.get(name)
        if other is None:
            others.append(f"{name} {_shape(weight)}: not in the checkpoint")
        elif name in words and (len(weight), len(other)) == counts and weight.shape[1:] == other.shape[1:]:
            taken[name] = weight.clone()
            taken[name][rows[:, 0]] = other[rows[:, 1]]
            others.append(f"{name}: the rows of {counts[0] - len(rows)} new words")
        elif weight.shape != other.shape:
            others.append(f"{name} {_shape(weight)}: {_shape(other)} in the checkpoint")
        else:
            taken[name] = other
    listed = "".join(f"\n  {each}" for each in others) or " nothing"
    if not taken:
        raise ConfigError(f"init_from={source.path}: no weight fits this model{listed}")
    module.load_state_dict(taken, strict=False)
    log.info("init_from=%s: took %d of %d weights; not taken:%s", source.path, len(taken), len(own), listed)
    there, here = (each.vectors for each in (source.vocabulary, vocabulary))
    if there.shape[1] == here.shape[1] and not torch.equal(here[rows[:, 0]], there[rows[:, 1]]):
        log.warning("word vectors: those of the checkpoint differ for the same words; was it another file of vectors?")


def _shape(weight: Tensor) -> str:
    return "x".join(map(str, weight.shape)) or "scalar"
