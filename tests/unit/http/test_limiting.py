"""How many requests are let in: rates by token and by address, and what is under way."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import generate_latest

from kvcore.access import ANYBODY, STRANGER, Grant
from kvcore.config import resolve
from kvcore.errors import OverloadedError, RateLimitedError, SettingsError
from kvcore.http import limiting
from kvcore.http.addresses import Addresses
from kvcore.http.limiting import Limiter, RateLimit
from kvcore.metrics import Metrics
from kvcore.plugins import load_plugins

READER = Grant("reader", frozenset(("read",)))


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limiter(**limits: Any) -> tuple[Limiter, Metrics]:
    """Return a limiter with some limits set, and its metrics."""
    flags = {"profile": "memory"} | {f"limits.{name}": str(value) for name, value in limits.items()}
    metrics = Metrics()
    return Limiter(resolve(load_plugins(), environment={}, flags=flags).settings, metrics), metrics


def scope(path: str = "/kv", client: str = "192.0.2.1", *forwarded: bytes) -> Any:
    """Return as much of a request's scope as matters here."""
    headers = [(b"x-forwarded-for", value) for value in forwarded]
    return {"path": path, "client": (client, 1), "headers": headers}


def counted(metrics: Metrics, limit: str) -> bool:
    """Tell whether the limit was met once."""
    return f'kvcore_http_limited_total{{limit="{limit}"}} 1.0' in generate_latest(metrics.registry).decode()


# --- token buckets ----------------------------------------------------------------------------------------------------


def test_a_full_bucket_gives_its_burst_and_then_one_call_at_a_time() -> None:
    """After a pause a caller may call `burst` times at once, and from then on at the rate."""
    clock = Clock()
    rate = RateLimit(10, 3, clock=clock)
    assert [rate.take("a") for _ in range(3)] == [0, 0, 0]
    assert rate.take("a") == pytest.approx(0.1)
    clock.now += 0.1
    assert rate.take("a") == 0
    assert rate.take("a") == pytest.approx(0.1)


@pytest.mark.parametrize("rate_per_s", [0.1, 3, 7, 1000])
def test_who_waits_as_told_is_let_in(rate_per_s: float) -> None:
    """After the time that a refusal tells there is a call, and not before."""
    clock = Clock()
    rate = RateLimit(rate_per_s, 5, clock=clock)
    for _ in range(50):
        while not (wait_s := rate.take("a")):
            pass
        clock.now += wait_s * 0.9
        assert rate.take("a") > 0
        clock.now += wait_s * 0.1
        assert rate.take("a") == 0


def test_refused_calls_cost_nothing() -> None:
    """Who goes on calling while refused does not wait longer for that."""
    clock = Clock()
    rate = RateLimit(1, 1, clock=clock)
    assert [rate.take("a"), rate.take("a"), rate.take("a")] == [0, 1, 1]


def test_each_caller_has_a_bucket_of_its_own() -> None:
    """One caller's calls are not another's."""
    rate = RateLimit(1, 1, clock=Clock())
    assert [rate.take("a"), rate.take("b"), rate.take("a")] == [0, 0, 1]


@pytest.mark.parametrize(("rate_per_s", "burst"), [(0.5, 1), (1.9, 1), (20, 20)])
def test_the_burst_is_what_a_second_allows_unless_it_is_set(rate_per_s: float, burst: int) -> None:
    """Without a burst of its own a bucket holds the calls of one second, and at least one."""
    rate = RateLimit(rate_per_s, clock=Clock())
    assert [rate.take("a") for _ in range(burst)] == [0] * burst
    assert rate.take("a") > 0


def test_full_buckets_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller who has not called for long takes no memory, and of too many the one of the longest ago is forgotten."""
    monkeypatch.setattr(limiting, "_KNOWN_CALLERS", 100)
    clock = Clock()
    rate = RateLimit(1, 1, clock=clock)
    for number in range(1000):
        rate.take(str(number))
    assert len(rate) == 100
    assert [rate.take("0"), rate.take("999")] == [0, 1]
    clock.now += 2
    for number in range(200):
        rate.take(f"late {number}")
        clock.now += 1
    assert len(rate) <= 2


def test_who_calls_again_and_again_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are too many callers, one who goes on calling does not get a full bucket by that."""
    monkeypatch.setattr(limiting, "_KNOWN_CALLERS", 10)
    rate = RateLimit(1, 100, clock=Clock())
    for number in range(100):
        assert rate.take("busy") == 0
        rate.take(str(number))
    assert rate.take("busy") > 0


# --- which address ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "forwarded", "caller"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", [b"198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [b"203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [b"203.0.113.9, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", [b"203.0.113.9", b"198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [b"10.0.0.3,10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [b"198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", [b"198.51.100.7, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [b""], "10.0.0.1"),
        ("10.0.0.1", [b"2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ("10.0.0.1", [b"[2001:db8:1:2::1]:4711"], "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", [b"198.51.100.7"], "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
        ("fe80::1%eth0", [], "fe80::/64"),
        ("fd00::1", [b"198.51.100.7"], "198.51.100.7"),
        ("", [], ""),
    ],
)
def test_the_address_is_the_last_one_that_no_trusted_proxy_has(
    client: str, forwarded: list[bytes], caller: str
) -> None:
    """`X-Forwarded-For` is believed from its end on, and only of trusted proxies; an IPv6 network of 64 bits is one caller."""
    assert Addresses(("10.0.0.0/8", "fd00::/8")).caller(scope("/kv", client, *forwarded)) == caller


def test_no_proxy_is_trusted_unless_it_is_named() -> None:
    """Without a setting nobody can choose the address that they are counted for."""
    assert Addresses().caller(scope("/kv", "127.0.0.1", b"198.51.100.7")) == "127.0.0.1"


def test_an_endless_list_of_hops_is_read_from_its_end_only() -> None:
    """However long the field is, a few hops are looked at."""
    hops = b",".join([b"10.0.0.1"] * 50_000)
    assert Addresses(("10.0.0.0/8",)).caller(scope("/kv", "10.0.0.9", b"198.51.100.7," + hops)) == "10.0.0.1"


def test_a_trusted_proxy_that_is_no_network_is_refused() -> None:
    """A setting that names none says so, and where it comes from."""
    with pytest.raises(SettingsError, match=r"http\.trusted_proxies.*10\.0\.0\.0/99.*flag"):
        resolve(load_plugins(), environment={}, flags={"profile": "memory", "http.trusted_proxies": '["10.0.0.0/99"]'})


# --- who is let in ----------------------------------------------------------------------------------------------------


def test_nobody_is_limited_unless_it_is_set() -> None:
    """Without settings any number of requests per second is served."""
    limits, _ = limiter()
    for _ in range(5000):
        limits.admit(scope(), 1)
        limits.admit_grant(READER)


def test_an_address_that_sends_too_much_is_told_how_long_to_wait() -> None:
    """Beyond its rate an address is refused, and it is counted; another address is not."""
    limits, metrics = limiter(address_rate_per_s=0.01, address_burst=2)
    limits.admit(scope(), 1)
    limits.admit(scope(), 1)
    with pytest.raises(RateLimitedError) as refused:
        limits.admit(scope(), 1)
    assert refused.value.retry_after_s == pytest.approx(100, abs=1)
    assert refused.value.outcome == "not-applied"
    assert counted(metrics, "address-rate")
    limits.admit(scope(client="192.0.2.2"), 1)


def test_a_token_that_sends_too_much_is_refused_from_whatever_address() -> None:
    """Beyond its rate a token is refused, and it is counted; another token is not."""
    limits, metrics = limiter(token_rate_per_s=0.01)
    limits.admit_grant(READER)
    with pytest.raises(RateLimitedError):
        limits.admit_grant(READER)
    assert counted(metrics, "token-rate")
    limits.admit_grant(Grant("another", READER.scopes))


def test_a_token_without_a_scope_has_its_rate_too() -> None:
    """Whoever is known is counted, whatever they may do."""
    limits, _ = limiter(token_rate_per_s=0.01)
    limits.admit_grant(Grant("powerless", frozenset()))
    with pytest.raises(RateLimitedError):
        limits.admit_grant(Grant("powerless", frozenset()))


@pytest.mark.parametrize("grant", [ANYBODY, STRANGER])
def test_who_has_no_token_has_no_limit_by_token(grant: Grant) -> None:
    """All who send no token are not one caller."""
    limits, _ = limiter(token_rate_per_s=0.01)
    for _ in range(10):
        limits.admit_grant(grant)


def test_too_many_requests_under_way_are_refused() -> None:
    """Beyond the bound, what comes is refused as not applied, and counted."""
    limits, metrics = limiter(concurrent_requests=2)
    limits.admit(scope(), 2)
    with pytest.raises(OverloadedError) as refused:
        limits.admit(scope(), 3)
    assert refused.value.outcome == "not-applied"
    assert counted(metrics, "concurrent-requests")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_load_balancers_are_always_answered(path: str) -> None:
    """No limit keeps anybody from asking whether the node lives and is ready."""
    limits, _ = limiter(concurrent_requests=1, address_rate_per_s=0.01)
    for _ in range(5):
        limits.admit(scope(path), 9)
