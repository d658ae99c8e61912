"""A certificate authority of the tests, and what it signs: each in files, as servers and the agent read them."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trustme

DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key, and the authorities of those whom it speaks with."""

    cert: Path
    key: Path
    ca: Path

    def context(self) -> ssl.SSLContext:
        """What a client shows, and whom it trusts; names are checked."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.cert, self.key)
        return context

    def replace(self, other: Pair) -> None:
        """Take the place of this one: each file at once, the certificate first."""
        for mine, theirs in ((self.cert, other.cert), (self.key, other.key)):
            beside = mine.with_suffix(".new")
            beside.write_bytes(theirs.read_bytes())
            beside.replace(mine)


class Certificates:
    """One authority. ``folder`` gets its certificate and all that it issues."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._authority = trustme.CA()
        self._folder, self._name = folder, name
        self._made: dict[str, Pair] = {}
        self.ca = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(self.ca)

    def server(self, address: str) -> Pair:
        """For the servers of a host, which are clients of each other, too: its address and the names of loopback."""
        return self._once(address, lambda: self.issue(f"server-{address}", "localhost", *{"127.0.0.1", "::1", address}))

    @property
    def client(self) -> Pair:
        """For an agent, the witness and whoever asks."""
        return self._once("client", lambda: self.issue("client", "client.test"))

    def issue(self, name: str, *names: str, begins: dt.timedelta = -DAY, ends: dt.timedelta = 30 * DAY) -> Pair:
        """A certificate for these names, valid from and until so long from now; its files are called ``name``."""
        now = dt.datetime.now(dt.UTC)
        made = self._authority.issue_cert(*names, not_before=now + begins, not_after=now + ends)
        cert, key = self._folder / f"{self._name}-{name}.crt", self._folder / f"{self._name}-{name}.key"
        cert.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
        made.private_key_pem.write_to_path(key)
        return Pair(cert, key, self.ca)

    def _once(self, what: str, make: Callable[[], Pair]) -> Pair:
        if what not in self._made:
            self._made[what] = make()
        return self._made[what]
