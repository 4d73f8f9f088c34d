"""Copy figures into docs/ with few colours: ``python docs/pictures.py FOLDER``, the folder of ``make pictures``."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

COLOURS = 64
NAMES = {"timeline": "*_timeline", "words": "01_*_words", "levels": "01_*_levels", "moments": "corpus_moments"}


def main(folder: Path) -> None:
    """Write the first figure of each kind as ``docs/figures-KIND.png``."""
    for kind, pattern in NAMES.items():
        first = min(folder.glob(f"{pattern}.png"))
        picture = Image.open(first).convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
        picture.save(Path(__file__).with_name(f"figures-{kind}.png"), optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
