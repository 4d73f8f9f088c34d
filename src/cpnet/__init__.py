"""Video grounding with CPNet: find the moment of an untrimmed video that a sentence describes."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Grounder", "__version__"]

if TYPE_CHECKING:
    from cpnet.grounder import Grounder
else:

    def __getattr__(name: str) -> object:
        """Import ``Grounder`` when it is used: it needs torch, which takes seconds."""
        if name != "Grounder":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from cpnet.grounder import Grounder

        return Grounder
