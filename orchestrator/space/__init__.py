"""The search space file: its sections, parameters, checks, JSON Schema, and one configuration of it."""
