"""What errors about numbers that are not finite say."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 10  # qids in an error message
ADVICE = (
    "Features with huge values are the usual cause: python -m cpnet.prepare inspects them, and "
    "dataset.features.normalise=true divides each row by its norm. Otherwise lower optimizer.lr, or set "
    "trainer.precision=32-true"
)


def listed(qids: Sequence[str]) -> str:
    """Return the first qids and the number of the others.

    >>> listed([str(number) for number in range(12)])
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more'
    """
    more = f" and {len(qids) - SHOWN} more" if len(qids) > SHOWN else ""
    return f"{', '.join(qids[:SHOWN])}{more}"
