"""`python -m mesh.settings`: `.env.example`, from the settings classes of every part."""

import argparse
import importlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import Final

from pydantic import SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from mesh.settings import Settings, variable_of


@dataclass(slots=True)
class _Variable:
    name: str
    info: FieldInfo
    readers: list[str] = field(default_factory=list)


_EVERYBODY: Final = "every service"
_HEADING: Final = (
    "# Every setting of Evening Popcorn. Made by `python -m mesh.settings`; do not edit.\n"
    "# A variable without a value is required, unless its comment says that it may stay empty.\n"
)


def example(classes: Iterable[tuple[str, type[Settings]]]) -> str:
    """Return the text of `.env.example`.

    Args:
        classes: Settings classes with their service's name.

    Returns:
        Every variable once, under the first service that reads it, with its docstring and its default.

    Raises:
        ValueError: When two services disagree about a variable's default.
    """
    variables: dict[str, _Variable] = {}
    first: tuple[str, type[Settings]] = (_EVERYBODY, Settings)
    for service, settings_class in (first, *classes):
        for name, info in settings_class.model_fields.items():
            variable = variables.setdefault(variable_of(name, info), _Variable(variable_of(name, info), info))
            if (variable.info.is_required(), variable.info.default) != (info.is_required(), info.default):
                raise ValueError(
                    f"{variable.name} has one default in {variable.readers[0]}, another in {service}"
                )
            if service not in variable.readers:
                variable.readers.append(service)
    lines = [_HEADING]
    group = None
    for variable in sorted(variables.values(), key=lambda variable: _order(variables, variable)):
        if variable.readers[0] != group:
            group = variable.readers[0]
            lines.append(f"# ---- {group} ----\n")
        lines.append(_entry(variable))
    return "\n".join(lines)


def _order(variables: dict[str, _Variable], variable: _Variable) -> int:
    groups = list(dict.fromkeys(one.readers[0] for one in variables.values()))
    return groups.index(variable.readers[0])


def _entry(variable: _Variable) -> str:
    comment = wrap(" ".join((variable.info.description or "").split()), 108)
    others = variable.readers[1:]
    if others and variable.readers[0] != _EVERYBODY:
        comment.append(f"Read by {', '.join(others)} too.")
    if variable.info.is_required():
        comment.append("Required.")
        value = ""
    else:
        value = _shown(variable.info)
        if not value:
            comment.append("May stay empty.")
    return "".join(f"# {line}\n" for line in comment) + f"{variable.name}={value}\n"


def _shown(info: FieldInfo) -> str:
    match info.get_default(call_default_factory=True, validated_data={}):
        case None | SecretStr() | SecretBytes():
            return ""
        case bool() as flag:
            return str(flag).lower()
        case float() as number:
            return f"{number:g}"
        case tuple() | list() as values:
            return ",".join(str(value) for value in values)
        case other:
            return str(other)


def discover(root: Path) -> list[tuple[str, type[Settings]]]:
    """Return the settings classes under `root`, with the name of what they configure.

    They live in `<folder>/settings.py`, named for the folder, and in `<folder>/<name>_settings.py`.
    """
    found: list[tuple[str, type[Settings]]] = []
    paths = (path for path in root.glob("*/*settings.py") if path.parent.name.isidentifier())
    for path in sorted(paths):
        name = path.stem.removesuffix("settings").rstrip("_") or path.parent.name
        module = importlib.import_module(f"{path.parent.name}.{path.stem}")
        found.extend(
            (name, value)
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Settings) and value.__module__ == module.__name__
        )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print `.env.example`, write it, or compare a file with it; the exit status is 1 when that differs."""
    parser = argparse.ArgumentParser(
        prog="python -m mesh.settings", description="The environment, as .env.example."
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--check", type=Path, metavar="FILE", help="exit with 1 unless FILE is what would be printed"
    )
    action.add_argument("--write", type=Path, metavar="FILE", help="write to FILE")
    options = parser.parse_args(arguments)
    root = Path(__file__).resolve().parent.parent.parent
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    text = example(discover(root))
    if options.write is not None:
        options.write.write_text(text, encoding="utf-8")
    elif options.check is not None:
        present = options.check.read_text(encoding="utf-8") if options.check.exists() else ""
        if present != text:
            print(
                f"{options.check} is out of date: run python -m mesh.settings --write {options.check}",
                file=sys.stderr,
            )
            return 1
    else:
        print(text, end="")
    return 0
