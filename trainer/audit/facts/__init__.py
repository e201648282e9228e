"""What a walk through a script knows: of values, tokens and sizes, of names in frames, and of what happened so far."""
