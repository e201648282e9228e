"""A sweep on disk: its journal, sharing between machines, warm start, machine check, quarantine.

Called, it runs one: sweep(space, preset=, set=, seeds=, trials=, name=, on_ray=, slots=, check=, store=).
"""

from orchestrator.functions import make_callable

make_callable(__name__)
