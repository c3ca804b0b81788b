"""A stand-in for TMDB: its API, version 3, over a shipped catalogue of real films."""
