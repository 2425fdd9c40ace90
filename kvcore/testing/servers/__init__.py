"""Private servers of the kinds that production runs on, for tests and for a deployment on one machine.

Each group starts real servers from their executables, in processes of their own, on free ports of 127.0.0.1 and in a folder of
their own, and leaves nothing behind::

    from kvcore.testing.servers import RedisServers

    with RedisServers() as servers:
        servers.master.kill()
        ...  # the sentinels make a replica the master
        servers.restore()

The fixtures of `kvcore.testing.fixtures` share them among the tests of a session. Linux only, since what a server has
started is found in /proc.
"""

import shutil

from kvcore.testing.servers.cockroachdb import CockroachCluster
from kvcore.testing.servers.database import Database
from kvcore.testing.servers.group import MissingServerError, ServerGroup
from kvcore.testing.servers.nginx import NginxProxy
from kvcore.testing.servers.postgresql import PostgresServer
from kvcore.testing.servers.process import ServerError, ServerProcess
from kvcore.testing.servers.rabbitmq import RabbitCluster
from kvcore.testing.servers.redis import RedisServers
from kvcore.testing.servers.service import Service, ServiceProcess

__all__ = (
    "CockroachCluster",
    "Database",
    "MissingServerError",
    "NginxProxy",
    "PostgresServer",
    "RabbitCluster",
    "RedisServers",
    "ServerError",
    "ServerGroup",
    "ServerProcess",
    "Service",
    "ServiceProcess",
    "database_class",
)


def database_class() -> type[Database]:
    """Return the database to take: CockroachDB where `cockroach` is on PATH, else PostgreSQL."""
    return CockroachCluster if shutil.which("cockroach") else PostgresServer
