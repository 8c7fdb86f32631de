"""Types of settings that several parts have."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Port = Annotated[int, Meta(ge=1, le=65535, description="a port number from 1 to 65535")]
Seconds = Annotated[float, Meta(gt=0, le=3600, description="a number of seconds, more than 0 and at most 3600")]
#: A name, in labels of at most 63 characters, or an address.
_HOST = r"(\[[0-9A-Fa-f:.]+(%\w+)?\]|[^\s/:@?#\[\].]{1,63}(\.[^\s/:@?#\[\].]{1,63})*\.?)"
Host = Annotated[
    str,
    Meta(
        pattern=rf"^(?!.{{254}})({_HOST}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+(%\w+)?)$",
        description="the name or the address of a host, without a port",
    ),
]
Url = Annotated[
    str,
    Meta(
        pattern=rf"^[Hh][Tt][Tt][Pp][Ss]?://{_HOST}(:[0-9]{{1,5}})?([/?]\S*)?$",
        description="an http:// or https:// URL, without a password",
    ),
]
#: What this unit is called elsewhere; empty is the name of the host.
Unit = Annotated[str, Meta(pattern="^[a-z0-9_-]{0,64}$", description="up to 64 of a-z, 0-9, _ and -")]

#: An address, or a network; whether it is one that can be is seen where it is used.
Network = Annotated[
    str,
    Meta(pattern=r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$", description="an address or a network such as 192.168.1.0/24"),
]
