"""Which configuration and which run come next: Optuna, pruning, race, run queue."""
