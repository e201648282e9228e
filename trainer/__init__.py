"""One recipe in, one record out: trains, compresses and scores a small language model under hard budgets."""
