"""Muon, Adam, the learning-rate schedule and weight averaging."""
