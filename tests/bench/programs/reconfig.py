"""A Sentinel's ``client-reconfig-script``: enters the new master into Consul's catalog.

``reconfig.py SERVICE CONSUL_PORT`` and then what Sentinel gives: ``MASTER_NAME ROLE STATE FROM_IP FROM_PORT TO_IP TO_PORT``
"""

from __future__ import annotations

import http.client
import json
import sys


def main(service: str, consul: str, name: str, role: str, state: str, *addresses: str) -> None:
    """Replace the one entry of the service, at a node that stands for no machine, so that every Sentinel may do it."""
    _, _, host, port = addresses
    entry = {"ID": service, "Service": service, "Address": host, "Port": int(port)}
    body = {"Node": f"{service}-master", "Address": host, "Service": entry}
    connection = http.client.HTTPConnection("127.0.0.1", int(consul), timeout=2)
    connection.request("PUT", "/v1/catalog/register", json.dumps(body))
    if connection.getresponse().status != 200:
        sys.exit(1)  # Sentinel tries again


if __name__ == "__main__":
    main(*sys.argv[1:])
