"""The price of a sweep before it runs: estimate, makespan, power, table."""
