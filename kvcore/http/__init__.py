"""The HTTP application over a running node, and its server."""
