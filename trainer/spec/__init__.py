"""The ground floor of paper: everything that can be said without a GPU, without torch."""
