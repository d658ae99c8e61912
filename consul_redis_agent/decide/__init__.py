"""Deciding: facts and memory in, a decision and the next memory out. Pure."""
