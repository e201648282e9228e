"""The price of a sweep before it runs: estimate, makespan, power, table."""

from orchestrator.functions import make_callable

make_callable(__name__)
