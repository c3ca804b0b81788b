"""Lists from elsewhere: how each site's files are read, and what they do to entries that are there."""
