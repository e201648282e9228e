"""Schedules sweeps: asks Optuna for configurations, runs them over seeds on warm Ray Train worker groups.

from orchestrator import plan, sweep
plan("search_spaces/ttt.yaml").seconds
sweep("search_spaces/ttt.yaml").table()
"""
