"""The first breath of every child process that `dev` starts.

It binds the child's life to its parent's, gives up root where a program refuses it, and becomes
the program::

    python -I -S dev/launch.py PARENT_PID USER program argument...

USER is ``-`` to stay who we are. It is a program of its own, not a ``preexec_fn``, because Python code
between fork and exec may deadlock in a parent that has threads, and the tests' parent has gRPC's.

Standard library only, and little of it: this runs once for every process started.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import struct
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def _checked(result: int, doing: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{doing}: {os.strerror(number)}")


def _become(user: str) -> None:
    """Turns root into `user`, keeping the one right to pass through folders that only root may enter.

    PostgreSQL refuses to run as root. A venv or a checkout below /root (mode 0700) is out of any other
    user's reach, and opening those folders to everybody would be the wrong price to pay; so the new
    user keeps CAP_DAC_OVERRIDE and nothing else. The secure bit makes access(2), which PostgreSQL asks
    about its own binaries, see that right too.
    """
    account = pwd.getpwnam(user)
    libc = ctypes.CDLL(None, use_errno=True)
    linux = sys.platform == "linux"
    if linux:
        _checked(
            libc.prctl(_PR_SET_SECUREBITS, ctypes.c_ulong(_SECBIT_NO_SETUID_FIXUP), 0, 0, 0),
            "prctl securebits",
        )
    os.setgroups([])
    if linux:
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        kept = 1 << _CAP_DAC_OVERRIDE
        header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        sets = struct.pack("=6I", kept, kept, kept, 0, 0, 0)  # effective, permitted, inheritable; high words
        _checked(libc.capset(header, sets), "capset")
        _checked(
            libc.prctl(
                _PR_CAP_AMBIENT,
                ctypes.c_ulong(_PR_CAP_AMBIENT_RAISE),
                ctypes.c_ulong(_CAP_DAC_OVERRIDE),
                ctypes.c_ulong(0),
                ctypes.c_ulong(0),
            ),
            "prctl ambient",
        )
    else:
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)


def _die_with(parent: int) -> None:
    """Asks the kernel to kill this process when its parent ends; Linux only."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0), "prctl pdeathsig")
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: list[str]) -> None:
    """Becomes the program named in `arguments`: parent's pid, user or ``-``, program, its arguments."""
    parent, user, *command = arguments
    if user != "-":
        try:
            _become(user)  # first: a change of user clears the parent-death signal
        except (KeyError, OSError) as error:
            sys.exit(f"{command[0]} will not run as root, and root may not become {user} here: {error}")
    _die_with(int(parent))
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command is the caller's own, and no shell is wanted
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
