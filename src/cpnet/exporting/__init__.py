"""A checkpoint as a folder that answers without cpnet."""
