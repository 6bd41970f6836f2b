"""A command, and what it and the processes that it starts try to reach beyond this machine.

Two guards refuse and count. One is a hook of Python's in each process, which is always there. The
other is a filter of Linux's (seccomp) that hands calls of `connect`, `sendto`, `sendmsg` and
`sendmmsg` to this process, those of native code as well. It takes no rights and no other program.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

DNS = 53  # a question about a name, wherever it is answered

HOOK = """
import os, sys

LOG = {log!r}

def refuse(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if not isinstance(address, tuple):
            return  # Unix sockets, or none
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = arguments
    else:
        return
    host = address[0]
    host = host.decode() if isinstance(host, bytes) else host
    plain = str(host).removeprefix("::ffff:")
    if host in (None, "", "localhost", "::", "0.0.0.0", "::1") or plain.startswith("127."):
        return
    with open(LOG, "a") as file:
        file.write(f"{{event}} {{address!r}} in {{sys.argv[:2]}}\\n")
    raise OSError(101, "refused by the guard")

sys.addaudithook(refuse)
"""

# Numbers of system calls, and what names the machine to the filter.
MACHINES = {
    "x86_64": (0xC000003E, {"connect": 42, "sendto": 44, "sendmsg": 46, "sendmmsg": 307}),
    "aarch64": (0xC00000B7, {"connect": 203, "sendto": 206, "sendmsg": 211, "sendmmsg": 269}),
}
IO_URING = 425  # sends without any of these; refused
SECCOMP = {"x86_64": 317, "aarch64": 277}
ALLOW, NOTIFY, FAIL = 0x7FFF0000, 0x7FC00000, 0x00050000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
RECEIVE, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1
NO_NEW_RIGHTS = 38


@dataclass(frozen=True)
class Guarded:
    """How a command ended.

    Attributes:
        status: of its exit.
        out: what it wrote to stdout.
        err: what it wrote to stderr.
        attempts: one line for each, of Python's hook; empty if there was none.
        native: likewise of the filter; None where the system has none, or does not let a process
            read the addresses.
    """

    status: int
    out: str
    err: str
    attempts: list[str]
    native: list[str] | None


def run_guarded(
    command: Sequence[str], folder: Path, variables: Mapping[str, str | None], timeout: float = 300
) -> Guarded:
    """Run a command of Python's under both guards.

    Args:
        command: arguments of Python.
        folder: a new one, in which it runs.
        variables: of its environment, in place of those of this process; None for none.
        timeout: in seconds.
    """
    folder.mkdir()
    hook, log = folder / "hook", folder / "attempts"
    hook.mkdir()
    log.touch()
    (hook / "sitecustomize.py").write_text(HOOK.format(log=str(log)))
    paths = filter(None, [str(hook), os.environ.get("PYTHONPATH")])
    changed = {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(paths)}
    environment = {name: value for name, value in changed.items() if value is not None}
    done: list[subprocess.CompletedProcess[str]] = []
    ready = threading.Event()
    listener: list[int] = []

    def work() -> None:
        try:
            # It holds for this thread and what it starts, not for the others.
            listener.extend(_install())
        finally:
            ready.set()
        done.append(
            subprocess.run(
                [sys.executable, *command],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        )

    worker = threading.Thread(target=work)
    worker.start()
    ready.wait()
    native = _serve(listener[0], worker) if listener else None
    worker.join()
    (ended,) = done
    lines = log.read_text().splitlines()
    return Guarded(ended.returncode, ended.stdout, ended.stderr, lines, native)


def _install() -> list[int]:
    """Filter the calls of this thread; the file that tells of them, or nothing if there is none."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in MACHINES:
        return []
    audit, calls = MACHINES[machine]
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, audit), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, 0)]
    for number, verdict in [
        *((number, NOTIFY) for number in calls.values()),
        (IO_URING, FAIL | errno.ENOSYS),
    ]:
        steps += [(EQUAL, 0, 1, number), (RETURN, 0, 0, verdict)]
    steps.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(NO_NEW_RIGHTS, 1, 0, 0, 0):
        return []
    listener = libc.syscall(SECCOMP[machine], 1, 8, program)  # a filter that notifies
    return [listener] if listener >= 0 else []


def _serve(listener: int, worker: threading.Thread) -> list[str] | None:
    """Answer the calls of a command until it ends: those that leave this machine are refused."""
    attempts: list[str] = []
    readable = True
    asking = select.poll()
    asking.register(listener, select.POLLIN)
    calls = {number: name for name, number in MACHINES[platform.machine()][1].items()}
    while worker.is_alive():
        if not asking.poll(100):
            continue
        notice = bytearray(80)
        try:
            fcntl.ioctl(listener, RECEIVE, notice)
        except OSError:  # the process is gone
            continue
        key, pid, _, number, _, _, *arguments = struct.unpack("QIIiIQ6Q", notice)
        try:
            address = _address(pid, calls[number], arguments)
        except OSError as error:
            address, readable = "", readable and error.errno not in (errno.EPERM, errno.EACCES)
        if address:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            attempts.append(f"{calls[number]} {address} in {name}")
        refused = -errno.ENETUNREACH if address else 0
        answer = struct.pack("QqiI", key, 0, refused, 0 if address else CONTINUE)
        try:
            fcntl.ioctl(listener, SEND, bytearray(answer))
        except OSError:  # likewise
            continue
    os.close(listener)
    return attempts if readable else None


def _address(pid: int, call: str, arguments: Sequence[int]) -> str:
    """Where a call leads, if that is not on this machine; empty if it is, or for no address."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:

        def read(place: int, size: int) -> bytes:
            return os.pread(memory.fileno(), size, place) if place else b""

        if call in ("connect", "sendto"):
            first = 1 if call == "connect" else 4
            content = read(arguments[first], min(arguments[first + 1], 28))
        else:  # a header, whose first two fields are address and size
            place, size = struct.unpack("QI", read(arguments[1], 12))
            content = read(place, min(size, 28))
    return _beyond(content)


def _beyond(content: bytes) -> str:
    family = struct.unpack("H", content[:2])[0] if len(content) >= 8 else socket.AF_UNSPEC
    if family not in (socket.AF_INET, socket.AF_INET6):
        return ""
    (port,) = struct.unpack(">H", content[2:4])
    plain = content[4:8] if family == socket.AF_INET else content[8:24]
    host = ip_address(plain)
    inner = getattr(host, "ipv4_mapped", None) or host
    here = inner.is_loopback or inner.is_unspecified
    return "" if here and port != DNS else f"{inner}:{port}"
