"""A queue of kvcore in the memory of one process, for tests."""
