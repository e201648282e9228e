"""Submission folders: the self-contained script, the metadata made from rows, and the checks of a finished folder."""
