"""What each operation makes of what is known: arithmetic, indexing, iterating, containers, calls of known functions."""
