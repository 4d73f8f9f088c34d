"""Table of the drops that probes of a model's input cause, and a sentence per probe on what the model uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from cpnet.evaluation.functional import Floats
from cpnet.evaluation.names import printed_name
from cpnet.reporting.scored import Mean, difference, with_intervals

MAIN = "mIoU"  # metric of the printed drop
RESAMPLES = 1000
NOISE = 0.005  # per cent: smaller drops come from the order of additions in other batches
# The part of the input that a probe takes away, and what the model gets instead
MEANINGS = {
    "video_zeroed": ("the video", "a video of zeros"),
    "video_shuffled": ("the order of time", "a shuffled video"),
    "video_reversed": ("the order of time", "a reversed video"),
    "video_other": ("the video", "another video"),
    "words_zeroed": ("the query", "a query of zeros"),
    "words_shuffled": ("the order of words", "a query with shuffled words"),
    "verbs_removed": ("verbs", "a query without its verbs"),
    "nouns_removed": ("nouns", "a query without its nouns"),
    "query_same_video": ("what tells queries of a video apart", "another query of the same video"),
    "query_other_video": ("the query", "a query of another video"),
}


@dataclass(frozen=True, kw_only=True)
class Probed:
    """A model measured with its own input and through probes.

    Attributes:
        intact: score of each pair by metric, in [0, 1]
        probes: the same by probe
        constants: the same of constant predictions by name, the floor
        changed: number of pairs whose input a probe changes
        missed: number of pairs without any input, which score 0
        blind: input that ``dataset.blind`` hides from the model anyway: none, video or query
    """

    intact: Mapping[str, Floats]
    probes: Mapping[str, Mapping[str, Floats]]
    constants: Mapping[str, Mapping[str, Floats]]
    changed: Mapping[str, int]
    missed: int
    blind: str

    @cached_property
    def means(self) -> dict[str, dict[str, Mean]]:
        """Return the metrics of the intact model, of each probe and of each constant."""
        return with_intervals({"intact": self.intact, **self.probes, **self.constants}, resamples=RESAMPLES)

    @cached_property
    def drops(self) -> dict[str, dict[str, Mean]]:
        """Return the paired differences of the intact model to each probe and each constant."""
        rows = {**self.probes, **self.constants}
        differences = {name: difference(self.intact, each) for name, each in rows.items()}
        return with_intervals(differences, resamples=RESAMPLES)

    @property
    def pairs(self) -> int:
        """Return the number of pairs."""
        return len(self.intact[MAIN])

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return heads and lines: the intact model, each probe, the constants."""
        keys = [*self.intact]
        lines = []
        for name, of in self.means.items():
            drop = self.drops[name][MAIN].printed() if name in self.drops else ""
            changed = f"{100 * self.changed[name] / self.pairs:.1f}" if name in self.changed else ""
            lines.append([name, *(f"{of[key].mean:.2f}" if key in of else "-" for key in keys), drop, changed])
        return ["", *map(printed_name, keys), f"drop of {MAIN}", "% of pairs changed"], lines

    def sentences(self) -> list[str]:
        """Return what follows from each probe: a part of the input is used if the drop's interval lies above 0."""
        return [self._sentence(name) for name in self.probes]

    def _sentence(self, name: str) -> str:
        drop, changed, (part, instead) = self.drops[name][MAIN], self.changed[name], MEANINGS[name]
        if not changed:
            return f"says nothing about {part}: it changes no pair"
        hidden = "video" if name.startswith("video") else "query"
        verb = "uses" if drop.low > NOISE else "is misled by" if drop.high < -NOISE else "does not use"
        if self.blind == hidden and verb != "does not use":
            part = "the number of clips" if hidden == "video" else "the number of words"  # which are not hidden
        sentence = f"{verb} {part}: {instead} costs {drop.printed()} {MAIN}"
        if kept := self.pairs - self.missed - changed:
            each = f"{drop.mean * self.pairs / changed:.2f} per changed pair"
            sentence += f" ({kept:,} of {self.pairs:,} pairs keep their input, {each})"
        return sentence

    def as_json(self) -> dict[str, Any]:
        """Return all numbers for a file: metrics and drops in per cent with their intervals."""

        def plain(rows: Mapping[str, Mapping[str, Mean]]) -> dict[str, dict[str, dict[str, float]]]:
            return {name: {key: asdict(mean) for key, mean in each.items()} for name, each in rows.items()}

        return {
            "pairs": self.pairs,
            "metrics": plain(self.means),
            "drops": plain(self.drops),
            "changed": dict(self.changed),
            "sentences": dict(zip(self.probes, self.sentences(), strict=True)),
        }
