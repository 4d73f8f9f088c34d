"""From the output of a model, or of no model, to the moments that answer a sentence."""
