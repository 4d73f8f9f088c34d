"""Copy figures into docs/ with few colours: ``python docs/pictures.py FOLDER``, what ``make pictures`` drew."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

COLOURS = 256
NAMES = {  # pictures of docs/ and what they are made of
    "figures-timeline": "figures/*_timeline.png",
    "figures-words": "figures/01_*_words.png",
    "figures-levels": "figures/01_*_levels.png",
    "figures-moments": "figures/corpus_moments.png",
    "predict": "predict/timeline.png",
}


def main(folder: Path) -> None:
    """Write the first figure of each kind."""
    for name, pattern in NAMES.items():
        picture = Image.open(min(folder.glob(pattern))).convert("RGB")
        few = picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
        few.save(Path(__file__).with_name(f"{name}.png"), optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
