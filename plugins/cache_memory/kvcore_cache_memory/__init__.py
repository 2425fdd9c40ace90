"""The cache of kvcore in the memory of its own process."""
