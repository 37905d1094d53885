"""From files to unique, filtered documents in shards, and from shards to token files."""
