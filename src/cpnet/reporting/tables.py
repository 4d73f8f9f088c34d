"""Tables of a report: rows measured under one protocol, and the text of their cells."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cpnet.data.moment import is_test
from cpnet.evaluation.names import printed_name
from cpnet.evaluation.protocol import Protocol, Selection
from cpnet.reporting.breakdown import Broken
from cpnet.reporting.gather import Run
from cpnet.reporting.published import PublishedTable
from cpnet.runs.results import Results

CONDITIONS = ("dataset", "split", "selection", "holdout_fraction", "strict", "ground_truth", "on_defect")
WARNING = "THE CHECKPOINTS WERE CHOSEN ON THE TEST SPLIT: THESE NUMBERS ARE TOO HIGH"


def _minutes(key: str) -> Callable[[Results], float | None]:
    return lambda of: of.seconds[key] / 60 if key in of.seconds else None


COSTS: Mapping[str, Callable[[Results], float | None]] = {  # by head of the column
    "parameters (M)": lambda of: of.parameters / 1e6,
    "GFLOP a pair": lambda of: of.forward.gflop if of.forward else None,
    "training (min)": _minutes("fit"),
    "training (CPU min)": _minutes("fit_cpu"),
    "pairs/s": lambda of: of.forward.pairs_per_sec if of.forward else None,
}


def cost_text(value: float | None) -> str:
    """Return a cost with three significant digits.

    >>> cost_text(0.012345), cost_text(1234.0), cost_text(None)
    ('0.0123', '1234', '-')
    """
    return "-" if value is None else f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def conditions(protocol: Protocol) -> dict[str, Hashable]:
    """Return the parts of a protocol that must be equal for results to be comparable."""
    rules: dict[str, Hashable] = {key: getattr(protocol, key) for key in CONDITIONS}
    fraction = protocol.holdout_fraction if protocol.selection is Selection.HOLDOUT else None
    missing = ", ".join(f"{pairs} of {split}" for split, pairs in protocol.missing.items()) or "none"
    return rules | {"selection": protocol.selection.value, "holdout_fraction": fraction, "missing": missing}


def describe(results: Results) -> list[str]:
    """Return how a prediction counts, where the checkpoint was chosen, and what became of pairs without features."""
    protocol = results.protocol
    defects = "" if protocol.on_defect == "error" else f"; on_defect={protocol.on_defect}"
    split = {
        Selection.FILE: "the validation split",
        Selection.HOLDOUT: f"{protocol.holdout_fraction:.0%} of the training videos, held out",
        Selection.OTHER: "the corpus that the model was trained on",
        Selection.TEST: "THE TEST SPLIT",
    }[protocol.selection]
    rules = f"IoU {'>' if protocol.strict else '>='} m; ground truth {protocol.ground_truth}{defects}"
    lines = [rules, f"checkpoint chosen on {split}"]
    for name, pairs in sorted(protocol.missing.items(), key=lambda item: not is_test(item[0])):
        if not is_test(name):
            lines.append(f"{pairs:,} {name} pairs have no features and are dropped")
        elif protocol.split == name:
            lines.append(f"{pairs:,} of {results.pairs:,} {name} pairs have no features and count as missed")
    return lines


def heading(results: Results) -> str:
    """Return corpus, split and number of pairs."""
    return f"{results.protocol.dataset}, {results.protocol.split} split, {results.pairs} pairs (per cent)"


def references(results: Iterable[Results]) -> dict[str, Mapping[str, float]]:
    """Return the metrics of the first result's trivial predictors and of all rows of the paper, by name."""
    first, *others = results
    found = {f"{name} [{of.span[0]:g}, {of.span[1]:g}]": of.metrics for name, of in first.trivial.items()}
    for each in (first, *others):
        if each.paper:
            found.setdefault(f"the paper's {each.paper_model}", each.paper)
    return found


def printed_keys(metrics: Iterable[str], split: str) -> list[str]:
    """Return the keys of the metrics in printed tables of a split.

    Tables print discounted recall only of corpora with several test splits; report.csv and report.json always have it.
    """
    return [key for key in metrics if split.startswith("test_") or not key.startswith("dR")]


@dataclass(frozen=True)
class Difference:
    """A row's mean minus the baseline's, in percentage points.

    Attributes:
        mean: difference of the means over seeds
        low, high: 95 % paired bootstrap interval over test pairs, for these trained models
        seeds: 95 % t interval over the common seeds; None for fewer than two
    """

    mean: float
    low: float
    high: float
    seeds: tuple[float, float] | None = None

    @property
    def clear(self) -> bool:
        """Whether 0 lies outside the interval over pairs and, if there is one, outside the interval over seeds."""
        return not any(low <= 0 <= high for low, high in ((self.low, self.high), self.seeds or (1.0, 1.0)))

    def __str__(self) -> str:
        r"""Return the difference, with a star if it is clear, and the intervals on further lines.

        >>> str(Difference(-0.5, -1.0, -0.25, (-2.0, 3.0)))
        '-0.50\n[-1.00, -0.25]\nseeds [-2.00, 3.00]'
        """
        seeds = f"\nseeds [{self.seeds[0]:.2f}, {self.seeds[1]:.2f}]" if self.seeds else ""
        return f"{self.mean:+.2f}{' *' if self.clear else ''}\n[{self.low:.2f}, {self.high:.2f}]{seeds}"


@dataclass(frozen=True)
class Estimate:
    """A metric of a row, in per cent.

    Attributes:
        mean: over seeds
        sd: standard deviation over seeds, with n - 1; None for one seed
        low, high: 95 % bootstrap interval over test pairs, for these seeds' models
        values: value of each seed
        difference: difference to the baseline; None in the baseline's row
    """

    mean: float
    sd: float | None
    low: float
    high: float
    values: tuple[float, ...]
    difference: Difference | None

    def __str__(self) -> str:
        r"""Return the mean with the standard deviation, and the interval on a second line.

        >>> str(Estimate(50.414, 0.378, 49.2, 51.6, (50.0, 50.8), None))
        '50.41 ± 0.38\n[49.2, 51.6]'
        """
        sd = "" if self.sd is None else f" ± {self.sd:.2f}"
        return f"{self.mean:.2f}{sd}\n[{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True, eq=False)
class Row:
    """A variant: its runs in the order of their seeds, and its metrics by key."""

    name: str
    runs: tuple[Run, ...]
    estimates: Mapping[str, Estimate]

    def cost(self, head: str) -> float | None:
        """Return a cost of ``COSTS``, the mean over the seeds; None if a run lacks it."""
        costs = [COSTS[head](run.results) for run in self.runs]
        return None if None in costs else sum(each for each in costs if each is not None) / len(costs)


@dataclass(frozen=True, eq=False)
class Table:
    """Rows measured under one protocol.

    Attributes:
        protocol: conditions of the measurement
        keys: metrics of all rows; a row may lack some
        rows: variants
        baseline: name of the row that differences refer to
        references: metrics of trivial predictors and of the paper, by name
        notes: differences between rows that their names do not show
        broken: breakdown of each row
        published: rows of papers and public codes for the same corpus and features
    """

    protocol: Protocol
    keys: tuple[str, ...]
    rows: tuple[Row, ...]
    baseline: str
    references: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    broken: Broken
    published: Sequence[PublishedTable] = ()

    @property
    def results(self) -> Results:
        """Results of the first run."""
        return self.rows[0].runs[0].results

    @property
    def title(self) -> str:
        """Corpus, split and number of pairs."""
        return heading(self.results)

    @property
    def compared(self) -> list[str]:
        """Keys of the metrics whose differences are printed; none for a single row."""
        return [key for key in ("R1@0.5", "mIoU") if key in self.keys and len(self.rows) > 1]

    @property
    def costs(self) -> list[str]:
        """Heads of the costs that a row has; none if all rows have the same model."""
        models = {run.results.model for row in self.rows for run in row.runs}
        return [head for head in COSTS if len(models) > 1 and any(row.cost(head) is not None for row in self.rows)]

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return the column heads and the text of each line: name, metrics, differences, costs, number of seeds."""
        keys, lines = printed_keys(self.keys, self.protocol.split), []
        for row in self.rows:
            estimates = [str(row.estimates.get(key, "-")) for key in keys]
            found = [row.estimates.get(key) for key in self.compared]
            differences = [str((estimate and estimate.difference) or "-") for estimate in found]
            costs = [cost_text(row.cost(head)) for head in self.costs]
            lines.append([row.name, *estimates, *differences, *costs, str(len(row.runs))])
        for name, metrics in self.references.items():
            texts = [f"{metrics[key]:.2f}" if key in metrics else "-" for key in keys]
            lines.append([name, *texts, *("" for _ in (*self.compared, *self.costs)), ""])
        differing = [f"difference in {printed_name(key)}" for key in self.compared]
        return ["", *map(printed_name, keys), *differing, *self.costs, "seeds"], lines

    def sentences(self) -> list[str]:
        """Return the protocol and the notes, after a warning if checkpoints were chosen on the test split."""
        blind = {run.results.protocol.blind for row in self.rows for run in row.runs}
        lines = [
            *([WARNING] if self.protocol.selection is Selection.TEST else []),
            *describe(self.results),
            *([f"no model sees the {blind.pop()}"] if len(blind) == 1 and "none" not in blind else []),
            "mean ± standard deviation over seeds (n - 1); [95 % bootstrap interval over test pairs]",
        ]
        if len(self.rows) > 1:
            differences = [row.estimates["mIoU"].difference for row in self.rows]
            of_seeds = any(each.seeds for each in differences if each)
            limit = ", and outside the 95 % t interval over common seeds" if of_seeds else "; other seeds may differ"
            star = f"*: 0 lies outside the interval{limit}"
            lines.append(f"differences to {self.baseline}, over the same pairs; {star}")
        return [*lines, *(f"note: {note}" for note in self.notes)]


@dataclass(frozen=True, eq=False)
class Report:
    """Content of a report.

    Attributes:
        experiment: the requested experiment; None for all
        tables: one per protocol
        reasons: why there are several tables
        left_out: reason of each folder that is in no table
        resamples: number of bootstrap resamples
    """

    experiment: str | None
    tables: Sequence[Table]
    reasons: Sequence[str]
    left_out: Mapping[Path, str]
    resamples: int

    def remarks(self) -> dict[str, list[str]]:
        """Return why there are several tables, and the folders left out, under their headings."""
        left_out = [f"{folder}: {reason}" for folder, reason in self.left_out.items()]
        several = f"{len(self.tables)} tables, because different protocols are not comparable"
        remarks = {several: [*self.reasons], f"left out: {len(left_out)} folders": left_out}
        return {title: sentences for title, sentences in remarks.items() if sentences}


def short_commit(name: str | None) -> str:
    """Shorten a commit to seven digits, and keep the mark of a checkout with changes.

    >>> short_commit("0123456789abcdef+changes")
    '0123456+changes'
    """
    start, changed, _ = (name or "unknown").partition("+")
    return start[:7] + ("+changes" if changed else "")
