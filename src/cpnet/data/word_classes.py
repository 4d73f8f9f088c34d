"""Classes of English words within their query, by the tagger HanTa, whose package has its data."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from cpnet.errors import ConfigError

CLASSES = {"V": "verb", "N": "noun"}  # by the first letter of a tag of the British National Corpus


@cache
def tagger() -> Any:
    """Load the tagger, in half a second.

    Raises:
        ConfigError: its package is missing
    """
    try:
        from HanTa.HanoverTagger import HanoverTagger
    except ImportError as error:
        raise ConfigError(
            "verbs_removed and nouns_removed need HanTa: pip install 'cpnet-grounding[probes]', or list other probes"
        ) from error
    return HanoverTagger("morphmodel_en.pgz")


@lru_cache(maxsize=1 << 16)  # a query is tagged once for all probes
def word_classes(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``verb``, ``noun`` or ``other`` for each word of a query.

    Auxiliaries are verbs, names are nouns, pronouns are neither. A word that can be several has the class that the
    tagger finds most probable in its query: "light" is a noun in "turn off the light" and a verb in "light a candle".
    """
    return tuple(CLASSES.get(tag[:1], "other") for _, _, tag in tagger().tag_sent(list(words)))
