"""The private servers that other tests run on: what they can do, and that nothing stays of them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvcore.testing.servers import (
    Database,
    RabbitCluster,
    RedisServers,
    ServerError,
    ServerGroup,
    ServerProcess,
    database_class,
)
from kvcore.testing.servers.ports import free_port
from kvcore.testing.servers.process import wait_until
from kvcore.testing.servers.process_tree import Member, is_alive, members
from kvcore.testing.servers.resp import ask

pytest_plugins = ["kvcore.testing.fixtures"]

ROOT = Path(__file__).parents[2]

# Listens on the port of its first argument, has a child that waits for ever, and at SIGTERM does what the second one says.
PROGRAM = """
import os, signal, socket, sys
if os.fork() == 0:
    os.setsid()
    while True:
        signal.pause()
def say_goodbye(*_):
    print("goodbye", flush=True)
    if sys.argv[2] == "end":
        os._exit(0)
signal.signal(signal.SIGTERM, say_goodbye)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    listener.accept()[0].sendall(b"!")
"""

USES_REDIS = """
def test_redis(redis_servers):
    assert redis_servers.current_master()
"""

USES_REDIS_FOR_EVER = """
import signal
from pathlib import Path

def test_redis(redis_servers):
    pids = " ".join(str(process.pid) for process in redis_servers.processes)
    Path("using.tmp").write_text(f"{redis_servers.folder} {pids}")
    Path("using.tmp").rename("using")
    signal.pause()
"""


@contextmanager
def ended(server: ServerProcess) -> Iterator[ServerProcess]:
    """Give a server, and see that it does not stay."""
    try:
        yield server
    finally:
        server.kill()


def small_server(folder: Path, *, at_sigterm: str = "end", stop_within_s: float = 20.0) -> ServerProcess:
    """Make a server that answers each connection with one byte, and is not one process but two."""
    port = free_port()
    command = [sys.executable, "-c", PROGRAM, str(port), at_sigterm]
    return ServerProcess(
        "small",
        command,
        folder=folder,
        port=port,
        is_ready=lambda: answers(port),
        stop_within_s=stop_within_s,
    )


def answers(port: int) -> bool:
    """Whether the small server says something within a moment."""
    with socket.create_connection(("127.0.0.1", port), timeout=0.2) as connection:
        return connection.recv(1) == b"!"


def state(member: Member) -> str:
    """Return a letter: S sleeps, T was stopped."""
    return Path(f"/proc/{member.pid}/stat").read_text().rpartition(")")[2].split()[0]


def alive(family: list[Member]) -> list[Member]:
    """List those that still run."""
    return [member for member in family if is_alive(member)]


def pytest_command(folder: Path, program: str) -> list[str]:
    """Return the command that runs one test, which can use the fixtures and nothing else of this project's settings."""
    (folder / "test_it.py").write_text(program)
    (folder / "pytest.ini").write_text("[pytest]\n")
    return [
        sys.executable,
        "-m",
        "pytest",
        "-rs",
        "-p",
        "no:cacheprovider",
        "-p",
        "kvcore.testing.fixtures",
        "test_it.py",
    ]


def run_pytest(folder: Path, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one test in a process of its own, with more variables in the environment; CI is only set if it is among them."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | variables
    command = pytest_command(folder, program)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def declare_quorum_queue(cluster: RabbitCluster, name: str) -> None:
    """Declare a durable quorum queue, without a driver."""
    resource = f'rabbit_misc:r(<<"/">>, queue, <<"{name}">>)'
    arguments = '[{<<"x-queue-type">>, longstr, <<"quorum">>}]'
    cluster.ctl("eval", f'rabbit_amqqueue:declare({resource}, true, false, {arguments}, none, <<"tests">>).')


class TestServerProcess:
    """One server and what it has started."""

    def test_start_returns_when_it_answers(self, tmp_path: Path) -> None:
        """`start` returns when the server is ready, and a second one does nothing."""
        with ended(small_server(tmp_path)) as server:
            server.start()
            pid = server.pid
            assert answers(server.port)
            server.start()
            assert server.pid == pid

    @pytest.mark.parametrize("end", [ServerProcess.stop, ServerProcess.kill])
    @pytest.mark.parametrize("paused", [False, True])
    def test_ending_it_ends_what_it_has_started(
        self, tmp_path: Path, end: Callable[[ServerProcess], None], paused: bool
    ) -> None:
        """Neither the process stays nor its child in another session, even if they were paused."""
        with ended(small_server(tmp_path)) as server:
            server.start()
            family = members(server.pid)
            if paused:
                server.pause()
            end(server)
            assert len(family) == 2
            assert not alive(family)
            assert not server.is_running
            assert not server.is_paused

    @pytest.mark.parametrize("paused", [False, True])
    def test_stop_lets_it_end_in_good_order(self, tmp_path: Path, paused: bool) -> None:
        """A server that is stopped has time to say goodbye, even if it was paused."""
        with ended(small_server(tmp_path)) as server:
            server.start()
            if paused:
                server.pause()
            server.stop()
            assert server.log.read_text().splitlines() == ["listening", "goodbye"]

    def test_stop_kills_what_does_not_want_to_end(self, tmp_path: Path) -> None:
        """A server that ignores the signal is killed after the time that it has to stop."""
        with ended(small_server(tmp_path, at_sigterm="stay", stop_within_s=0.1)) as server:
            server.start()
            family = members(server.pid)
            server.stop()
            assert not alive(family)

    def test_a_paused_one_stands_still_until_it_is_resumed(self, tmp_path: Path) -> None:
        """A paused server takes connections, since the kernel does, but says nothing; its children stand still as well."""
        with ended(small_server(tmp_path)) as server:
            server.start()
            server.pause()
            assert {state(member) for member in members(server.pid)} == {"T"}
            with pytest.raises(TimeoutError):
                answers(server.port)
            server.resume()
            assert answers(server.port)
            assert {state(member) for member in members(server.pid)} == {"S"}

    def test_comes_back_where_it_was(self, tmp_path: Path) -> None:
        """After `restart`, another process answers on the same port; its log goes on."""
        with ended(small_server(tmp_path)) as server:
            server.start()
            first = server.pid
            server.restart()
            assert server.pid != first
            assert answers(server.port)
            assert server.log.read_text().count("listening") == 2

    def test_a_failing_start_tells_why(self, tmp_path: Path) -> None:
        """A server that ends instead of becoming ready raises at once, with what it has said."""
        command = [sys.executable, "-c", "raise SystemExit('no such colour')"]
        server = ServerProcess("painter", command, folder=tmp_path, port=free_port(), is_ready=lambda: False)
        with pytest.raises(ServerError, match=r"painter has ended(.|\n)*no such colour"):
            server.start()

    def test_one_that_does_not_become_ready_is_killed(self, tmp_path: Path) -> None:
        """A server that does not become ready in time is not left running."""
        command = [sys.executable, "-c", "import signal; signal.pause()"]
        with ended(
            ServerProcess(
                "sleeper", command, folder=tmp_path, port=free_port(), is_ready=lambda: False, start_within_s=0.1
            )
        ) as server:
            with pytest.raises(ServerError, match="sleeper is ready: not within"):
                server.start()
            assert not server.is_running

    def test_ctrl_c_of_the_terminal_does_not_reach_it(self, tmp_path: Path) -> None:
        """A server is in a session of its own, without the terminal."""
        with ended(small_server(tmp_path)) as server:
            server.start()
            assert os.getsid(server.pid) == server.pid != os.getsid(0)

    def test_the_environment_of_its_user_does_not_reach_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Variables such as RABBITMQ_NODENAME are not inherited."""
        monkeypatch.setenv("RABBITMQ_NODENAME", "mine@home")
        with ended(small_server(tmp_path)) as server:
            server.start()
            assert "RABBITMQ_NODENAME" not in Path(f"/proc/{server.pid}/environ").read_text()


def test_free_ports_are_not_given_twice_nor_to_outgoing_connections() -> None:
    """A port is given once, and lies below those from which the system takes the near ends of connections."""
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = [free_port() for _ in range(1000)]
    assert len(set(ports)) == len(ports)
    assert max(ports) < first_outgoing


class TestRedis:
    """A master, two replicas and three sentinels."""

    @pytest.fixture
    def servers(self, redis_servers: RedisServers) -> Iterator[RedisServers]:
        """Give the servers of the session, and repair them."""
        yield redis_servers
        redis_servers.restore()

    def test_all_answer(self, servers: RedisServers) -> None:
        """There are three Redis servers, of which one is the master, and three sentinels."""
        assert len(servers.replicas) == 2
        assert len(servers.sentinels) == 3
        assert servers.current_master() in (servers.master, *servers.replicas)
        assert re.fullmatch(r"Redis \d+\.\d+\.\d+", servers.version)
        assert all(process.is_running for process in servers.processes)

    @pytest.mark.parametrize("fail", [ServerProcess.kill, ServerProcess.pause])
    def test_a_dead_master_is_replaced(self, servers: RedisServers, fail: Callable[[ServerProcess], None]) -> None:
        """When the master is gone, the sentinels name another; restored, it follows that one and keeps nothing of its own."""
        failed = servers.current_master()
        fail(failed)
        wait_until(lambda: servers.current_master() is not failed, within_s=30, what="another master")
        successor = servers.current_master()
        ask(successor.port, "SET", "after", "the failover", password=servers.password)
        servers.restore()
        assert servers.current_master() is successor
        assert ask(failed.port, "GET", "after", password=servers.password) == "the failover"

    def test_a_dead_sentinel_is_not_missed(self, servers: RedisServers) -> None:
        """The master is known as long as one sentinel lives."""
        servers.sentinels[0].kill()
        servers.sentinels[1].pause()
        assert servers.current_master().is_running

    def test_all_of_it_can_be_killed_and_restored(self, servers: RedisServers) -> None:
        """After a power cut all servers work together again."""
        for process in servers.processes:
            process.kill()
        with pytest.raises(ServerError, match="no sentinel answers"):
            servers.current_master()
        servers.restore()
        assert ask(servers.current_master().port, "PING", password=servers.password) == "PONG"

    def test_a_password_is_needed(self, servers: RedisServers) -> None:
        """Without the password nothing is answered."""
        with pytest.raises(ServerError, match="NOAUTH"):
            ask(servers.master.port, "PING")


class TestRabbit:
    """Three nodes of RabbitMQ."""

    @pytest.fixture
    def cluster(self, rabbitmq_cluster: RabbitCluster) -> Iterator[RabbitCluster]:
        """Give the cluster of the session, and repair it."""
        yield rabbitmq_cluster
        rabbitmq_cluster.restore()

    def test_three_nodes_are_one_cluster(self, cluster: RabbitCluster) -> None:
        """Each node listens on its own port of this machine, and all have found each other."""
        assert len(set(cluster.hosts)) == 3
        assert all(host.startswith("127.0.0.1:") for host in cluster.hosts)
        status = cluster.ctl("cluster_status")
        assert all(status.count(name) > 1 for name in cluster.names)
        assert re.fullmatch(r"RabbitMQ \d+\.\d+\.\d+", cluster.version)

    @pytest.mark.parametrize("fail", [ServerProcess.kill, ServerProcess.pause])
    def test_a_dead_leader_is_replaced(self, cluster: RabbitCluster, fail: Callable[[ServerProcess], None]) -> None:
        """When the node with a queue's leader is gone, another node leads the queue."""
        queue = f"led-{fail.__name__}"
        declare_quorum_queue(cluster, queue)
        failed = cluster.queue_leader(queue)
        fail(failed)
        wait_until(lambda: cluster.queue_leader(queue) is not failed, within_s=60, what=f"another leader than {failed}")

    def test_queues_outlive_a_power_cut(self, cluster: RabbitCluster) -> None:
        """When all nodes were killed, what was declared is there again after `restore`."""
        declare_quorum_queue(cluster, "durable")
        for node in cluster.nodes:
            node.kill()
        with pytest.raises(ServerError, match="no RabbitMQ node is there"):
            cluster.ctl("status")
        cluster.restore()
        assert "durable" in cluster.ctl("list_queues", "name").splitlines()

    def test_an_unknown_queue_has_no_leader(self, cluster: RabbitCluster) -> None:
        """A queue that was not declared raises."""
        with pytest.raises(ServerError, match="no leader of 'nothing' is known"):
            cluster.queue_leader("nothing")


class TestDatabase:
    """CockroachDB or PostgreSQL."""

    @pytest.fixture
    def servers(self, database: Database) -> Iterator[Database]:
        """Give the database of the session, and repair it."""
        yield database
        database.restore()

    def test_says_what_it_is(self, servers: Database) -> None:
        """`kind` and `version` tell which database it is."""
        name = {"cockroachdb": "CockroachDB", "postgresql": "PostgreSQL"}[servers.kind]
        assert servers.version.startswith(f"{name} ")
        assert len(servers.hosts) == len(servers.nodes) == {"cockroachdb": 3, "postgresql": 1}[servers.kind]

    def test_each_created_database_is_another(self, servers: Database) -> None:
        """`create_database` returns the name of a database that is there and was not there before."""
        first, second = servers.create_database(), servers.create_database()
        assert len({first, second, servers.database}) == 3
        listed = servers.execute("SELECT datname FROM pg_database").split()
        assert {first, second, servers.database} <= set(listed)

    @pytest.mark.parametrize("end", [ServerProcess.stop, ServerProcess.kill])
    def test_what_was_written_outlives_the_end_of_all_nodes(
        self, servers: Database, end: Callable[[ServerProcess], None]
    ) -> None:
        """After an end in good order and after a power cut, an acknowledged write is there."""
        table = f"kept_{end.__name__}"
        servers.execute(f"CREATE TABLE {table} AS SELECT 42 AS answer")
        for node in servers.nodes:
            end(node)
        servers.restore()
        assert servers.execute(f"TABLE {table}") == "42"

    def test_a_paused_one_answers_after_it_is_resumed(self, servers: Database) -> None:
        """While all nodes stand still nothing answers; afterwards all is as before."""
        for node in servers.nodes:
            node.pause()
        with pytest.raises(ServerError):
            servers.execute("SELECT 1")
        servers.restore()
        assert servers.execute("SELECT 1") == "1"


@pytest.mark.parametrize(
    ("fixture", "kind"),
    [("redis_servers", RedisServers), ("rabbitmq_cluster", RabbitCluster), ("database", database_class())],
)
def test_nothing_stays_of_servers_that_were_stopped(
    fixture: str, kind: type[ServerGroup], request: pytest.FixtureRequest
) -> None:
    """After the end there is no process, no child of one, and no folder; not even of those that stood still."""
    request.getfixturevalue(fixture)  # to be skipped where that is
    with kind() as group:
        family = [member for process in group.processes for member in members(process.pid)]
        group.processes[-1].pause()
        assert len(alive(family)) >= len(group.processes)
    assert not alive(family)
    assert not group.folder.exists()


@pytest.mark.usefixtures("redis_servers")  # to be skipped where these are
def test_nothing_stays_of_a_failing_start() -> None:
    """When one server does not start, the others are ended, and the message says which one it was."""
    servers = RedisServers()
    (servers.replicas[0].folder / "redis.conf").write_text("colour green\n")
    with pytest.raises(ServerError, match=r"redis-2 has ended(.|\n)*colour green"), servers:
        pytest.fail("it was to fail")
    assert not any(process.is_running for process in servers.processes)
    assert not servers.folder.exists()


@pytest.mark.usefixtures("redis_servers")  # to be skipped where these are
def test_a_given_folder_is_left(tmp_path: Path) -> None:
    """Servers in a folder that the caller has chosen write there, and the folder stays."""
    with RedisServers(tmp_path) as servers:
        assert servers.master.log.is_relative_to(tmp_path)
    assert servers.master.log.exists()


@pytest.mark.usefixtures("redis_servers")  # to be skipped where these are
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_of_an_interrupted_session(tmp_path: Path, ending: signal.Signals) -> None:
    """When pytest is ended by Ctrl-C, or without a chance to clean up, its servers and their folder go with it."""
    with subprocess.Popen(
        pytest_command(tmp_path, USES_REDIS_FOR_EVER), cwd=tmp_path, stdout=subprocess.DEVNULL
    ) as running:
        using = tmp_path / "using"
        wait_until(lambda: using.exists() or running.poll() is not None, within_s=60, what="the test runs")
        folder, *pids = using.read_text().split()
        family = [member for pid in pids for member in members(int(pid))]
        running.send_signal(ending)
        running.wait(30)
    assert len(family) == 6
    wait_until(lambda: not alive(family), within_s=30, what="the servers are gone")
    wait_until(lambda: not Path(folder).exists(), within_s=30, what="the folder is gone")


@pytest.mark.usefixtures("redis_servers")  # to be skipped where these are
def test_the_summary_says_which_servers_were_used(tmp_path: Path) -> None:
    """At its end pytest prints the versions of the servers that the tests have used."""
    done = run_pytest(tmp_path, USES_REDIS)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^tested with Redis \d", done.stdout, re.MULTILINE)


def test_a_missing_server_is_a_reason_to_skip(tmp_path: Path) -> None:
    """Where a server is not installed its tests are skipped, and the reason says what to install."""
    done = run_pytest(tmp_path, USES_REDIS, PATH=str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout
    assert "redis-server is not installed (Debian: apt install redis-server)" in done.stdout


def test_a_missing_server_fails_where_ci_is_set(tmp_path: Path) -> None:
    """In CI, a server that is not installed fails the tests that need it."""
    done = run_pytest(tmp_path, USES_REDIS, PATH=str(tmp_path), CI="true")
    assert done.returncode == 1, done.stdout
    assert "redis-server is not installed (Debian: apt install redis-server)" in done.stdout


def test_starting_servers_needs_no_pytest() -> None:
    """What starts servers is of use outside tests: it imports nothing but the standard library and itself."""
    program = "import sys, kvcore.testing.servers; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(done.stdout.split()) - sys.stdlib_module_names <= {"__main__", "kvcore"}
