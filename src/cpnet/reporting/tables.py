"""Tables of runs: rows of one protocol that may be compared, and the contract of all that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cpnet.reporting.runs import LeftOut, Run

PROTOCOL = ("dataset", "split", "selection", "strict", "ground_truth", "on_defect")
ON_TEST = "THE TEST SPLIT"  # how results.json states a checkpoint chosen on it


@dataclass(frozen=True)
class Difference:
    """A row's mean minus the baseline's, in points of per cent.

    Attributes:
        mean: over the seeds of each
        low, high: 95 % paired bootstrap interval over test pairs, of these trained models
        seeds: 95 % t interval over the seeds that both have; None where it is fewer than two
    """

    mean: float
    low: float
    high: float
    seeds: tuple[float, float] | None = None

    @property
    def clear(self) -> bool:
        """Whether 0 lies outside the interval over pairs and, where there is one, that over seeds."""
        over_seeds = self.seeds is None or not self.seeds[0] <= 0 <= self.seeds[1]
        return over_seeds and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Estimate:
    """A metric of a row, in per cent.

    Attributes:
        mean: over seeds
        sd: standard deviation over seeds, with n - 1; none with one seed
        low, high: 95 % bootstrap interval over test pairs, of these seeds' models
        values: of each seed
        difference: to the baseline; none in its own row
    """

    mean: float
    sd: float | None
    low: float
    high: float
    values: tuple[float, ...]
    difference: Difference | None


@dataclass(frozen=True, eq=False)
class Row:
    """A variant: its runs, one a seed, in order of seeds, and its metrics by key."""

    name: str
    runs: tuple[Run, ...]
    estimates: Mapping[str, Estimate]

    @property
    def seeds(self) -> list[int]:
        """Seeds of the runs."""
        return [run.results["seed"] for run in self.runs]


@dataclass(frozen=True)
class Reference:
    """A row that no run here measured with a model: a trivial predictor or the paper's, some metrics of it unknown."""

    name: str
    metrics: Mapping[str, float | None]
    span: tuple[float, float] | None = None  # in fractions, of a trivial predictor


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one protocol.

    Attributes:
        protocol: what the numbers depend on, beside the model
        pairs: how many test pairs there are
        keys: metrics that all rows have
        rows: variants
        baseline: name of the row that differences are to
        trivial: predictors that look at neither video nor words
        paper: rows of the paper for the same corpus and features
        notes: what a reader has to know
    """

    protocol: Mapping[str, Any]
    pairs: int
    keys: tuple[str, ...]
    rows: tuple[Row, ...]
    baseline: str
    trivial: tuple[Reference, ...]
    paper: tuple[Reference, ...]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """Corpus, split and number of pairs."""
        return f"{self.protocol['dataset']}, {self.protocol['split']} split, {self.pairs} pairs (per cent)"

    @property
    def printed(self) -> list[str]:
        """Keys of the metrics that people read; the discounted ones are in report.csv and report.json."""
        return [key for key in self.keys if not key.startswith("dR")]

    @property
    def compared(self) -> list[str]:
        """Keys of the metrics whose differences stand in a document's table."""
        return [key for key in ("R1@0.5", "mIoU") if key in self.keys]

    def caption(self) -> list[str]:
        """State the protocol in sentences, a checkpoint chosen on test first and in capitals."""
        rules = self.protocol
        threshold = "IoU > m" if rules["strict"] else "IoU >= m"
        lines = [
            f"{threshold}; ground truth {rules['ground_truth']}; on_defect={rules['on_defect']}",
            f"checkpoint chosen on {rules['selection']}",
            "mean +- standard deviation over seeds (n - 1); [95 % bootstrap interval over test pairs]",
        ]
        if len(self.rows) > 1:
            lines.append(f"differences are to {self.baseline}, over the same pairs; {self._starred()}")
        if rules["selection"] == ON_TEST:
            lines.insert(0, "THE CHECKPOINTS WERE CHOSEN ON THE TEST SPLIT: THESE NUMBERS ARE TOO HIGH")
        return lines

    def _starred(self) -> str:
        differences = [row.estimates[self.keys[0]].difference for row in self.rows]
        if all(each is None or each.seeds is None for each in differences):
            return "* = 0 lies outside the interval; of other seeds it says nothing"
        return "* = 0 lies outside the interval, and outside the 95 % t interval over the seeds in common"


@dataclass(frozen=True, eq=False)
class Report:
    """All that a report says.

    Attributes:
        experiment: that was asked for
        tables: one a protocol
        reasons: why there are several
        left_out: runs that are in no table
        resamples: of the bootstrap
    """

    experiment: str | None
    tables: Sequence[Table]
    reasons: Sequence[str]
    left_out: Sequence[LeftOut]
    resamples: int
