"""Corpora and features that cpnet generates itself."""
