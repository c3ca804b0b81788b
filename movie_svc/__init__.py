"""Films from TMDB, cached: who they are, in the reader's language, and where to watch them."""
