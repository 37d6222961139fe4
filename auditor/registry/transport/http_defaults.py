"""What is the same for every request, over whichever client it goes."""

from __future__ import annotations

from auditor.fast_dataclass import dataclass
from auditor.version import __version__

USER_AGENT = f"auditor/{__version__}"
FIELDS = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
# What is read of an answer that is an error: sentences, not pages.
MAX_ERROR_BYTES = 64 * 1024
# How long an unused connection is kept: below the 60 s after which common proxies
# close theirs, so that we do not write into a connection that is just being closed.
KEEPALIVE_S = 30.0
DNS_CACHE_S = 60


# -- timeouts --
# How long a request may take.


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds for connecting, for each silence while reading, and for the whole."""

    connect_s: float
    read_s: float
    request_s: float
