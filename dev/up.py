"""`make up`: the whole mesh on this machine, until Ctrl-C.

    python -m dev.up [--data DIR] [--settings FILE]

Settings come from the environment and from `.env`; the data stays in `.data/`. A part that dies is started
again; one that keeps dying ends the whole, with a sentence.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import shlex
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from dotenv import dotenv_values

from dev.mesh import ROOT, Mesh, Part
from dev.processes import StartFailed, is_taken

_EDGE_PORT: Final = 8080
_IDP_PORT: Final = 8081

_PR_SET_PDEATHSIG: Final = 1

# A part may die this often in a minute before we stop trying.
_DEATHS: Final = 3
_WITHIN_SECONDS: Final = 60.0

_PEOPLE: Final = (
    ("ada", "Ada Lovelace", "google", "Google"),
    ("grace", "Grace Hopper", "apple", "Apple"),
)


class Stopped(BaseException):
    """Somebody wants us to stop. Not an Exception: nothing on the way may take it for a failure."""


class Refused(Exception):
    """We cannot start here; the text is a sentence for the person at the terminal."""


def main() -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m dev.up", description="The whole mesh on this machine.")
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT / ".data",
        metavar="DIR",
        help="data, keys and logs (default: .data)",
    )
    parser.add_argument(
        "--settings", type=Path, default=ROOT / ".env", metavar="FILE", help="more settings (default: .env)"
    )
    options = parser.parse_args()
    follow_make()
    listen_to_signals()
    try:
        with only_one(options.data / "lock"):
            return run(options.data, read_settings(options.settings))
    except (Refused, StartFailed) as problem:
        say(f"evening-popcorn: {problem}", file=sys.stderr)
        return 1
    except Stopped:
        return 130


def run(data: Path, settings: dict[str, str]) -> int:
    """Starts everything, says what there is, and watches over it until somebody wants it to stop."""
    edge_port = read_port(settings, "EDGE_PORT", otherwise=_EDGE_PORT)
    idp_port = read_port(settings, "DEV_IDP_PORT", otherwise=_IDP_PORT)
    mesh = Mesh(data, settings=settings, edge_port=edge_port, idp_port=idp_port)
    require_free(edge_port, "EDGE_PORT")
    if mesh.idp_url:
        require_free(idp_port, "DEV_IDP_PORT")
    began = time.monotonic()
    try:
        mesh.start(on_ready=say_ready)
        say_summary(mesh, seconds=time.monotonic() - began)
        watch(mesh)
    except Stopped:
        say("\nStopping ...")
    finally:
        stop(mesh)
    say(f"Stopped. The data stays in {shown(mesh.folder)}/.")
    return 0


# ---- before the start ------------------------------------------------------------------------------------


def read_settings(file: Path) -> dict[str, str]:
    """The environment, over what a file like `.env` says, if it is there."""
    from_file = {name: value for name, value in dotenv_values(file).items() if value}
    return {**from_file, **os.environ}


def read_port(settings: dict[str, str], name: str, *, otherwise: int) -> int:
    """A port from the settings.

    Raises:
        Refused: It is none.
    """
    value = settings.get(name) or str(otherwise)
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 65535:
        raise Refused(f"{name} should be a port number from 1 to 65535.")
    return int(value)


def require_free(port: int, setting: str) -> None:
    """Refuses to start where somebody else listens already.

    Raises:
        Refused: Somebody does.
    """
    if is_taken(port):
        raise Refused(
            f"Port {port} is taken by another program. Stop that one, or choose another port: "
            f"{setting}={port + 10} make up"
        )


@contextlib.contextmanager
def only_one(file: Path) -> Iterator[None]:
    """Keeps a second mesh out of the same data while this one runs; the kernel ends that with the process.

    Raises:
        Refused: There is one already.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            pid = lock.read().strip()
            raise Refused(
                f"Evening Popcorn is up here already, as process {pid}. "
                f"Stop it with Ctrl-C there, or: kill {pid}"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
        lock.truncate(0)


# ---- when to stop ----------------------------------------------------------------------------------------


def listen_to_signals() -> None:
    """The first signal stops everything in order."""

    def stop_in_order(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_in_order)


def follow_make() -> None:
    """Where make started us, its end is ours, however it comes about."""
    if "MAKELEVEL" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)


def make_was_interrupted() -> bool:
    """Whether make, our parent, got a SIGINT or SIGHUP that was sent to it alone and now waits for us.

    It hands SIGTERM on to its children but those not, as a terminal sends them to everybody. What can be
    seen from outside is that it no longer catches the signal. (In the background of a script it never did:
    there the shell has it ignored.)
    """
    if "MAKELEVEL" not in os.environ:
        return False
    try:
        status = Path(f"/proc/{os.getppid()}/status").read_text()
    except OSError:
        return False
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    handled = int(fields.get("SigCgt", "0"), 16) | int(fields.get("SigIgn", "0"), 16)
    left_alone = (number for number in (signal.SIGINT, signal.SIGHUP) if not handled & 1 << (number - 1))
    return fields.get("Name") in ("make", "gmake") and any(left_alone)


def watch(mesh: Mesh) -> None:
    """Starts again what dies, until somebody wants us to stop.

    Raises:
        Stopped: Somebody does.
        StartFailed: A part keeps dying, or does not come back.
    """
    deaths: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_DEATHS))
    while not make_was_interrupted():
        for part in mesh.ended():
            process = mesh.process(part.name)
            deaths[part.name].append(time.monotonic())
            often = deaths[part.name]
            how = f"{part.name} ended with {process.ending()}"
            if len(often) == _DEATHS and often[-1] - often[0] < _WITHIN_SECONDS:
                raise StartFailed(f"{how}, {_DEATHS} times in a minute; stopping.{process.last_words()}")
            say(f"{how}; starting it again. Its log: {shown(process.log)}")
            mesh.restart(part.name)
            say(f"{part.name} is back.")
        time.sleep(0.2)
    raise Stopped


def stop(mesh: Mesh) -> None:
    """Stops everything in order; a second signal makes it quick."""

    def at_once(_number: int, _frame: FrameType | None) -> None:
        mesh.kill_all()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, at_once)
    mesh.stop()


# ---- what people read ------------------------------------------------------------------------------------


def say(text: str, *, file: Any = None) -> None:
    """Prints a line at once; a terminal that has gone away is no reason to fail."""
    with contextlib.suppress(BrokenPipeError):
        print(text, file=file or sys.stdout, flush=True)


def say_ready(part: Part, seconds: float) -> None:
    """One line for a part that has come up."""
    say(f"{seconds:6.1f} s  {part.name:<24}{part.address or 'done'}")


def shown(path: Path) -> str:
    """A path as short as it can be said from the repository's root."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def say_summary(mesh: Mesh, *, seconds: float) -> None:
    """Where everything is, who is signed in, and lines to paste."""
    url = f"http://localhost:{mesh.edge_port}"
    say(f"\nEvening Popcorn is up after {seconds:.1f} s.\n\n  REST, gRPC-Web and gRPC   {url}")
    if mesh.idp_url:
        say(f"  sign in as anybody        http://localhost:{mesh.idp_port}")
    say(f"  logs and data             {shown(mesh.folder)}/\n")
    token_files = [file for person in _PEOPLE if (file := _sign_in(mesh, *person))]
    if token_files:
        _say_lines(mesh, url, f'"authorization: Bearer $(cat {shlex.quote(str(token_files[0]))})"')
    say("Ctrl-C stops everything; the data stays for the next start.")


def _sign_in(mesh: Mesh, subject: str, name: str, provider: str, shown_provider: str) -> Path | None:
    """Signs somebody in through the edge, as an app does; returns the file with the access token."""
    known = mesh.environment["GOOGLE_CERTS_URL" if provider == "google" else "APPLE_KEYS_URL"]
    if mesh.idp_url is None or not known.startswith(mesh.idp_url):
        return None  # the real provider is used, and it knows neither of them
    wanted = {"provider": provider, "subject": subject, "name": name}
    id_token = _post(f"{mesh.idp_url}/tokens", wanted)["idToken"]
    asked = {"provider": f"PROVIDER_{provider.upper()}", "idToken": id_token, "displayName": name}
    tokens = _post(f"{mesh.edge_url}/v1/auth:signIn", asked)["tokens"]
    file = mesh.folder / "tokens" / subject
    file.parent.mkdir(exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(tokens["accessToken"])
    say(f"  {name} is signed in with {shown_provider}; her access token:\n  {tokens['accessToken']}\n")
    return file


def _post(url: str, body: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - an address of this mesh
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            parsed: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        raise StartFailed(f"{url} answered {error.code}: {error.read().decode(errors='replace')}") from error
    except OSError as error:
        raise StartFailed(f"{url} did not answer: {error}.") from error
    return parsed


def _say_lines(mesh: Mesh, url: str, authorization: str) -> None:
    schema = shlex.quote(str(ROOT / "gen" / "popcorn.binpb"))
    buf = shlex.quote(str(Path(sys.executable).with_name("buf")))
    method = "popcorn.gateway.v1.AccountService/GetAccount"
    say("  Over REST, over gRPC, and over gRPC once more with what `make test` installs:")
    say(f"  curl -s -H {authorization} {url}/v1/me")
    say(f"  grpcurl -plaintext -protoset {schema} -H {authorization} localhost:{mesh.edge_port} {method}")
    say(
        f"  {buf} curl --protocol grpc --http2-prior-knowledge --schema {schema} -H {authorization} "
        f"{url}/{method}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
