"""The text of a script: out of its self-extracting wrappers, and readable by this Python. Nothing of it is run."""
