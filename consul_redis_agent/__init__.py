"""Keeps Consul's DNS naming the one true Redis master.

Facts flow one way, and so do the modules:

    watch/      what is seen outside: the Redis node, the Sentinels, the Consul catalog     I/O
      ↓ facts.py
    rules.py    facts → one decision, and its reason                                        pure
      ↓
    entries.py  decision + configuration → the entries that Consul should hold              pure
      ↓
    registry.py makes Consul hold exactly those                                             I/O

Around them: agent.py is the loop; config/ reads and checks the configuration; consul_api.py speaks to Consul;
server.py, metrics.py, notify.py and logs.py tell people and machines; cli.py and commands/ are the command line;
errors.py names who can mend what; fleet/ starts real servers for the demo and the tests.
"""

__version__ = "0.1.0"
