"""No network but this machine's own: conftest.py puts this on the path of tests and kernels.

Python imports a module of this name when it starts. So whatever a test or a notebook fetched from
elsewhere would fail, and that all of them pass shows that the course works offline. Names of other
machines are not looked up either: a question to a name server is network, too.
"""

import errno
import socket

MESSAGE = "the tests run without a network: {} cannot be reached"
HERE = {"localhost", "::1", "0.0.0.0", "", socket.gethostname()}


def refuse_if_away(host) -> None:
    """Raise where a host, by name or number, is another machine."""
    host = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if host is not None and host not in HERE and not host.startswith("127."):
        raise OSError(errno.ENETUNREACH, MESSAGE.format(host))


def guarded_method(method):
    """A method of a socket whose last argument is the address."""

    def only_here(self, *arguments):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse_if_away(arguments[-1][0])
        return method(self, *arguments)

    return only_here


def guarded_lookup(lookup):
    """A function that looks up the numbers of a host, its first argument."""

    def only_here(host, *arguments, **keywords):
        refuse_if_away(host)
        return lookup(host, *arguments, **keywords)

    return only_here


if "only_here" not in socket.getaddrinfo.__qualname__:
    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, guarded_method(getattr(socket.socket, name)))
    for name in ("getaddrinfo", "gethostbyname"):
        setattr(socket, name, guarded_lookup(getattr(socket, name)))
