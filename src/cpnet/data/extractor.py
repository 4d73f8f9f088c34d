"""Identity of a feature extractor, stored with its features and in every checkpoint trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from cpnet.errors import DataError, shown


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A backbone and how it was applied. Rows of two extractors that differ in any field must not be mixed.

    Attributes:
        backbone: name of the backbone
        weights: fingerprint of its weights
        preprocessing: what is done to a frame
        fps: frames per second
        window: frames of a row
        stride: frames between rows
        width: width V of a row
    """

    backbone: str
    weights: str
    preprocessing: str
    fps: float
    window: int
    stride: int
    width: int

    def __str__(self) -> str:
        rows = f"{self.fps:g} frames per second, windows of {self.window} every {self.stride}"
        return f"backbone={self.backbone} ({rows}, {self.preprocessing}, weights {self.weights})"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> Extractor | None:
        """Return the extractor of the fields in a store or checkpoint; None if there are none.

        Raises:
            DataError: the fields are not those of an extractor
        """
        if values is None:
            return None
        kinds = {field.name: field.type for field in fields(cls)}
        if not isinstance(values, Mapping) or {name: type(each).__name__ for name, each in values.items()} != kinds:
            raise DataError(f"{shown(values)} does not describe what extracted the features; extract them again")
        return cls(**values)


def check_extractor(trained: Extractor | None, given: Extractor | None, where: object) -> None:
    """Check that a model is not asked about rows of another extractor; rows of unknown origin are accepted.

    Args:
        trained: what extracted the rows that the model was trained on; None if unknown
        given: what extracted the rows that it is asked about; None if unknown
        where: the features, for the message

    Raises:
        DataError: they differ
    """
    if trained is None or given is None or trained == given:
        return
    raise DataError(
        f"{where}: the features come from another extractor than those of training:\n"
        f"  trained  {trained}\n  given    {given}\n"
        f"Extract the videos again: python -m cpnet.prepare action=extract videos=FOLDER features=STORE "
        f"backbone={trained.backbone} fps={trained.fps:g}"
    )
