"""What `check` knows of settings that lose data or delay a failover. Facts go in, findings come out.

table.py      every finding of `check` with its id        pure
report.py     findings as lines, or as JSON
shell.py      commands that an operator may run as they stand  pure
look.py       the facts: what is asked of Redis and the Sentinels
redis.py sentinel.py consul.py agent.py   the rules       pure
"""
