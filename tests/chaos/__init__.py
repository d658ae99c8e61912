"""Faults done to a fleet of real servers, and the judgement over everything that DNS said meanwhile.

``faults.py`` describes the faults as data; ``arena.py`` is the fleet they are done to; ``authority.py`` says who had
the right to be named at each moment; ``application.py`` has writers write meanwhile and finds what they have lost;
``judge.py`` holds all of that against the witness' history; ``figures.py`` reports.

One judge for all faults:

- S1 DNS never names two masters;
- S2 DNS never names a node that lost its authority longer ago than the fault allows (``SURE``; the goal ``D`` is counted);
- L  once the servers are well again, exactly the right node is named within ``R``, and stays;
- H  nothing happens that should not: nobody fails over, DNS does not go empty, no node is named again whose authority
     is older;
- A  who asks DNS for each write loses, of what Redis acknowledged, only what was written near a move of authority, or to
     a node whose authority did not last. What other clients lose is counted.
"""
