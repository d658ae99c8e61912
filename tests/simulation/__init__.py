"""A simulated world, driven by one seed, around the real rules, entries, plans, registry and publisher.

What it takes for granted, and from where. Whatever is not listed may happen at any moment: processes stop, pause and
return with what they had on disk, hosts are cut off in part or whole, messages are late, answers are lost after the
question has taken effect, events are lost.

Redis and Sentinel (``redis.py``)

 1. Sentinel reconfigures a node in one MULTI with REWRITE and CLIENT KILL: the new role is on disk, and connections
    close with it (sentinel.c, ``sentinelSendSlaveOf``). REPLICAOF by hand and FAILOVER close nothing and are not on disk.
 2. A node that starts has a new run id and the role that is on its disk.
 3. A Sentinel votes once an epoch (``sentinelVoteLeader``), and a leader has a majority of all Sentinels
    (``sentinelGetLeader``); ``SENTINEL FAILOVER`` takes the next epoch without asking (``SRI_FORCE_FAILOVER``).
 4. Epochs, votes, and the master's address survive a Sentinel's restart (``sentinelFlushConfig``); a failover does not,
    but a node that was seen promoted is on disk as the master (``rewriteConfigSentinelOption``). In TILT a Sentinel
    hears, tells and votes, but acts on nothing (``sentinelHandleRedisInstance``).
 5. The leader takes the new configuration when it sees the promoted node say master; the others when a hello carries
    a newer configuration epoch (``sentinelProcessHelloMessage``), which ends a failover of their own.
 6. A node that says master and is not the named one is made a replica after 8 s, by a Sentinel whose master looks
    sane (``sentinelMasterLooksSane``). A named master that says replica is taken for down after 21 s.
 7. A look at a Sentinel shows one moment; its events come in order, or their connection is lost and begun anew.
 8. Hellos travel directly between Sentinels, and over every Redis node that both reach.

Consul (``consul.py``)

 9. The servers hold one linear history; a transaction is one step in it, and refuses as a whole; ``cas`` compares the
    check's ModifyIndex, and with 0 creates it. What changes nothing does not move the index.
10. DNS shows what the servers hold: passing checks on nodes that gossip holds for alive. (Stale reads are not modelled.)
11. A local agent writes service and check over the catalog's whenever its own record changes, and at any moment when
    it compares (anti-entropy); it drops from the catalog what it does not hold. It writes in order.
12. Registering an id again keeps the status of its check. A TTL that runs out sets the check critical. Services,
    checks and TTL deadlines are on disk; a state whose TTL has run out meanwhile starts critical.
13. A client that gave up does not take its request back: what a paused agent has in its socket, it does when resumed.
14. Gossip finds a dead Consul node within 3 to 10 s, and a returned one within half a second.

The agent (``agent.py``)

15. Its shell (when to look, when to decide) is modelled; ``rules.decide``, ``entries.wanted``, ``plan``, ``Registry``,
    ``Publisher``, ``Failovers`` and ``known_sentinels`` are the real ones, stepped from one await to the next.
16. Its clock is monotonic and goes on while it is stopped. All clocks run at the same rate.
17. After a stop of more than 1.5 s it looks at everything anew before it decides.
"""
