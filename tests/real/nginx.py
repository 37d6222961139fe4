"""nginx in front of a registry, with the limits that its directives set."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import Pair
from tests.patience import HANG_S
from tests.ports import held_port
from tests.real.access_log import wait_until
from tests.real.programs import missing

_LINE = re.compile(r'(\d+) (\d{3}) (HTTP/[\d.]+) ([A-Z]+) (\S+) "([^"]*)"')


@dataclass(frozen=True, slots=True)
class Logged:
    """A request in nginx's access log; `connection` is the number of its connection."""

    connection: int
    status: int
    protocol: str
    method: str
    path: str
    agent: str


class Nginx:
    """A running nginx; `host` is `127.0.0.1:port`."""

    def __init__(self, host: str, log: Path) -> None:
        self.host = host
        self._log = log

    def requests(self) -> list[Logged]:
        """All requests, in the order in which they ended, once nginx has stopped."""
        found = map(_LINE.fullmatch, self._log.read_text().splitlines())
        return [
            Logged(int(one[1]), int(one[2]), *one.group(3, 4, 5, 6))
            for one in found
            if one is not None
        ]

    def statuses(self) -> Counter[int]:
        """How many requests got each status, once nginx has stopped."""
        return Counter(one.status for one in self.requests())


def required_nginx() -> str:
    """The path of nginx, which the PATH of a user may not have; or skip the test."""
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    found = shutil.which("nginx", path=folders)
    return found or missing("nginx", "apt-get install nginx-light")


@contextmanager
def behind_nginx(
    place: Path, upstream: str, *directives: str, tls: Pair | None = None
) -> Iterator[Nginx]:
    """nginx in front of `upstream` (`host:port`), with these directives of `location`.

    Its files are in the folder `place`. The zone `connections` counts all of them.
    """
    program = required_nginx()
    place.mkdir()
    log, errors = place / "access", place / "errors"
    lines = [f"{one};" for one in directives]
    with held_port() as port:
        configuration = _configuration(place, port, upstream, lines, tls)
        (place / "nginx.conf").write_text(configuration)
        with subprocess.Popen(
            [program, "-p", str(place), "-c", "nginx.conf", "-e", str(errors)],
            stdin=subprocess.DEVNULL,
        ) as process:
            try:
                wait_until(
                    lambda: _listens(port) or process.poll() is not None,
                    "nginx listens",
                )
                assert process.poll() is None, errors.read_text()
                yield Nginx(f"127.0.0.1:{port}", log)
            finally:
                process.terminate()
                process.wait(HANG_S)


def _configuration(
    place: Path, port: int, upstream: str, location: Sequence[str], tls: Pair | None
) -> str:
    listen = f"listen 127.0.0.1:{port}"
    if tls is not None:
        listen += (
            f" ssl http2; ssl_certificate '{tls.cert}'; ssl_certificate_key '{tls.key}'"
        )
    temporary = "\n".join(
        f"{name}_temp_path '{place / name}';"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
daemon off; master_process off; pid '{place / "pid"}';
events {{ worker_connections 200; }}
http {{
{temporary}
log_format own '$connection $status $server_protocol $request_method $uri'
  ' "$http_user_agent"';
access_log '{place / "access"}' own;
limit_conn_zone $server_port zone=connections:1m;
upstream registry {{ server {upstream}; keepalive 8; }}
server {{
  {listen};
  location / {{
    proxy_pass http://registry;
    proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    {" ".join(location)}
  }}
}}
}}
"""


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
