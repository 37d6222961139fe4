"""Runs a command where the only DNS server answers for one name, and is silent else.

    unshare --net --mount python -m tests.support.silent_dns COMMAND...

Must run in network and mount namespaces of its own. The DNS server knows
`registry.corp.example`, at which a registry is served; `corp.example` is a search
domain. `{registry}` in the command is replaced by `registry:PORT`. SIGTERM is sent to
the command once the registry has served all its images and a silent name was asked
for, if the first argument is `--terminate`. Prints a JSON object: code, out, err.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading

from aiohttp import web
from aiohttp.typedefs import Handler

from tests.flow.harness import simple
from tests.support.registry import registry_app, serve_in_thread

NAMES = [f"team/app:{number}" for number in range(20)]
SERVER = "127.0.0.53"
KNOWN = "registry.corp.example"
# Each look-up takes five minutes: five times 30 s, without and with the search domain.
RESOLV_CONF = (
    f"nameserver {SERVER}\nsearch corp.example\noptions timeout:30 attempts:5\n"
)


class DnsServer:
    """Answers A and AAAA queries for `KNOWN` (RFC 1035), and nothing else."""

    def __init__(self) -> None:
        self.asked_in_vain = threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((SERVER, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(512)
            end = query.index(b"\0", 12)
            labels, at = [], 12
            while at < end:
                labels.append(query[at + 1 : at + 1 + query[at]].decode())
                at += 1 + query[at]
            (record_type,) = struct.unpack("!H", query[end + 1 : end + 3])
            if ".".join(labels) == KNOWN:
                answers = int(record_type == 1)
                self._answer(query[: end + 5], sender, answers=answers)
            else:
                self.asked_in_vain.set()

    def _answer(self, query: bytes, sender: tuple[str, int], *, answers: int) -> None:
        header = query[:2] + struct.pack("!HHHHH", 0x8180, 1, answers, 0, 0)
        address = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4)
        record = (address + socket.inet_aton("127.0.0.1")) * answers
        self._socket.sendto(header + query[12:] + record, sender)


def _bring_up(interface: str) -> None:
    """`ip link set INTERFACE up` (netdevice(7)), without iproute2."""
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    layout = "16sh14x"
    request = struct.pack(layout, interface.encode(), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, get_flags, request)
        _, flags = struct.unpack(layout, answer)
        fcntl.ioctl(
            control, set_flags, struct.pack(layout, interface.encode(), flags | up)
        )


def main(arguments: list[str]) -> None:
    _bring_up("lo")
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(RESOLV_CONF)
        file.flush()
        subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)
        _run(arguments)


def _run(arguments: list[str]) -> None:
    terminates = arguments[0] == "--terminate"
    dns = DnsServer()
    served: set[str] = set()
    all_served = threading.Event()

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if "/blobs/" in request.path:
            served.add(request.path)
            if len(served) == len(NAMES):
                all_served.set()
        return response

    app = registry_app(simple(NAMES), middlewares=[count])
    with serve_in_thread(app) as url:
        registry = f"registry:{url.rpartition(':')[2]}"
        command = [one.format(registry=registry) for one in arguments[terminates:]]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            if terminates:
                all_served.wait()
                dns.asked_in_vain.wait()
                process.terminate()
            out, err = process.communicate()
    json.dump({"code": process.returncode, "out": out, "err": err}, sys.stdout)
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
