"""Every event of the log, by its stable name: what it means, and its fields in JSON. Other programs may rely on them.

A line of JSON has ``event`` and the fields beside ``message``, the sentence for people, which may change with any version. Times
and spans are in seconds, addresses are ``host:port``, ``reason`` is the short name of a row in docs/table.md. A line without
``event`` tells of nothing that anybody has to count. OpenTelemetry has no part in this: its collectors read these lines as they
are (the filelog receiver, with its JSON parser), and an exporter of our own would be one more thing that can hang.
"""

from __future__ import annotations

from typing import NamedTuple


class Event(NamedTuple):
    """What one name means, and the fields that its lines have."""

    doc: str
    fields: tuple[str, ...] = ()


EVENTS = {
    # The process
    "started": Event("The agent has started.", ("version",)),
    "stopping": Event("The agent was told to stop.", ("on_stop",)),
    "reloaded": Event("The configuration was read again, and holds from now on."),
    "reload_refused": Event("The configuration is wrong, and stays as it was; an event for each mistake.", ("error",)),
    "process_stopped": Event("The process did not run for a while (SIGSTOP, a suspended machine), and looks again first.", ("node",)),
    "not_listening": Event("The pages, or `status`, cannot be reached.", ("error",)),
    "page_failed": Event("A page could not be made: a defect of this program.", ("path",)),
    "lines_lost": Event("Lines of the log are lost, since whoever reads it was too slow.", ("count",)),
    "crashed": Event("A defect of this program has ended it.", ("error",)),
    "defect": Event("A defect of this program, or something that its host lacks, has ended one piece of work; the rest goes on.", ("about", "error")),
    # One Redis node
    "decided": Event("What the node is published as, or why, has changed. from and to: master, replica, none, pending.", ("node", "from", "to", "reason", "epoch")),
    "published": Event("Consul holds what was decided: entries that pass. evicted: whose claims were set critical.", ("node", "entries", "evicted", "seconds")),
    "withdrawn": Event("Consul holds what was decided: no entry that passes.", ("node", "entries", "evicted", "seconds")),
    "complaint": Event("Something is wrong with somebody else. about: Redis, Sentinel 10.0.0.5:26379, Consul, claims, data …", ("node", "about", "error")),
    "recovered": Event("That is over.", ("node", "about")),
    "stray_writes": Event("A node without authority was given keys to write.", ("node", "count", "seconds")),
    "master_name_found": Event("The Sentinels' name of the group was discovered.", ("node", "master_name")),
    "stopped_unwritten": Event("The agent stopped without a last word to Consul.", ("node", "error")),
    "entries_left": Event("Old entries may stay in Consul until their TTL ends.", ("node", "error")),
    "left_to_ttl": Event("At the end not every node was done in time; their entries are left to their TTL.", ("count",)),
    # The fence
    "fence_done": Event("An order was carried out. order: follow, pause, hold, fail_over.", ("node", "order", "to")),
    "fence_failed": Event("An order was not carried out.", ("node", "order", "to", "error")),
    "no_write_pause": Event("Redis before 6.2 cannot let writes alone wait.", ("node",)),
    # Consul
    "consul_rejects": Event("Consul does not take the entries; it is tried again.", ("node", "error")),
    "consul_accepts": Event("Consul takes the entries again.", ("node",)),
    "consul_not_found": Event("The Consul agent's name leads nowhere; nothing is published.", ("error",)),
    "token_refused": Event("Consul's servers do not know the token.", ("error",)),
    "token_accepted": Event("They know it again."),
    "token_file_unreadable": Event("The file with the token cannot be read; the token read before stays in use.", ("error",)),
    "certificates_unreadable": Event("Certificates cannot be read; those read before stay in use.", ("error",)),
    # Sentinels
    "sentinel_deaf": Event("A Sentinel refuses to tell of its events, so failovers are seen late.", ("sentinel", "error")),
    "sentinel_lists_too_many": Event("A Sentinel lists more members than can exist.", ("sentinel", "count")),
    "sentinel_password_at_risk": Event("Whoever says hello as a Sentinel gets the Sentinels' password."),
    "in_clear": Event("A password, a token or the group's data crosses a network without TLS.", ("what",)),
    # What is kept
    "state_not_kept": Event("What a restart needs cannot be written.", ("error",)),
    "history_not_kept": Event("The history cannot be written, and is kept in memory only.", ("error",)),
    "history_unreadable": Event("The history that was kept cannot be read, and begins anew.", ("error",)),
}  # fmt: skip
