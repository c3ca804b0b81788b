"""What every service of the mesh shares: server, channels, settings, identity, errors, logs, migrations.

Nothing here knows a service: services import the mesh, never the other way round.
"""
