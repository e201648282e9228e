"""The walk through a script: definitions, statements, loops, expressions and calls, in the order in which they run."""
