"""The price of a sweep before it runs: estimate, makespan, power, table.

Called, it tells it: plan(space, preset=, set=, seeds=, trials=, slots=, store=).
"""

from orchestrator.functions import make_callable

make_callable(__name__)
