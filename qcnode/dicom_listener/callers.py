"""Who calls, and whom a listener knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Generic, TypeVar

from qcnode.config import Caller

CallerType = TypeVar("CallerType", bound=Caller)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks for an association. AE titles are a stranger's text: printable, not trusted."""

    address: IPv4Address | IPv6Address
    calling_ae_title: str
    called_ae_title: str
    certificate_names: frozenset[str] = frozenset()


class Callers(Generic[CallerType]):
    """The peers that a listener knows, by AE title and, where configured, by address or network and by the name in their certificate."""

    def __init__(self, callers: Iterable[CallerType]) -> None:
        self._callers = [(caller, None if caller.address is None else ip_network(caller.address)) for caller in callers]

    def __len__(self) -> int:
        return len(self._callers)

    def of(self, peer: Peer) -> CallerType | None:
        """The caller that this peer is; None where nobody is configured so."""
        for caller, network in self._callers:
            if caller.ae_title != peer.calling_ae_title or (network is not None and peer.address not in network):
                continue
            if caller.certificate_name is None or caller.certificate_name in peer.certificate_names:
                return caller
        return None


def address_of(host: str) -> IPv4Address | IPv6Address:
    """The address that a socket names: without a scope, and IPv4 where it is that in IPv6's clothes."""
    address = ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address
