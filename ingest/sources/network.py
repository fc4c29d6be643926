"""Which servers may be asked: all of them, or only those with a public address.

A load may come from somebody who must not reach what this machine reaches: the metadata service of a cloud, a database
without a password. A name says nothing about that, and may mean another address a moment later. So the address is
checked when the socket is made that connects to it, for each redirect anew.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ingest import settings

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # the last 32 bits are an IPv4 address

_is_asked_for = ContextVar("is_asked_for", default=False)


@contextmanager
def only_public(is_wanted: bool) -> Iterator[None]:
    """Ask no server with another than a public address within the block, if that is wanted."""
    token = _is_asked_for.set(_is_asked_for.get() or is_wanted)
    try:
        yield
    finally:
        _is_asked_for.reset(token)


def is_limited() -> bool:
    """Return whether only servers with a public address may be asked: by a setting of this host, or by a request."""
    return _is_asked_for.get() or settings.no_private_addresses()


def is_public(text: str) -> bool:
    """Return whether an IP address is reached over the internet.

    Loopback, private, link-local, shared (CGNAT), reserved, documentation and multicast addresses are not, nor is an
    IPv6 address that leads to one of them.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def opener(refused: list[str]) -> Callable[[int, Any], socket.socket | None]:
    """Return a function that makes the sockets of libcurl, for public addresses only; others are noted as refused."""

    def make(_purpose: int, address: Any) -> socket.socket | None:
        family, kind, protocol, where = address
        if family not in (socket.AF_INET, socket.AF_INET6) or not is_public(where[0]):
            refused.append(str(where[0]))
            return None
        return socket.socket(family, kind, protocol)

    return make
