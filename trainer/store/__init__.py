"""Stores of finished stages, local or in a bucket, with claims, checksums and locks. Imports `trainer.spec` alone."""
