"""What went wrong with TLS, in plain words: what it means, and which key mends it. Pure."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from consul_redis_agent.config import TlsConfig
from consul_redis_agent.text import plain

Table = Literal["consul", "redis", "sentinel"]
"""The table of the configuration, which messages name."""
WEAK = "its key or its signature is too weak for this host's OpenSSL"


class HandshakeFailed(OSError):
    """A TCP connection was made, and TLS on it was not; the cause says why."""


class ClearText(OSError):
    """The other side answers clear text."""


TOLD: Final = "TLS: "
"""How each such sentence begins: it says what to do by itself."""

WRONG_NAME: Final = {62, 63, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, _EMAIL_MISMATCH, _IP_ADDRESS_MISMATCH
EXPIRED, NOT_YET = 10, 9
UNKNOWN_CA: Final = {2, 7, 18, 19, 20, 21, 24, 27, 28}
"""No issuer found, self-signed, a signature of another key under the same name, no authority, not trusted."""
TOO_WEAK: Final = {66, 67, 68}  # key of the certificate, key of an authority, digest
PURPOSE = 26

CLEAR_HERE: Final = {"consul": "http://", "redis": "redis://", "sentinel": "sentinel.tls = false"}
TLS_HERE: Final = {
    "consul": "https:// in consul.url",
    "redis": "rediss:// in redis.url",
    "sentinel": "sentinel.tls = true",
}
PLACE: Final = {"consul": "consul.url", "redis": "redis.url", "sentinel": "sentinel.hosts"}

NOT_TLS: Final = {
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST",
    "UNKNOWN_PROTOCOL",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
}
TOO_OLD: Final = {
    "UNSUPPORTED_PROTOCOL",
    "NO_PROTOCOLS_AVAILABLE",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "TLSV1_ALERT_INSUFFICIENT_SECURITY",
    "VERSION_TOO_LOW",
}
OWN_REFUSED: Final = {
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the authority that signed",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not take",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it does not take, for its kind or its purpose (is clientAuth allowed?),",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it holds for revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not take",
    "TLSV1_ALERT_ACCESS_DENIED": "it gives no access with",
    "TLSV1_ALERT_DECRYPT_ERROR": "it cannot verify",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that the time of validity is over for",
}
"""What the other side says of our certificate."""
ENDED: Final = (ConnectionResetError, BrokenPipeError, EOFError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
HANDSHAKE_REFUSED: Final = {"SSLV3_ALERT_HANDSHAKE_FAILURE", "NO_SHARED_CIPHER", "NO_CIPHERS_AVAILABLE"}


def explain(
    error: BaseException,
    config: TlsConfig,
    table: Table,
    asked: str,
    names: Sequence[str] = (),
    *,
    answered: bool = False,
) -> str:
    """One line of what it means and what to do; empty where the error is not of TLS.

    ``asked`` is the name that the certificate was to have, ``names`` those that it has, as far as they are known.
    """
    chain = [*behind(error)]
    for one in chain:
        if isinstance(one, HandshakeFailed) and one.args:
            return str(one)
        if isinstance(one, ClearText):
            return TOLD + _not_tls(table)
        if isinstance(one, ssl.SSLCertVerificationError):
            return TOLD + _refused(one, config, table, asked, names)
        if isinstance(one, ssl.SSLError) and not isinstance(one, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return TOLD + _alert(one, config, table)
        if isinstance(one, ConnectionAbortedError):
            return f"{TOLD}no answer to the handshake in time"
    if answered or not has_ended(error):
        return ""
    hint = "" if config.cert_file else f"; if it asks for a client certificate, set {_own_keys(table)}"
    return f"{TOLD}it closed the connection right behind the handshake, or within it, and did not say why{hint}"


def _refused(
    error: ssl.SSLCertVerificationError, config: TlsConfig, table: Table, asked: str, names: Sequence[str]
) -> str:
    """What is wrong with the server's certificate."""
    code = error.verify_code
    if code in WRONG_NAME:
        has = f"is for {', '.join(names)}" if names else "is for other names"
        mend = f"set {table}.server_name to a name that it has, or have one made that names {asked}"
        return f"its certificate {has}, and not for {asked}: {mend}"
    if code == EXPIRED:
        return "its certificate, or that of an authority above it, has expired: renew it there; or this host's clock is wrong"
    if code == NOT_YET:
        return "its certificate is not valid yet: set the clock of this host, or of the one that made the certificate"
    if code in UNKNOWN_CA:
        where = authorities(config, table)
        return (
            f"its certificate is signed by none of {where}: put the authority that signed it into {table}.ca_file, "
            "or have the server show the certificates between"
        )
    if code == PURPOSE:
        return "its certificate is not made for servers (extended key usage without serverAuth): have one made that is"
    if code in TOO_WEAK:
        return f"its certificate is refused: {WEAK}; have a stronger one made"
    return f"its certificate is refused: {plain(error.verify_message)}"


def authorities(config: TlsConfig, table: Table) -> str:
    """Whose signature counts."""
    paths = [f"{key} {path}" for key, path in (("ca_file", config.ca_file), ("ca_path", config.ca_path)) if path]
    if paths:
        return f"the authorities in {' and '.join(f'{table}.{path}' for path in paths)}"
    return f"the authorities of this host's system ({table}.ca_file is not set)"


def _alert(error: ssl.SSLError, config: TlsConfig, table: Table) -> str:
    """What the other side refuses, or sends that is no TLS."""
    reason = error.reason or ""
    own = f"the client certificate {table}.cert_file {config.cert_file}"
    needs = f"set {_own_keys(table)}"
    if reason in NOT_TLS:
        return _not_tls(table)
    if reason in TOO_OLD:
        return "it speaks no TLS of version 1.2 or later: update it, or correct its list of protocols"
    if reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED" or (reason in OWN_REFUSED and not config.cert_file):
        got = f", and did not take {own}" if config.cert_file else f": {needs}"
        return f"it asks for a client certificate{got}"
    if reason in OWN_REFUSED:
        mend = "have it renewed" if "EXPIRED" in reason else "have one made by an authority that the server is told of"
        return f"{OWN_REFUSED[reason]} {own}: {mend}"
    if reason in HANDSHAKE_REFUSED:
        if config.cert_file:
            return "it refuses the handshake: it has no cipher, or no kind of key, in common with this host's OpenSSL"
        return f"it refuses the handshake: if it asks for a client certificate, {needs}"
    if reason == "TLSV1_UNRECOGNIZED_NAME":
        return f"it has no certificate for the name that it is asked for: set {table}.server_name"
    return f"the handshake failed: {plain(reason or str(error)).lower().replace('_', ' ')}"


def _not_tls(table: Table) -> str:
    return f"it speaks clear text there, and no TLS: name its TLS port in {PLACE[table]}, or set {CLEAR_HERE[table]}"


def in_vain(table: Table) -> str:
    """For a server that closes a connection in clear text before its first answer."""
    return (
        f"{TOLD}it closed a connection in clear text before any answer; if that port speaks TLS, set {TLS_HERE[table]}"
    )


def _own_keys(table: Table) -> str:
    return f"{table}.cert_file and {table}.key_file"


def has_ended(error: BaseException) -> bool:
    """Whether it says that the other side has ended a connection that there was."""
    return any(isinstance(one, ENDED) for one in behind(error))


def behind(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
