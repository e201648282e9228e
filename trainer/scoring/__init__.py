"""Scoring: bits per byte, sliding windows, test-time training, and the ledger that enforces the challenge's rules."""
