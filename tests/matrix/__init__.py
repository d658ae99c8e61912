"""The main path on every version of Redis, Valkey and Consul that is at hand, and on mixed ones: ``make matrix``.

A row is a fleet of network namespaces on these versions; a step is one fault of ``tests/chaos``, judged as there over the
whole history. ``rows.py`` lists both, ``table.py`` writes down what became of them.
"""
