"""Tests, intervals, power and stopping rules on plain arrays; knows no files."""
