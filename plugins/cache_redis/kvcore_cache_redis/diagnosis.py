"""What is wrong with the servers, how that is known, and what to do: for `kvctl doctor`."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from redis import exceptions
from redis.asyncio.connection import Connection

from kvcore.backends import Diagnosis, Finding
from kvcore.errors import SettingsError
from kvcore_cache_redis.addresses import Address, addresses_of_sentinels, check, target_of_url
from kvcore_cache_redis.connecting import Connector, end, exchange
from kvcore_cache_redis.master import fields
from kvcore_cache_redis.settings import RedisSettings
from kvcore_cache_redis.translating import FAILURES, reason

__all__ = ("diagnose",)

_OLDEST = (6, 2)

Level = Literal["ok", "warning", "error"]


class _Seen(NamedTuple):
    """What was found at one server or Sentinel; `view` where it is a Sentinel that answers."""

    name: str
    findings: list[Finding]
    ahead_ms: int | None = None
    view: _View | None = None


class _View(NamedTuple):
    """How a Sentinel sees its master."""

    master: Address
    epoch: int
    replicas: Sequence[Address]


async def diagnose(settings: RedisSettings) -> Diagnosis:
    """Look at every Sentinel, at the master, and at every replica that the Sentinels know."""
    try:
        check(settings)
        to_servers, to_sentinels = Connector(settings), Connector(settings, to_sentinels=True)
    except SettingsError as error:
        remedy = "mend the settings in the table [cache.redis]"
        return Diagnosis(findings=[Finding(level="error", about="settings", what=str(error), remedy=remedy)])
    if settings.url is not None:
        address = target_of_url(settings.url).address
        seen = [await _look_at_server(address, to_servers, settings, is_master=True)]
        return _diagnosis(seen, [])
    addresses = addresses_of_sentinels(settings.sentinels)
    sentinels = await asyncio.gather(
        *(_look_at_sentinel(address, to_sentinels, settings.master_name, len(addresses)) for address in addresses)
    )
    views = [one.view for one in sentinels if one.view is not None]
    masters = {view.master for view in views}
    replicas = {replica for view in views for replica in view.replicas} - masters
    servers = await asyncio.gather(
        *(_look_at_server(address, to_servers, settings, is_master=True) for address in sorted(masters)),
        *(_look_at_server(address, to_servers, settings, is_master=False) for address in sorted(replicas)),
    )
    return _diagnosis([*sentinels, *servers], _compare(settings, views, len(addresses)))


def _diagnosis(seen: Sequence[_Seen], more: Sequence[Finding]) -> Diagnosis:
    return Diagnosis(
        findings=[*(finding for one in seen for finding in one.findings), *more],
        ahead_ms={one.name: one.ahead_ms for one in seen if one.ahead_ms is not None},
    )


# --- Sentinels --------------------------------------------------------------------------------------------------------


async def _look_at_sentinel(address: Address, connector: Connector, master_name: str, configured: int) -> _Seen:
    name = f"Sentinel {address}"
    try:
        async with asyncio.timeout(3 * connector.timeout_s):
            connection = await connector.open(address)
            try:
                return await _sentinel_seen(name, connection, master_name, configured)
            finally:
                await end(connection, connector.timeout_s)
    except FAILURES as error:
        return _Seen(name, [_unreachable(name, error, connector, prefix="sentinel_")])


async def _sentinel_seen(name: str, connection: Connection, master_name: str, configured: int) -> _Seen:
    ahead_ms = await _ahead_ms(connection)
    try:
        (state,) = await exchange(connection, ("SENTINEL", "MASTER", master_name))
    except exceptions.ResponseError as error:
        if "unknown command" in str(error):
            remedy = "name the Sentinels in cache.redis.sentinels (their port is 26379 by default), not the servers"
            return _Seen(name, [_finding("error", name, "it is no Sentinel", error, remedy)], ahead_ms)
        (known,) = await exchange(connection, ("SENTINEL", "MASTERS"))
        names = ", ".join(_texts(one)["name"] for one in known) or "none"
        finding = _finding("error", name, f"it knows no master {master_name!r}, but: {names}", error,
                           "set cache.redis.master_name to the name in `sentinel monitor <name> ...`")  # fmt: skip
        return _Seen(name, [finding], ahead_ms)
    ((host, port), replicas) = await exchange(
        connection,
        ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", master_name),
        ("SENTINEL", "REPLICAS", master_name),
    )
    followers = [Address(one["ip"], int(one["port"])) for one in map(_texts, replicas)]
    seen = _texts(state)
    view = _View(Address(host.decode(), int(port)), int(seen["config-epoch"]), followers)
    findings = [*_of_the_group(name, seen, configured), *await _of_the_quorum(name, connection, master_name)]
    return _Seen(name, findings or [_finding("ok", name, f"it names {view.master} as the master")], ahead_ms, view)


def _of_the_group(name: str, state: dict[str, str], configured: int) -> list[Finding]:
    findings = []
    flags = state["flags"].split(",")
    if "s_down" in flags or "o_down" in flags:
        findings.append(
            _finding("error", name, "it sees the master down", f"flags {state['flags']}",
                     "start the master, or find out why no replica takes its place: is there one, and a quorum?")
        )  # fmt: skip
    if (known := int(state["num-other-sentinels"]) + 1) != configured:
        findings.append(
            _finding("warning", name, f"{configured} Sentinels are configured, but it knows {known}",
                     f"num-other-sentinels {known - 1}",
                     "name all in cache.redis.sentinels; if one has gone for good, `SENTINEL RESET` on the others")
        )  # fmt: skip
    return findings


async def _of_the_quorum(name: str, connection: Connection, master_name: str) -> list[Finding]:
    try:
        await exchange(connection, ("SENTINEL", "CKQUORUM", master_name))
    except exceptions.ResponseError as error:
        remedy = "start the Sentinels that are away: until then no replica can take the place of a dead master"
        return [_finding("error", name, "there are not enough Sentinels for a failover", error, remedy)]
    return []


def _compare(settings: RedisSettings, views: Sequence[_View], configured: int) -> list[Finding]:
    about = f"master {settings.master_name!r}"
    if not views:
        return [_finding("error", about, "no Sentinel says where it is", "", "start the Sentinels, or mend the above")]
    findings = []
    if len(masters := {view.master for view in views}) > 1:
        told = ", ".join(f"{view.master} (epoch {view.epoch})" for view in views)
        findings.append(
            _finding("error", about, f"the Sentinels disagree: {len(masters)} servers are called the master", told,
                     "if it lasts for longer than a failover: look whether the Sentinels reach each other")
        )  # fmt: skip
    if configured < 3:
        findings.append(
            _finding("warning", about, f"there is no majority when one of {configured} Sentinels is away",
                     f"cache.redis.sentinels has {configured}", "run three Sentinels, on machines of their own")
        )  # fmt: skip
    if not any(view.replicas for view in views):
        findings.append(
            _finding("warning", about, "it has no replica to take its place", "SENTINEL REPLICAS is empty",
                     "start replicas with `replicaof`, and the master's password as `masterauth`")
        )  # fmt: skip
    return findings


# --- servers ----------------------------------------------------------------------------------------------------------


async def _look_at_server(address: Address, connector: Connector, settings: RedisSettings, *, is_master: bool) -> _Seen:
    name = f"Redis {address}"
    try:
        async with asyncio.timeout(3 * connector.timeout_s):
            connection = await connector.open(address)
            try:
                ahead_ms = await _ahead_ms(connection)
                info = fields((await exchange(connection, ("INFO",)))[0])
                findings = _of_the_server(name, info)
                if is_master:
                    findings += await _of_the_master(name, info, connection, settings)
                else:
                    findings += _of_the_replica(name, info)
            finally:
                await end(connection, connector.timeout_s)
    except FAILURES as error:
        return _Seen(name, [_unreachable(name, error, connector)])
    said = f"{info.get('role', '')}, version {info.get('redis_version', 'unknown')}"
    return _Seen(name, findings or [_finding("ok", name, said)], ahead_ms)


def _of_the_server(name: str, info: dict[str, str]) -> list[Finding]:
    findings = []
    version = info.get("redis_version", "0.0")
    if tuple(int(number) for number in version.split(".")[:2]) < _OLDEST:
        least = ".".join(map(str, _OLDEST))
        findings.append(_finding("error", name, "it is too old", f"redis_version {version}", f"upgrade to {least}"))
    if info.get("cluster_enabled") == "1":
        findings.append(
            _finding("error", name, "it is part of a Redis Cluster, which is not supported", "cluster_enabled 1",
                     "use a master and replicas with Sentinels")
        )  # fmt: skip
    return findings + _of_the_memory(name, info)


def _of_the_memory(name: str, info: dict[str, str]) -> list[Finding]:
    most, policy = int(info.get("maxmemory", 0)), info.get("maxmemory_policy", "")
    evidence = f"maxmemory {most}, maxmemory-policy {policy}"
    remedy = "set `maxmemory-policy volatile-ttl`, which evicts first what would end first"
    if most == 0 or policy == "volatile-ttl":
        return []
    if policy == "noeviction":
        return [_finding("warning", name, "it refuses writes when its memory is full", evidence, remedy)]
    return [_finding("warning", name, "it may evict entries that the store does not have yet", evidence, remedy)]


async def _of_the_master(
    name: str, info: dict[str, str], connection: Connection, settings: RedisSettings
) -> list[Finding]:
    if info.get("role") != "master":
        remedy = "name the master in cache.redis.url, or use cache.redis.sentinels, which know it"
        return [_finding("error", name, "it is a replica", f"role {info.get('role')}", remedy)]
    findings = []
    try:
        await exchange(connection, ("HDEL", f"{settings.namespace}.era", "probe"))
    except exceptions.ResponseError as error:
        remedy = "see its words and its log: replicas that are away (min-replicas-to-write), a full disk, access rules"
        findings.append(_finding("error", name, "it takes no writes", error, remedy))
    if settings.sentinels and info.get("connected_slaves") == "0":
        findings.append(
            _finding("warning", name, "no replica is connected to it", "connected_slaves 0",
                     "start the replicas; if they run, see whether `masterauth` is the master's password")
        )  # fmt: skip
    if settings.sentinels and "min_slaves_good_slaves" not in info:
        findings.append(
            _finding("warning", name, "when it is cut off from its replicas it goes on taking writes",
                     "min-replicas-to-write is not set", "set `min-replicas-to-write 1` and `min-replicas-max-lag 10`")
        )  # fmt: skip
    return findings


def _of_the_replica(name: str, info: dict[str, str]) -> list[Finding]:
    if info.get("role") == "master":
        remedy = "wait for the Sentinels to make it a replica; if it lasts, see whether they reach it"
        return [_finding("warning", name, "it takes itself for a master", "role master", remedy)]
    if info.get("master_link_status") != "up":
        remedy = "see whether it reaches the master, and whether `masterauth` is the master's password"
        evidence = f"master_link_status {info.get('master_link_status')}"
        return [_finding("warning", name, "it does not follow the master", evidence, remedy)]
    return []


# --- what both have ---------------------------------------------------------------------------------------------------


def _unreachable(name: str, error: Exception, connector: Connector, *, prefix: str = "") -> Finding:
    what, remedy = _meaning(error, f"cache.redis.{prefix}")
    if connector.speaks_tls and "cache.redis.tls" not in remedy:
        remedy += "; a server that does not speak TLS (see cache.redis.tls) looks like this too"
    return _finding("error", name, what, reason(error), remedy)


def _meaning(error: Exception, settings: str) -> tuple[str, str]:
    """Say what it means that a server cannot be used, and what to do."""
    words = str(error)  # the driver keeps nothing else of what TLS says
    if getattr(error, "status_code", None) == "NOAUTH" or "NOAUTH" in words:
        return "it wants a password, and none is set", f"set {settings}password, or {settings}password_file"
    if isinstance(error, exceptions.AuthenticationError):
        return "it refuses the user or password", f"mend {settings}username and {settings}password"
    if isinstance(error, exceptions.NoPermissionError):
        return "its access rules forbid what is needed", f"give the user of {settings}username more rights (ACL)"
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return "its certificate is not trusted", "set cache.redis.tls_ca_file to the authority that signed it"
    if isinstance(error, ssl.SSLError) or "[SSL: " in words:
        return "it does not speak TLS, or not with this certificate", "mend cache.redis.tls, or its `tls-port`"
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return "it does not answer in time", "see whether it runs and is well, and whether a firewall is in between"
    if isinstance(error, exceptions.BusyLoadingError):
        return "it is still loading its data", "wait"
    if isinstance(error, exceptions.ResponseError):
        return "it refuses what is asked of it", "see its words; is it Redis, and of a version that is supported?"
    if "connecting to" in words:
        return "it cannot be reached", "see whether it runs, and whether address and port are right"
    return "it ends the connection at once", "if it speaks TLS, set cache.redis.tls; else see its log"


async def _ahead_ms(connection: Connection) -> int:
    before_s = time.time()
    (server,) = await exchange(connection, ("INFO", "server"))
    here_s = (before_s + time.time()) / 2
    return round(int(fields(server).get("server_time_usec", here_s * 1e6)) / 1000 - here_s * 1000)


def _texts(state: dict[bytes, Any]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in state.items()}


def _finding(level: Level, about: str, what: str, evidence: object = "", remedy: str = "") -> Finding:
    return Finding(level=level, about=about, what=what, evidence=str(evidence), remedy=remedy)
