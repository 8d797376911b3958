"""Protection from pages of other sites: cross-site requests and DNS rebinding.

Pages of any site can make a browser send requests, also to a service that listens on loopback. The
browser's `Sec-Fetch-Site` and `Origin` headers name the origin of the page (Fetch Metadata Request
Headers, W3C; RFC 6454). After DNS rebinding, the `Host` header names the other site. Clients that are no
browsers send neither header and are not affected.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import istr

from actors.errors import ForeignHost, ForeignPage
from actors.http.auth.clients import parse_address

SITE: Final = istr("Sec-Fetch-Site")
MODE: Final = istr("Sec-Fetch-Mode")
DEST: Final = istr("Sec-Fetch-Dest")
OWN_SITE: Final = frozenset({"same-origin", "none"})  # none: the user typed the address
SAFE: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})  # RFC 9110, 9.2.1
LOCALHOST: Final = "localhost"
_PAGE: Final = "this did not come from the service's own page"
_HOST: Final = (
    "the Host header names no loopback address; a name of this service belongs into http.allowed_hosts, "
    "a proxy in front of it into http.trusted_proxies"
)


class CrossSitePolicy:
    """Decides which requests of browsers are admitted.

    Requests that change something must come from the service's own page. If only this machine reaches
    the service, that holds for all requests except navigation by a link, and `Host` must be a loopback
    name or an allowed one.
    """

    def __init__(self, allowed_hosts: Iterable[str] = (), *, is_local: bool = False) -> None:
        """Make a policy.

        Args:
            allowed_hosts: names in lower case, without ports. If there are any, other names are refused
                also if `is_local` is false; loopback names never are.
            is_local: the service listens on a loopback address, and no proxy is in front of it.
        """
        self._allowed = frozenset(allowed_hosts)
        self.is_local = is_local
        # Clients repeat their Host header.
        self.allows_host = functools.lru_cache(256)(self._allows_host)

    def check(self, request: web.Request) -> None:
        """Check a request.

        Raises:
            ForeignHost: it was sent to a name that is not the service's.
            ForeignPage: a page of another site sent it.
        """
        self.check_hosts(request.headers.getall(hdrs.HOST, ()))
        is_safe = request.method in SAFE
        if is_safe and not self.is_local:
            return
        if (site := request.headers.getall(SITE, None)) is not None:
            if not OWN_SITE.issuperset(site) and not (is_safe and _is_visit(request)):
                raise ForeignPage(_PAGE)
        elif not is_own_origin(request):
            raise ForeignPage(_PAGE)

    def check_hosts(self, hosts: Iterable[str]) -> None:
        """Check the `Host` headers of a request; raises ForeignHost."""
        for host in hosts:
            if not self.allows_host(host):
                raise ForeignHost(_HOST)

    def _allows_host(self, host: str) -> bool:
        """Return whether requests may be sent to this `Host`; browsers never send an empty one."""
        if not host or not (self.is_local or self._allowed):
            return True
        name = _name_of(host)
        # DNS rebinding needs a name. Probes and scrapers use the address.
        is_reached_by_address = not self.is_local and parse_address(name) is not None
        return name in self._allowed or _is_loopback(name) or is_reached_by_address


def is_own_origin(request: web.Request) -> bool:
    """Return whether the page that sent a request was served under the request's `Host`."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == request.headers.get(hdrs.HOST, "").lower()
    except ValueError:  # not a URL
        return False


def _is_visit(request: web.Request) -> bool:
    """Return whether the browser shows the response as a page, and not inside another page."""
    return request.headers.get(MODE) == "navigate" and request.headers.get(DEST) == "document"


@functools.lru_cache(1024)
def _name_of(host: str) -> str:
    """Return the name in a `Host` header, without port, brackets and final dot; "" for none."""
    if host.startswith("["):
        name, closed, port = host[1:].partition("]")
        port = port.removeprefix(":") if closed else "no port"
    else:
        name, _, port = host.partition(":")
    if port and not (port.isascii() and port.isdecimal()):
        return ""
    return name.lower().removesuffix(".")


@functools.lru_cache(1024)
def _is_loopback(name: str) -> bool:
    if name == LOCALHOST or name.endswith(f".{LOCALHOST}"):  # RFC 6761, 6.3: always loopback
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
