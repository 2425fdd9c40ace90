# ruff: noqa: INP001 - a script, which is copied into the image
"""The image's health check: exits with 0 if the node, or the worker, of this container says that it is ready.

A node listens on port 8000 and a worker on 8001, and a container has one of them. A node that starts or drains is not ready; one
whose servers are down is, since it goes on without them.
"""

import http.client
import sys
from http import HTTPStatus

PORTS = (8000, 8001)


def status(port: int) -> int:
    """Return what /health/ready answers.

    Raises:
        OSError: nothing listens there.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    connection.request("GET", "/health/ready")
    return connection.getresponse().status


for port in PORTS:
    try:
        sys.exit(status(port) != HTTPStatus.OK)
    except ConnectionRefusedError:
        continue
sys.exit("nothing listens")
