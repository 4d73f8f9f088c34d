"""Numbers as CSV. Text from runs and annotations is untrusted: spreadsheets interpret no cell as a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any


def to_csv(records: Iterable[Mapping[str, Any]]) -> str:
    """Return records as CSV; its columns are the keys of all records, in the order of their appearance.

    >>> to_csv([{"word": "=1+1", "count": 2}, {"word": "a", "mean": 0.5}])
    "word,count,mean\\n'=1+1,2,\\na,,0.5\\n"
    """
    lines = [{name: _without_formula(cell) for name, cell in record.items()} for record in records]
    stream = io.StringIO()
    columns = dict.fromkeys(name for line in lines for name in line)
    writer = csv.DictWriter(stream, [*columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _without_formula(cell: Any) -> Any:
    # Spreadsheets run text that starts with =, +, - or @ (also full-width), even after blanks or a separator.
    if not isinstance(cell, str):
        return cell
    return re.sub(r"(^|[;\t\r\n])(?=\s*[=+\-@＝＋－＠])|^(?=[\t\r\n])", r"\1'", cell)  # noqa: RUF001
