"""CPNet (AAAI 2021), one file per part of the paper's Figure 2."""
