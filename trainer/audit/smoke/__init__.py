"""The smoke test on the CPU: the script is imported in a fenced process, its model is built and run forward."""
