"""``python -m cpnet.score`` on predictions of a run, of other systems, and on wrong arguments."""

from __future__ import annotations
