"""Keeps finished stages: on disk, in a bucket, with claims, checksums and locks. Imports `trainer.spec` alone."""
