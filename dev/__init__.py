"""One machine, no Docker: the stores, the edge and the stand-ins, from Python wheels alone.

Nothing in here runs in production, and no service imports it.
"""
