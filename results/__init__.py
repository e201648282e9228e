"""Rows become pandas tables, tests of significance and figures."""
