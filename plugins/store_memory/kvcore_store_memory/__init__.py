"""A store of kvcore in the memory of one process, for tests."""
