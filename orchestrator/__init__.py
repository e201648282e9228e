"""Schedules sweeps: asks Optuna for configurations, runs them over seeds on warm Ray Train worker groups."""
