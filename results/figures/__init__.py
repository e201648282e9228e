"""Figures in two steps: facts as a table, then the drawing."""
