"""Servers made up for the tests, that are as strict as the real ones."""
