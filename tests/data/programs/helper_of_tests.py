def score(seed):
    return 1.0 + seed * 1e-4
