"""PostgreSQL with PostGIS, and Redis, started for the tests on ports of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

START_SECONDS = 60
QUICK = {"fsync": "off", "full_page_writes": "off", "max_connections": "100"}  # what a test writes need not outlive it


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text()}") from None
            time.sleep(0.05)


def postgres_binaries() -> Path:
    """Return the folder of PostgreSQL's own commands: Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    initdb = found[-1] if found else shutil.which("initdb")
    if not initdb:
        raise RuntimeError("PostgreSQL with PostGIS is needed for the tests: run `make servers`.")
    return Path(initdb).parent


@contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a folder that another user may enter: pytest closes its own to others, again with every session."""
    with tempfile.TemporaryDirectory(prefix="boundaries-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


class Postgres:
    """A PostgreSQL server in a folder; as root it runs under the user ``postgres``, which it insists on."""

    def __init__(self, folder: Path, port: int, settings: Mapping[str, str] = QUICK) -> None:
        self.folder, self.port = folder, port
        self._bin = postgres_binaries()
        self._user = "postgres" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        if self._user:
            shutil.chown(folder, self._user)
        options = ["--auth=trust", "--username=warehouse", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        self._run("initdb", "-D", str(folder / "data"), *options)
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.write(f"port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n")
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def _identity(self) -> dict[str, object]:
        if not self._user:
            return {}
        entry = pwd.getpwnam(self._user)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": str(self.folder)}

    def _run(self, name: str, *arguments: str) -> None:
        command = [str(self._bin / name), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._identity())  # type: ignore[call-overload]
        if done.returncode:
            raise RuntimeError(f"{name} failed:\n{done.stdout}{done.stderr}")

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        log = self.folder / "log"
        log.touch()
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # type: ignore[call-overload]
                [str(self._bin / "postgres"), "-D", str(self.folder / "data")],
                stdout=output,
                stderr=output,
                **self._identity(),
            )
        _wait(self.port, self._process, log)
        deadline = time.monotonic() + START_SECONDS
        while True:  # it listens before it lets anybody in
            try:
                psycopg.connect(f"host=127.0.0.1 port={self.port} user=warehouse dbname=postgres").close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server, breaking off what runs."""
        self._signal(signal.SIGINT)

    def crash(self) -> None:
        """Let the server end as in a crash: nothing is written down, unlogged tables will be empty."""
        self._signal(signal.SIGQUIT)

    def _signal(self, number: int) -> None:
        if self._process:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None


class Redis:
    """A Redis server that keeps nothing on disk: once stopped, it has forgotten everything."""

    def __init__(self, folder: Path, port: int) -> None:
        command = shutil.which("redis-server")
        if not command:
            raise RuntimeError("Redis is needed for the tests: run `make servers`.")
        self.folder, self.port, self._command = folder, port, command
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        log = self.folder / "log"
        log.touch()
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        with log.open("ab") as output:
            self._process = subprocess.Popen([self._command, *options], stdout=output, stderr=output)
        _wait(self.port, self._process, log)

    def stop(self) -> None:
        """Kill the server."""
        if self._process:
            self._process.kill()
            self._process.wait(30)
            self._process = None
