"""The benchmark: several publishers side by side on the same fleet, what they cost, and how fast one starts.

``stage.py`` is the fleet and ``publishers.py`` who publishes on it; ``failovers.py`` does the failovers, ``measures.py``
turns the witness' history into figures.
"""
