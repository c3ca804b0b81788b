"""Lists from elsewhere: how each site's files are read, and what becomes of an entry that is there already."""
