"""Manners of every server that kdsearch starts: 127.0.0.1 only, a free port, an address that answers, a clean end."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from kdsearch.files import writable
from kdsearch.mistakes import Mistake

HOST = "127.0.0.1"
_ENDS_WITHIN_SECONDS = 5.0


def chosen_port(asked: int | None, default: int) -> int:
    """`asked`, or the first free port from `default` on, which is said where it is another. Raises `Mistake`, with a
    port that is free, where `asked` is taken or not ours to open.
    """
    if asked is None:
        chosen = _next_free(default)
        if chosen != default:
            print(f"port {default} is taken, using {chosen}", flush=True)
        return chosen
    if (problem := _problem(asked)) is not None:
        raise Mistake(f"port {asked} on {HOST} {problem}; try --port {_next_free(max(asked + 1, 1024))}")
    return asked


def address(port: int) -> str:
    return f"http://{HOST}:{port}"


def say_address(name: str, port: int, pages: Mapping[str, str] | None = None) -> None:
    """Say where a server that answers now is, and where its pages are, by what they show."""
    lines = [f"{name}: {address(port)}", *(f"  {what}: {page}" for what, page in (pages or {}).items())]
    print("\n".join([*lines, "Ctrl-C ends it"]), flush=True)


@contextmanager
def until_stopped() -> Iterator[None]:
    """Ctrl-C, a polite kill and a closed terminal end the block, whatever it is doing; what asks again while it is
    cleaned up is ignored.
    """
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(_number: int, _frame: object) -> None:
        for number in asked:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in asked}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve_program(
    command: Sequence[str],
    *,
    name: str,
    port: int,
    health: str,
    log: Path,
    environment: Mapping[str, str],
    pages: Mapping[str, str],
) -> int:
    """Run a server that is a program of its own until it is stopped; gives the exit status: 1 where it ended by itself.

    What it prints goes to `log`. Its address, and those of its `pages`, are printed once a GET of `health` is
    answered. All its processes end with
    it: they are a session of their own, so that Ctrl-C reaches them through us alone.
    """
    print(f"starting {name} ...", flush=True)
    with writable(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        written = log.open("w", encoding="utf-8")
    server = None
    with written, until_stopped():
        try:
            server = subprocess.Popen(  # noqa: S603 - our own interpreter
                command, env=dict(environment), stdout=written, stderr=written, start_new_session=True
            )
            while server.poll() is None and not _answers(port, health):
                time.sleep(0.1)
            if server.poll() is None:
                say_address(name, port, pages)
                server.wait()
        finally:
            ended_by_itself = server is not None and server.poll() is not None
            if server is not None:
                _end(server)
        if ended_by_itself:
            print(f"kdsearch: {name} has ended by itself; what it said is in {log}", file=sys.stderr)
            return 1
    return 0


def _end(server: subprocess.Popen[bytes]) -> None:
    """End all processes of the server's session: politely, then at once."""
    _signal_all(server, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(_ENDS_WITHIN_SECONDS)
    _signal_all(server, signal.SIGKILL)
    server.wait()


def _signal_all(server: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # none is left
        os.killpg(server.pid, number)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)  # no proxy stands between us and ourselves
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _problem(port: int) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just given up is free
        try:
            probe.bind((HOST, port))
        except PermissionError:
            return "is kept for the system's administrator"
        except OSError:
            return "is taken"
    return None


def _next_free(port: int) -> int:
    for candidate in range(port, min(port + 100, 65536)):
        if _problem(candidate) is None:
            return candidate
    raise Mistake(f"no free port from {port} on; name one with --port")
