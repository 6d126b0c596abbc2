"""No network but this machine's own: conftest.py puts this on the path of tests and kernels.

Python imports a module of this name when it starts. So whatever a test or a notebook fetched from
elsewhere would fail, and that all of them pass shows that the course works offline.
"""

import errno
import socket

MESSAGE = "the tests run without a network: {} cannot be reached"


def is_local(family: int, address) -> bool:
    """Whether an address is on this machine."""
    if family not in (socket.AF_INET, socket.AF_INET6):
        return True
    host = address[0]
    return host in ("localhost", "::1", "0.0.0.0", "") or host.startswith("127.")


def guarded(connect):
    """The method `connect` of a socket, for addresses on this machine only."""

    def only_here(self, address):
        if not is_local(self.family, address):
            raise OSError(errno.ENETUNREACH, MESSAGE.format(address[0]))
        return connect(self, address)

    return only_here


if "only_here" not in socket.socket.connect.__qualname__:
    socket.socket.connect = guarded(socket.socket.connect)
    socket.socket.connect_ex = guarded(socket.socket.connect_ex)
