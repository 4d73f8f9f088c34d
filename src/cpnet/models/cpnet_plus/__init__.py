"""CPNetPlus: CPNet's contextual pyramid with an answer at every step of every level."""
