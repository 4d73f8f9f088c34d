"""Video grounding with CPNet: find the moment of an untrimmed video that a sentence describes."""

__version__ = "0.1.0"
