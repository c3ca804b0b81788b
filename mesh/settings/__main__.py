"""The command line: see `mesh.settings.example`."""

from mesh.settings.example import main

raise SystemExit(main())
