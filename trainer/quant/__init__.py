"""Weights to counted bytes and back."""
