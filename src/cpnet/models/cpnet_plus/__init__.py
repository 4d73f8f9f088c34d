"""CPNetPlus: CPNet's contextual pyramid with an answer at every clip of every level."""
