"""Audit of foreign evaluation code: scripts by reading them, evaluators by what they answer."""
