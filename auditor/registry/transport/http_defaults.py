"""Headers, timeouts and limits of both HTTP clients (`http1`, `aiohttp_client`).

They are in a file of their own because the clients do not import each other.
"""

from __future__ import annotations

from auditor.fast_dataclass import dataclass
from auditor.version import __version__

USER_AGENT = f"auditor/{__version__}"
# Fields of every request. Compression would cost more CPU than it saves for small
# documents, and hides the size of the body until it is decoded.
HEADERS = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
# The cap of an error response, of which only a sentence or two are reported.
MAX_ERROR_BYTES = 64 * 1024
# How long an idle connection is kept: below the 60 s after which common proxies close
# theirs, so that requests are rarely written into a connection that is being closed.
KEEPALIVE_S = 30.0
# How long the addresses of a host are cached.
DNS_CACHE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Timeouts of one request, in seconds.

    `connect_s`: name resolution, TCP and TLS. `read_s`: each pause between bytes of
    the response. `request_s`: the whole request. None of them includes a wait for
    resources of this machine, such as the turn of a look-up.
    """

    connect_s: float
    read_s: float
    request_s: float
