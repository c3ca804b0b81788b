"""`python -m gateway.migrate` brings the database to this code's schema; `--check` only looks."""

from pathlib import Path
from typing import Final

from mesh.migrations import command

SCHEMA: Final = "gateway"
FOLDER: Final = Path(__file__).parent / "migrations"

if __name__ == "__main__":
    command(schema=SCHEMA, folder=FOLDER)
