"""The stages of the pipeline; each leaves one folder under its fingerprint."""
