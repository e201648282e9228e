"""Bits per byte, sliding windows, test-time training, and the ledger that keeps them honest."""
