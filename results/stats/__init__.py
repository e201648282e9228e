"""Tests, intervals, power and stopping rules on plain arrays; reads no files."""
