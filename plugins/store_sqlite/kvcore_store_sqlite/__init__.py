"""The store of kvcore in one SQLite file: durable, nothing to install."""
