"""The cache of kvcore on Redis, through Sentinel or one address."""
