"""The behavioural audit: an evaluator is asked for scores of changed texts, and its answers are compared."""
