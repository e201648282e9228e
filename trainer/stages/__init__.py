"""Verbs of the pipeline; each leaves one folder, keyed by its fingerprint."""
