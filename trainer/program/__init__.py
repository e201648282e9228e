"""Running a program of the user's own: its files, its fenced process, the numbers it prints. Imports no torch."""
