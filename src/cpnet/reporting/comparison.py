"""From runs to tables: one table a protocol, one row a variant, each row beside the baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from cpnet.config import ConfigError
from cpnet.reporting import cells
from cpnet.reporting.runs import Gathered, LeftOut, Run
from cpnet.reporting.statistics import interval, over_seeds, resampled_means
from cpnet.reporting.tables import PROTOCOL, Difference, Estimate, Reference, Report, Row, Table
from cpnet.reporting.variants import name_runs, portable

Groups = dict[str, list[Run]]  # runs of each row, by its name


def compare(gathered: Gathered, *, experiment: str | None, baseline: str | None, resamples: int) -> Report:
    """Put runs into tables.

    Args:
        gathered: the runs
        experiment: that was asked for
        baseline: name of the row that others are compared with; the first of each table where None
        resamples: of the bootstrap

    Raises:
        ConfigError: no row has the baseline's name
    """
    protocols: defaultdict[Hashable, list[Run]] = defaultdict(list)
    for run in gathered.runs:
        protocols[_protocol(run)].append(run)
    left_out = [*gathered.left_out]
    grouped = [_group(runs, left_out) for runs in protocols.values()]
    names = [name for groups, _ in grouped for name in groups]
    if baseline is not None and baseline not in names:
        raise ConfigError(f"baseline={baseline!r}: no row has this name; rows: {'; '.join(dict.fromkeys(names))}")
    tables = [_table(groups, notes, baseline, resamples) for groups, notes in grouped]
    return Report(experiment, tables, _reasons([*protocols.values()]), left_out, resamples)


def _protocol(run: Run) -> Hashable:
    return (*(run.results["protocol"].get(key) for key in PROTOCOL), run.pairs)


def _reasons(tables: Sequence[Sequence[Run]]) -> list[str]:
    """Say what keeps runs apart."""
    reasons = []
    for key in PROTOCOL:
        values = dict.fromkeys(str(runs[0].results["protocol"].get(key)) for runs in tables)
        if len(values) > 1:
            reasons.append(f"{key} is {' or '.join(values)}")
    if len({tuple(runs[0].results["protocol"].get(key) for key in PROTOCOL) for runs in tables}) < len(tables):
        reasons.append("the test pairs are not the same")
    return reasons


def _group(runs: Sequence[Run], left_out: list[LeftOut]) -> tuple[Groups, list[str]]:
    """Join the runs of each row, one a seed; leave out the older of two."""
    naming = name_runs([run.results["model"] for run in runs], [run.config for run in runs])
    newest: dict[str, dict[int, Run]] = {}
    for run, name in zip(runs, naming.names, strict=True):
        seeds = newest.setdefault(name, {})
        seed = run.results["seed"]
        older, kept = sorted((seeds.get(seed, run), run), key=lambda each: each.written)
        seeds[seed] = kept
        if older is not kept and not _is_the_same(older, kept):
            reason = f"seed {seed} of {name} is here twice; {kept.folder} is newer"
            left_out.append(LeftOut(older.folder, reason))
    return {name: [seeds[seed] for seed in sorted(seeds)] for name, seeds in newest.items()}, [*naming.notes]


def _is_the_same(one: Run, other: Run) -> bool:
    """Whether one run's files are in both folders, as ``sweep.reuse`` has them."""
    return any("run_of" in run.results for run in (one, other)) and np.array_equal(one.iou, other.iou)


def _table(groups: Groups, notes: Sequence[str], baseline: str | None, resamples: int) -> Table:
    runs = [run for row in groups.values() for run in row]
    first = runs[0].results
    keys = tuple(key for key in runs[0].scores if all(key in run.scores for run in runs))
    chosen = baseline if baseline in groups else next(iter(groups))
    if baseline not in (None, chosen):
        notes = [*notes, f"no row here is named {baseline}: differences are to {chosen}"]
    return Table(
        protocol={**first["protocol"], "features": _features(runs[0])},
        pairs=first["pairs"],
        keys=keys,
        rows=tuple(_rows(groups, keys, chosen, resamples)),
        baseline=chosen,
        trivial=tuple(
            Reference(f"{name} [{row['span'][0]:g}, {row['span'][1]:g}]", row["metrics"], tuple(row["span"]))
            for name, row in first["trivial"].items()
        ),
        paper=tuple(Reference(f"the paper's {name}", row) for name, row in _paper(runs).items()),
        notes=(*notes, *_notes(groups, keys)),
    )


def _rows(groups: Groups, keys: Sequence[str], baseline: str, resamples: int) -> list[Row]:
    # (rows, metrics, pairs): a pair's score in a row is its mean over the seeds
    scores = np.array(
        [[np.mean([run.scores[key] for run in runs], axis=0) for key in keys] for runs in groups.values()]
    )
    drawn = 100 * resampled_means(scores.reshape(-1, scores.shape[-1]).T, resamples=resamples)
    drawn = drawn.reshape(resamples, *scores.shape[:2])
    means, base = 100 * scores.mean(axis=-1), [*groups].index(baseline)
    low, high = interval(drawn)
    low_difference, high_difference = interval(drawn - drawn[:, [base]])
    rows = []
    for place, (name, runs) in enumerate(groups.items()):
        estimates = {}
        for column, key in enumerate(keys):
            at = place, column
            values = [100 * float(run.scores[key].mean()) for run in runs]
            difference = Difference(
                *(float(means[at] - means[base, column]), float(low_difference[at]), float(high_difference[at])),
                over_seeds(_by_seed(runs, [*groups.values()][base], key)),
            )
            estimates[key] = Estimate(
                mean=float(means[at]),
                sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
                low=float(low[at]),
                high=float(high[at]),
                values=tuple(values),
                difference=None if place == base else difference,
            )
        rows.append(Row(name, tuple(runs), estimates))
    return rows


def _by_seed(runs: Sequence[Run], base: Sequence[Run], key: str) -> list[float]:
    """Subtract the baseline's score of the same seed, for every seed that both have; in per cent."""
    of_base = {run.results["seed"]: run.scores[key].mean() for run in base}
    return [
        100 * float(run.scores[key].mean() - of_base[run.results["seed"]])
        for run in runs
        if run.results["seed"] in of_base
    ]


def _paper(runs: Sequence[Run]) -> dict[str, Mapping[str, float]]:
    rows: dict[str, Mapping[str, float]] = {}
    for run in runs:
        if run.results["paper"]:
            rows.setdefault(run.results["paper_model"], run.results["paper"])
    return rows


def _features(run: Run) -> str:
    return portable(str(run.results["protocol"].get("features"))).rpartition("/")[2]


def _notes(groups: Groups, keys: Sequence[str]) -> list[str]:
    """Tell what rows have not in common although their names do not say it."""
    notes = []
    for what, value in (
        ("precision", lambda run: run.results["precision"]),
        ("commit", lambda run: cells.commit(run.results.get("git_commit"))),
    ):
        by_row = {name: sorted({str(value(run)) for run in runs}) for name, runs in groups.items()}
        if len({text for texts in by_row.values() for text in texts}) > 1:
            notes.append(f"{what} differs: {_by_value(by_row)}")
    seeds = {name: [", ".join(str(run.results["seed"]) for run in runs)] for name, runs in groups.items()}
    if len({text for texts in seeds.values() for text in texts}) > 1:
        notes.append(f"seeds differ: {_by_value(seeds)}")
    runs = [run for row in groups.values() for run in row]
    dropped = sorted({key for run in runs for key in run.scores} - set(keys))
    if dropped:
        notes.append(f"not all runs have {', '.join(dropped)}: left out")
    if len({repr(_rounded(run.results["trivial"])) for run in runs}) > 1:
        notes.append(
            "the trivial predictors differ between runs, which have other training pairs: the first run's are shown"
        )
    return notes


def _by_value(by_row: Mapping[str, Sequence[str]]) -> str:
    rows: defaultdict[str, list[str]] = defaultdict(list)
    for name, values in by_row.items():
        rows[" and ".join(values)].append(name)
    return "; ".join(f"{value} in {', '.join(names)}" for value, names in rows.items())


def _rounded(trivial: Mapping[str, Any]) -> dict[str, list[float]]:
    return {name: [round(value, 2) for value in row["metrics"].values()] for name, row in trivial.items()}
