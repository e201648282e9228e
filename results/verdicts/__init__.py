"""Is it better? Comparisons, acceptance policies, published records, the seed ledger."""
