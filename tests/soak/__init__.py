"""One fleet for a long time, with one random fault after another: what leaks shows, and what breaks a promise.

``plan.py`` says which fault is next; each is done, judged and healed as ``tests/chaos`` does it. ``samples.py`` looks at
the processes from outside meanwhile, ``verdict.py`` says what of that grows, ``report.py`` and ``picture.py`` show it.
"""
