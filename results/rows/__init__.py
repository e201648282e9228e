"""One row per run, and tables of rows: reading, layout of a sweep's folder, costs, machines."""
