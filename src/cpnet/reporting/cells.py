"""The text of a table's cells, the same on the terminal and in every document."""

from __future__ import annotations

from cpnet.reporting.tables import Difference, Estimate


def mean(estimate: Estimate, sign: str = " ± ") -> str:
    """Mean and, with several seeds, standard deviation.

    >>> mean(Estimate(50.414, 0.378, 49.2, 51.6, (50.0, 50.8), None))
    '50.41 ± 0.38'
    """
    return f"{estimate.mean:.2f}" + ("" if estimate.sd is None else f"{sign}{estimate.sd:.2f}")


def between(of: Estimate | Difference, digits: int = 2) -> str:
    """The interval.

    >>> between(Difference(0.5, -0.25, 1.0))
    '[-0.25, 1.00]'
    """
    return f"[{of.low:.{digits}f}, {of.high:.{digits}f}]"


def over_seeds(of: Difference, name: str = "seeds ") -> str:
    """The interval over seeds behind its name; nothing where there is none.

    >>> over_seeds(Difference(0.5, -0.25, 1.0, (-2.0, 3.0)))
    'seeds [-2.00, 3.00]'
    """
    return "" if of.seeds is None else f"{name}[{of.seeds[0]:.2f}, {of.seeds[1]:.2f}]"


def difference(estimate: Estimate) -> str:
    """Difference to the baseline, marked where 0 lies outside its interval; a dash for the baseline itself.

    >>> difference(Estimate(1.0, None, 0.0, 2.0, (1.0,), Difference(-0.5, -1.0, -0.25)))
    '-0.50 *'
    """
    of = estimate.difference
    return "-" if of is None else f"{of.mean:+.2f}{' *' if of.clear else ''}"


def known(value: float | None) -> str:
    """A number of somebody else's table, or a dash."""
    return "-" if value is None else f"{value:.2f}"


def commit(name: str | None) -> str:
    """A commit, cut short; a checkout that had changes stays one.

    >>> commit("0123456789abcdef+changes")
    '0123456+changes'
    """
    start, changed, _ = (name or "unknown").partition("+")
    return start[:7] + ("+changes" if changed else "")
