"""A simulated world, driven by one seed, around the real agent: all of it, from its configuration to what it asks of Consul.

Doubles stand only where the program leaves the process: at a connection to Redis or Sentinel (``link.py``), at a request to
Consul (``api.py``), and at the event loop, whose time is the simulation's (``loop.py``).

What it takes for granted, and from where: the test on real servers that shows it, or the function of the program
that says so. Whatever is not listed may happen at any moment: processes stop, pause and return with what they had on
disk, hosts are cut off in part or whole, messages are late, answers are lost after the question has taken effect,
events are lost.

Redis and Sentinel (``redis.py``)

 1. Sentinel reconfigures a node in one MULTI with REWRITE and CLIENT KILL: the new role is on disk, and connections
    close with it (sentinel.c, ``sentinelSendSlaveOf``). REPLICAOF by hand and FAILOVER close nothing and are not on disk
    (``test_the_failover_command_hands_over_and_back``). Valkey's coordinated failover is a FAILOVER to the selected replica;
    once Sentinel sees the promotion, it closes the connections of both
    (``test_coordinated_failovers_in_a_row_are_one_step_each``).
 2. A node that starts has a new run id and the role that is on its disk
    (``test_a_killed_master_fails_over_and_returns_as_a_replica``).
 3. A Sentinel votes once an epoch (``sentinelVoteLeader``), and a leader has a majority of all Sentinels
    (``sentinelGetLeader``); ``SENTINEL FAILOVER`` takes the next epoch without asking (``SRI_FORCE_FAILOVER``), so no
    operator gives it here while another failover is near: two of them could share an epoch. Our agents ask when they like.
 4. Epochs, votes, and the master's address survive a Sentinel's restart (``sentinelFlushConfig``); a failover does not,
    but a node that was seen promoted is on disk as the master (``rewriteConfigSentinelOption``). In TILT a Sentinel
    hears, tells and votes, but acts on nothing (``sentinelHandleRedisInstance``).
 5. The leader takes the new configuration when it sees the promoted node say master; the others when a hello carries
    a newer configuration epoch (``sentinelProcessHelloMessage``), which ends a failover of their own.
 6. A node that says master and is not the named one is made a replica after 8 s in reach, by a Sentinel whose master
    looks sane (``sentinelRefreshInstanceInfo``, ``sentinelMasterLooksSane``; ``test_a_killed_master_and_its_return``). A
    named master that says replica is taken for down after 21 s (``sentinelCheckSubjectivelyDown``).
 7. A look at a Sentinel shows one moment; its events come in order, or their connection is lost and begun anew.
 8. Hellos travel directly between Sentinels, and over every Redis node that both reach (``sentinelSendHello``). After a RESET
    a Sentinel knows the master alone, until it hears the others and the master lists its replicas. A Sentinel with a new id
    at an old address is one more: the old one stays listed, at port 0, and has a part in the majority
    (``sentinelProcessHelloMessage``).

Consul (``consul.py``)

 9. The servers hold one linear history; a transaction is one step in it, and refuses as a whole
    (``test_a_transaction_moves_the_master_in_one_step``); ``cas`` compares the check's ModifyIndex, and with 0 creates it
    (``test_whoever_is_slower_changes_nothing``). What changes nothing does not move the index.
10. DNS shows what the servers hold (``test_a_check_update_reaches_the_catalog``): services whose checks all pass, on
    nodes that gossip holds for alive. Stale reads are not modelled, nor Consul agents without transactions. What a check
    shows and a transaction does not take is as in a current Consul, for every seed.
11. A local agent writes a service with the check concerned over the catalog's whenever its own record changes, and
    compares all at any moment (``test_an_entry_that_was_changed_behind_our_back``), where checks that differ are written one
    by one in any order; it drops from the catalog what it does not hold (``test_consul_restarts_without_its_data``).
12. Registering an id again keeps the status of its checks (``test_registering_again_leaves_the_status``) and begins their
    TTL anew. A TTL that runs
    out sets its check critical (``test_what_an_agent_left_behind_ends_with_its_ttl``). The state of a check that was ever
    updated is on disk until its TTL is over; any other starts critical (``test_consul_restarts_with_its_data``).
13. A client that gave up does not take its request back: what a paused Consul agent has in its socket, it does when it is
    resumed (``test_a_consul_that_hung_hears_the_state_of_now``).
14. In half of the seeds a blocking query is answered by the local agent from its own view, also while it is cut off, when
    that view stands still; a read without an index goes to the servers, and hangs or is refused when they are out of
    reach (agent/rpcclient/health, ``useStreaming``).
15. Gossip finds a dead Consul node within 3 to 10 s, and a returned one within half a second
    (``test_a_lost_host_fails_over_and_comes_back``).

The agent (``agent.py``, ``loop.py``, ``link.py``, ``api.py``)

16. Each process runs ``agent.Agent`` in an event loop of its own. What it computes takes no time, and a timer comes up to a
    moment late; what reaches it while it is stopped is found when it goes on, before the timers that are due meanwhile, as
    asyncio's selector loop has it. What it keeps on disk is there after a kill, or lost with the disk.
17. Its clock is monotonic and goes on while it is stopped. All clocks run at the same rate. A host that was lost comes back
    under another boot id, and with a clock that goes on.
18. A connection whose other end dies is closed at once; one whose other end is cut off or lost looks open, until a deadline
    of ours or the kernel's (7 s). What was sent arrives in order. Redis, Sentinel and Consul take what they find in their
    sockets when they go on after a stop. DNS, TLS, logins and the wire format are not modelled, nor are the pages for
    people and programs.

Writes, and the fence (``data.py``, ``application.py``, ``redis.py``; judged by ``authority.py``, and ``acts.py`` in the end)

19. A write is acknowledged at once, and is at the replicas some milliseconds later. A replica whose writes begin its master's
    goes on from there (PSYNC); any other copies everything, which takes 0.3 s at least, and holds what it had till then.
20. A replica tries to reach its master once a second. Where nothing is kept on disk, a node that starts holds nothing.
21. A selection leads to the promotion 50 to 100 ms later: a Sentinel takes one step of a failover in each turn of its timer
    (``sentinelFailoverStateMachine``).
22. The application reaches everybody. It keeps its connection until that is closed, its node says that it is a replica, or
    nothing has come for a second; then DNS gives it the next one.
23. CLIENT PAUSE WRITE holds writers, and each Sentinel whose next hello is due: what that sends then waits behind it. ALL holds
    everybody. A transaction is one step (``publish/fence.py``). Down-after is 5 s where agents may ask for failovers, else 1 s.
"""
