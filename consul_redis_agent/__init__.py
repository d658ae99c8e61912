"""Keeps Consul's DNS naming the one true Redis master.

Facts flow one way, and so do the folders:

    watch/      what is seen outside: the Redis node, the Sentinels, the Consul catalog                I/O
      ↓ facts
    decide/     decide(facts, memory, policy) → (decision, memory): the rules, as a table              pure
      ↓ decision
    publish/    entries: the decision as what Consul should hold; steps: the next single step to it    pure
      ↓ step    writer: takes it, beats the TTL, tries again                                           I/O
    consul/     speaks to Consul; form.py alone knows how an entry is written and read

Around them: node.py is the loop of one Redis node, agent.py the process; config/ reads and checks the configuration; tell/
tells people and machines; state.py keeps what a restart needs; beside.py and names.py do what could hang; cli.py and
commands/ are the command line; errors.py names who can mend what.
"""

__version__ = "0.1.0"
