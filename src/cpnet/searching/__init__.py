"""Find a sentence in many videos."""

from cpnet.searching.index import VideoIndex
from cpnet.searching.model import find_model

__all__ = ["VideoIndex", "find_model"]
