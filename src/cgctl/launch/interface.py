"""An interface of a program's own, as a frozen spec."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import attrs

from cgctl.errors import SpecError, shown

__all__ = ["Veth"]

_LONGEST_INTERFACE: Final = 15  # IFNAMSIZ - 1
_INTERFACE: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{_LONGEST_INTERFACE}}}", re.ASCII)


@attrs.frozen(kw_only=True)
class Veth:
    """A network of two: an interface of the program's own, whose other end is in the caller's network.

    Attributes:
        address: the program's, with the length of the network's prefix: ``"10.0.0.2/24"``.
        gateway: the address of the caller's end, and of the program's default route; of the bridge, where there is one.
        name: of the interface inside.
        bridge: an interface of the caller's network that the caller's end becomes a port of.
        host_name: of the caller's end; by default one with the program's process id.
    """

    address: str
    gateway: str | None = None
    name: str = "eth0"
    bridge: str | None = None
    host_name: str | None = None

    def __attrs_post_init__(self) -> None:
        for what, name in (("name", self.name), ("bridge", self.bridge), ("host_name", self.host_name)):
            if name is not None and (_INTERFACE.fullmatch(name) is None or name in {".", ".."}):
                msg = f"{what}={shown(name)}: not the name of an interface, 1 to {_LONGEST_INTERFACE} characters"
                raise SpecError(msg)
        try:
            network = ipaddress.ip_interface(self.address).network
        except ValueError:
            msg = f"address={shown(self.address)}: not an address with a prefix, such as '10.0.0.2/24'"
            raise SpecError(msg) from None
        if "/" not in self.address:
            msg = f"address={shown(self.address)}: without the length of a prefix; give such as '10.0.0.2/24'"
            raise SpecError(msg)
        try:
            outside = self.gateway is not None and ipaddress.ip_address(self.gateway) not in network
        except ValueError:
            msg = f"gateway={shown(self.gateway)}: not an address"
            raise SpecError(msg) from None
        if outside or self.gateway == self.ip:
            msg = f"gateway={shown(self.gateway)}: it is another address of the network {network}"
            raise SpecError(msg)

    @property
    def ip(self) -> str:
        """The program's address alone."""
        return self.address.partition("/")[0]

    @property
    def prefix(self) -> int:
        """The length of the network's prefix."""
        return int(self.address.partition("/")[2])
