"""Looking at nodes and workers that run, for `kvctl top` and `kvctl doctor --url`."""
