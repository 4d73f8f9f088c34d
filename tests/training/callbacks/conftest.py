"""The corpus of short training runs."""

from __future__ import annotations

import pytest

from corpora import ready, write_corpus
from cpnet.data.datamodule import GroundingDataModule


@pytest.fixture(scope="module")
def datamodule(tmp_path_factory: pytest.TempPathFactory) -> GroundingDataModule:
    return ready(write_corpus(tmp_path_factory.mktemp("corpus")))  # seven batches per epoch
