"""The page of a report with its tables, pictures and pairs: one file without any request."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from pathlib import Path
from string import Template

from cpnet.reporting.explorer.pack import Pack

ASSETS = Path(__file__).parent
SCRIPTS = ("data.js", "address.js", "histograms.js", "pair.js", "explorer.js")  # one script, in this order


def to_page(title: str, tables: str, packs: Sequence[Pack]) -> str:
    """Return the page.

    Args:
        title: plain text
        tables: trusted HTML, with pictures as ``data:`` addresses
        packs: test pairs of each table
    """
    style = _read("explorer.css")
    script = "\n".join(map(_read, SCRIPTS))
    blocks = [
        f'<script type="application/octet-stream" id="{kind}-{number}">{block}</script>'
        for number, pack in enumerate(packs)
        for kind, block in zip(("columns", "attention"), pack.blocks(), strict=True)
    ]
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(_read("explorer.html")).substitute(
        title=html.escape(title), policy=policy, style=style, tables=tables, script=script, data="\n".join(blocks)
    )


def _read(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
