"""A real PostgreSQL server on 127.0.0.1, with a password, one for all tests of a process that ask for it.

PostgreSQL refuses to run as root: there it runs as the system's user `postgres`, else `nobody`.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import free_port

USER, PASSWORD = "searcher", "s3cr3t-of-a-kind"


class Postgres:
    """A server whose superuser is `USER`, with `PASSWORD`."""

    def __init__(self, programs: Path, account: str | None) -> None:
        self._programs = programs
        self._as = {"user": account, "group": pwd.getpwnam(account).pw_gid, "extra_groups": []} if account else {}
        self._folder = Path(tempfile.mkdtemp(prefix="kdsearch-pg-"))  # not pytest's, which other users may not enter
        (self._folder / "password").write_text(PASSWORD)
        for path in (self._folder, self._folder / "password"):
            if account is not None:
                shutil.chown(path, account)
        self.port = free_port()
        self._call(
            *("initdb", "--pgdata", self._data, "--username", USER, "--auth", "scram-sha-256"),
            *("--pwfile", self._folder / "password", "--no-sync", "--no-locale", "--encoding", "UTF8"),
        )
        self.start()
        self._ender = self._wait_for_our_end()

    def _wait_for_our_end(self) -> "subprocess.Popen[bytes]":
        """Ends the server and removes its folder once its standard input is closed: also where pytest is killed."""
        end = 'read _; "$0" --pgdata "$1/data" -m immediate stop; rm -rf "$1"'
        return subprocess.Popen(
            ["sh", "-c", end, self._programs / "pg_ctl", self._folder],
            **{"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL},
            **{"cwd": "/", "start_new_session": True},
            **self._as,
        )

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _call(self, program: str, *arguments: object) -> None:
        command = [self._programs / program, *map(str, arguments)]
        # no pipe: the server would inherit it and keep it open
        with (self._folder / "said.txt").open("w") as said:
            done = subprocess.run(command, stdout=said, stderr=said, cwd=self._folder, **self._as)
        assert done.returncode == 0, (self._folder / "said.txt").read_text()

    def start(self) -> None:
        # fsync is for power cuts, which no test makes
        options = f"-p {self.port} -h 127.0.0.1 -k {self._folder} -F"
        self._call("pg_ctl", "--pgdata", self._data, "-w", "-l", self._folder / "log.txt", "-o", options, "start")

    def stop(self) -> None:
        """End it as a crash would: connections are cut, nothing is tidied up."""
        self._call("pg_ctl", "--pgdata", self._data, "-w", "-m", "immediate", "stop")

    def restart(self) -> None:
        self.stop()
        self.start()

    def url(self, database: str = "postgres", driver: str = "postgresql+psycopg") -> str:
        return f"{driver}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def database(self, name: str) -> str:
        """Create an empty database; gives its URL."""
        import psycopg

        with psycopg.connect(self.url(driver="postgresql"), autocommit=True) as connection:
            connection.execute(f'create database "{name}"')
        return self.url(name)

    def dump(self, name: str) -> str:
        """All that is in a database, as text."""
        dumped = subprocess.run(
            [self._programs / "pg_dump", self.url(name, "postgresql")], capture_output=True, text=True, check=True
        )
        return dumped.stdout

    def remove(self) -> None:
        self._ender.communicate()


def _programs() -> Path | None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # Debian's, which are not on the path
    if (found := shutil.which("initdb")) is not None:
        places.append(Path(found).resolve().parent)
    needed = ("initdb", "pg_ctl", "pg_dump")
    return next((place for place in places if all((place / name).exists() for name in needed)), None)


def _account() -> str | None:
    """The user to run it as; None for this one."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    pytest.importorskip("psycopg", reason="PostgreSQL needs the extra postgres")
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL's programs (initdb, pg_ctl, pg_dump) are not installed")
    server = Postgres(programs, _account())
    yield server
    server.remove()
