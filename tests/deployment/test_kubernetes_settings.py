"""kvcore's settings against what deploy/kubernetes says around them: addresses, times, sizes, metrics, and paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kvcore.config import Resolved, resolve
from kvcore.http.gate import _rules
from kvcore.metrics import Metrics
from kvcore.plugins import load_plugins
from kvcore.settings import AuthSettings
from tests.deployment.kubernetes_manifests import KUBERNETES, ROOT, Manifest, collected, identity, read, workloads
from tests.deployment.test_kubernetes_wiring import ports_of
from tests.monitoring.expressions import named
from tests.monitoring.monitoring import alerts, jobs

SECRETS = "/run/secrets/kvcore"
SETTINGS = sorted(KUBERNETES.rglob("kvcore.toml"))
ROUTES = _rules(AuthSettings())
CHARTS = KUBERNETES / "charts"

files = pytest.mark.parametrize("file", [pytest.param(path, id=str(path.relative_to(KUBERNETES))) for path in SETTINGS])

processes = pytest.mark.parametrize(
    "name", ["Deployment/kvcore-api", "Deployment/kvcore-worker", "Job/kvcore-migration"]
)


def settings(file: Path, folder: Path) -> Resolved:
    """Return what a pod makes of a file of settings; its secrets are in a folder."""
    for name in mounted():
        (folder / name).write_text("tokens = []" if name.endswith(".toml") else "secret\n", encoding="utf-8")
    text = file.read_text(encoding="utf-8")
    assert SECRETS in text
    (folder / "kvcore.toml").write_text(text.replace(SECRETS, str(folder)), encoding="utf-8")
    environment = {"KVCORE_CONFIG": str(folder / "kvcore.toml"), "KVCORE_QUEUE__RABBITMQ__USERNAME": "somebody"}
    return resolve(load_plugins(), environment=environment)


def mounted(name: str = "Deployment/kvcore-api") -> set[str]:
    """Return the names of the files that the pods of a resource find among their secrets."""
    volumes = workload(name)["spec"]["volumes"]
    (projected,) = (volume["projected"] for volume in volumes if "projected" in volume)
    return {item["path"] for source in projected["sources"] for inner in source.values() for item in inner["items"]}


def resource(name: str, overlay: str = "production") -> Manifest:
    """Return a resource, by its kind and name."""
    (found,) = (one for one in collected(overlay) if identity(one) == name)
    return found


def workload(name: str) -> Manifest:
    """Return the template of the pods that a resource makes."""
    return workloads(collected("production"))[name]


@files
def test_a_node_takes_the_settings(file: Path, tmp_path: Path) -> None:
    """A node accepts each kvcore.toml; it asks for tokens, trusts proxies, logs JSON, and verifies the database's certificate."""
    resolved = settings(file, tmp_path)
    assert resolved.settings.profile == "production"
    assert resolved.settings.auth.file == str(tmp_path / "tokens.toml")
    assert resolved.settings.http.trusted_proxies
    assert resolved.settings.log.format == "json"
    store: Any = resolved.backends["store"]
    assert (store.tls, store.ca_file) == ("verify-full", str(tmp_path / "ca.crt"))
    queue: Any = resolved.backends["queue"]
    assert (queue.username, queue.password.reveal()) == ("somebody", "secret")


@processes
@files
def test_every_secret_that_is_mounted_is_read(file: Path, name: str) -> None:
    """Pods get the files that the settings name, without which none starts, and no others."""
    assert set(re.findall(rf"{SECRETS}/([\w.]+)", file.read_text(encoding="utf-8"))) == mounted(name)


@processes
def test_pods_find_their_settings(name: str) -> None:
    """The settings and the secrets are mounted where the environment and the settings say."""
    (container,) = workload(name)["spec"]["containers"]
    places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    environment = {one["name"]: one.get("value") for one in container["env"]}
    assert environment["KVCORE_CONFIG"] == f"{places['configuration']}/kvcore.toml"
    assert places["secrets"] == SECRETS
    assert not any("subPath" in mount for mount in container["volumeMounts"])


def test_addresses_of_servers_are_those_of_services(tmp_path: Path) -> None:
    """Each server in the settings is a pod of a StatefulSet by its headless Service, one of RabbitMQ's, or a Service."""
    resolved = settings(KUBERNETES / "base" / "kvcore.toml", tmp_path)
    cache: Any = resolved.backends["cache"]
    queue: Any = resolved.backends["queue"]
    store: Any = resolved.backends["store"]
    sentinel = resource("StatefulSet/redis-sentinel")
    assert resource("Service/redis-sentinel")["spec"]["clusterIP"] == "None"
    assert list(cache.sentinels) == [
        f"redis-sentinel-{number}.{sentinel['spec']['serviceName']}:{ports_of(sentinel['spec']['template'])['sentinel']}"
        for number in range(sentinel["spec"]["replicas"])
    ]
    rabbitmq = resource("RabbitmqCluster/rabbitmq")["spec"]
    assert list(queue.hosts) == [
        f"rabbitmq-server-{number}.rabbitmq-nodes:5672" for number in range(rabbitmq["replicas"])
    ]
    assert queue.replicas == rabbitmq["replicas"]
    (port,) = resource("Service/kvcore-database")["spec"]["ports"]
    assert list(store.hosts) == [f"kvcore-database:{port['port']}"]
    assert port["targetPort"] == resource("CrdbCluster/cockroachdb")["spec"]["template"]["spec"]["sqlPort"]
    assert "kvcore-database" in resource("Certificate/cockroachdb-node")["spec"]["dnsNames"]


def test_redis_and_its_sentinels_know_each_other(tmp_path: Path) -> None:
    """The scripts name the Services, ports and master of the settings and the StatefulSets."""
    cache: Any = settings(KUBERNETES / "base" / "kvcore.toml", tmp_path).backends["cache"]
    folder = KUBERNETES / "components" / "redis-sentinel"
    redis, sentinel = ((folder / f"start-{name}.sh").read_text(encoding="utf-8") for name in ("redis", "sentinel"))
    assert f"sentinel monitor {cache.master_name} redis-0.redis 6379 2\n" in sentinel
    assert f"GET-MASTER-ADDR-BY-NAME {cache.master_name} " in redis
    assert "redis-sentinel-$number.redis-sentinel" in redis
    assert (
        f"for number in {' '.join(map(str, range(resource('StatefulSet/redis-sentinel')['spec']['replicas'])))}; do"
        in redis
    )
    for name, port in (("redis", 6379), ("redis-sentinel", 26379)):
        stateful_set = resource(f"StatefulSet/{name}")["spec"]
        assert stateful_set["serviceName"] == name
        assert list(ports_of(stateful_set["template"]).values()) == [port]


@pytest.mark.parametrize(
    ("name", "setting"), [("Deployment/kvcore-api", "http"), ("Deployment/kvcore-worker", "worker")]
)
@files
def test_ports_and_times_fit_the_settings(name: str, setting: str, file: Path, tmp_path: Path) -> None:
    """A pod's port is the one that the process listens on, and it is given more time to end than the process takes at most."""
    resolved = settings(file, tmp_path).settings
    spec = workload(name)["spec"]
    assert list(ports_of(workload(name)).values()) == [getattr(resolved, setting).port]
    assert getattr(resolved, setting).host == "0.0.0.0"  # noqa: S104 - what is expected, nothing listens here
    ends_after = resolved.http.drain_s + resolved.http.shutdown_s if setting == "http" else resolved.worker.shutdown_s
    assert spec["terminationGracePeriodSeconds"] >= ends_after + 5


@files
def test_nodes_serve_on_until_nobody_asks_them(file: Path, tmp_path: Path) -> None:
    """A node that ends serves on for longer than its probe takes to fail, and than the ingress keeps idle connections."""
    drain_s = settings(file, tmp_path).settings.http.drain_s
    (container,) = workload("Deployment/kvcore-api")["spec"]["containers"]
    probe = container["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"] < drain_s
    assert int(read(CHARTS / "ingress-nginx.yaml")["controller"]["config"]["upstream-keepalive-timeout"]) < drain_s


@pytest.mark.parametrize("name", ["Deployment/kvcore-api", "Deployment/kvcore-worker"])
def test_probes_ask_what_answers_without_a_token(name: str) -> None:
    """Probes ask paths that there are, and that never need a token; that of liveness touches no server."""
    (container,) = workload(name)["spec"]["containers"]
    paths = {kind: container[kind]["httpGet"]["path"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": "/health/live", "readinessProbe": "/health/ready", "livenessProbe": "/health/live"}
    assert {ROUTES[path] for path in paths.values()} == {"open"}


def test_memory_grows_from_settings_to_limits(tmp_path: Path) -> None:
    """Redis: kvcore's own bound, then the server's, then the container's. Nodes: the alert comes before the kernel."""
    cache: Any = settings(KUBERNETES / "base" / "kvcore.toml", tmp_path).backends["cache"]
    text = (KUBERNETES / "components" / "redis-sentinel" / "redis.conf").read_text(encoding="utf-8")
    maxmemory = re.search(r"^maxmemory (\d+)mb$", text, re.MULTILINE)
    assert maxmemory is not None
    # kvcore makes room at nine tenths of maxmemory too, so its own bound is to come first.
    assert cache.max_memory_bytes < 0.9 * int(maxmemory[1]) * 2**20
    assert 1.5 * int(maxmemory[1]) * 2**20 < memory_limit("StatefulSet/redis")
    threshold = re.search(r"> ([\d.]+) \* 2 \^ 30$", alerts()["KvcoreMemory"]["expr"])
    assert threshold is not None
    assert float(threshold[1]) * 2**30 < memory_limit("Deployment/kvcore-api")


def memory_limit(name: str) -> int:
    """Return how many bytes the container of a resource may take."""
    (container,) = workload(name)["spec"]["containers"]
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", container["resources"]["limits"]["memory"]).groups()  # type: ignore[union-attr]  # it fits, or the test fails
    return int(number) * (2**20 if unit == "Mi" else 2**30)


def metric_names() -> set[str]:
    """Return the names that expressions may ask for: as docs/metrics.md lists them, which is made from the same."""
    names = {metric.name: metric.type for metric in Metrics().described()}
    endings = {
        f"{name}_{ending}"
        for name, type_ in names.items()
        if type_ == "histogram"
        for ending in ("bucket", "count", "sum")
    }
    return {"up", *endings, *(name for name, type_ in names.items() if type_ != "histogram")}


def queries() -> dict[str, str]:
    """Return the expressions by which pods are scaled."""
    (rule,) = read(CHARTS / "prometheus-adapter.yaml")["rules"]["custom"]
    latency = rule["metricsQuery"].replace("<<.Series>>", "kvcore_http_request_duration_seconds_bucket")
    for variable, value in (("<<.LabelMatchers>>", 'namespace="kvcore",pod="kvcore-api-1"'), ("<<.GroupBy>>", "pod")):
        latency = latency.replace(variable, value)
    triggers = resource("ScaledObject/kvcore-worker")["spec"]["triggers"]
    return {"series": rule["seriesQuery"], "latency": latency} | {
        one["name"]: one["metadata"]["query"] for one in triggers
    }


@pytest.mark.parametrize("name", ["series", "latency", "lag", "waiting"])
def test_what_scales_asks_for_metrics_that_there_are(name: str) -> None:
    """The expressions of the adapter and of KEDA name metrics that nodes and workers show, of the jobs that are scraped."""
    found = named(queries()[name])
    assert found.metrics
    assert found.metrics <= metric_names()
    assert {matcher.value for matcher in found.matchers if matcher.label == "job"} <= jobs()


@pytest.mark.parametrize("name", ["lag", "waiting"])
def test_workers_are_not_scaled_by_another_installation(name: str) -> None:
    """KEDA asks for the metrics of its own namespace alone: a Prometheus may watch several installations."""
    namespace = read(KUBERNETES / "overlays" / "production" / "kustomization.yaml")["namespace"]
    found = named(queries()[name])
    assert {matcher.value for matcher in found.matchers if matcher.label == "namespace"} == {namespace}


def test_operations_counted_for_latency_are_those_of_the_alert() -> None:
    """Nodes are scaled by the latency of the same operations that the alert KvcoreSlow is about."""
    asked = re.search(r'operation=~"([^"]+)"', queries()["latency"])
    assert asked is not None
    assert f'operation=~"{asked[1]}"' in alerts()["KvcoreSlow"]["expr"]


def test_the_autoscaler_asks_for_what_the_adapter_gives() -> None:
    """The metric that the component prometheus adds to the autoscaler has the name that the adapter's rule makes."""
    (rule,) = read(CHARTS / "prometheus-adapter.yaml")["rules"]["custom"]
    (patch,) = read(KUBERNETES / "components" / "prometheus" / "kustomization.yaml")["patches"]
    assert f"name: {rule['name']['as']}\n" in patch["patch"]
    assert re.fullmatch(rule["name"]["matches"], rule["seriesQuery"].partition("{")[0])


def test_monitors_name_the_jobs_of_the_alerts() -> None:
    """Prometheus gives what it scrapes the jobs that alerts and dashboards ask for, from the path that has the metrics."""
    monitors = [one for one in collected("production") if one["kind"] == "PodMonitor"]
    endpoints = [endpoint for one in monitors for endpoint in one["spec"]["podMetricsEndpoints"]]
    assert {endpoint["path"] for endpoint in endpoints} == {"/metrics"} <= ROUTES.keys()
    named_jobs = [relabeling["replacement"] for one in endpoints for relabeling in one["relabelings"]]
    assert sorted(named_jobs) == sorted(jobs())


def test_whoever_asks_from_outside_sees_neither_metrics_nor_the_administration() -> None:
    """Ingress and Gateway route the paths of the API, and neither /admin nor /metrics: each path of a node is either here or there."""
    (ingress,) = resource("Ingress/kvcore")["spec"]["rules"]
    by_ingress = {path["path"]: path["pathType"] == "Prefix" for path in ingress["http"]["paths"]}
    (rule,) = read(KUBERNETES / "components" / "gateway" / "api-route.yaml")["spec"]["rules"]
    by_gateway = {match["path"]["value"]: match["path"]["type"] == "PathPrefix" for match in rule["matches"]}
    assert by_ingress == by_gateway
    for route in ROUTES:
        is_public = any(
            route == path or (is_prefix and route.startswith(path.rstrip("/") + "/"))
            for path, is_prefix in by_ingress.items()
        )
        assert is_public is not route.startswith(("/admin", "/metrics")), route


def test_the_ingress_repeats_nothing_and_takes_what_the_api_takes(tmp_path: Path) -> None:
    """The ingress sends no request twice, and lets through the largest body and the longest key, percent-encoded."""
    limits = settings(KUBERNETES / "base" / "kvcore.toml", tmp_path).settings.limits
    annotations = {
        name.removeprefix("nginx.ingress.kubernetes.io/"): value
        for name, value in resource("Ingress/kvcore")["metadata"]["annotations"].items()
    }
    assert annotations["proxy-next-upstream"] == "off"
    assert int(annotations["proxy-body-size"].removesuffix("m")) * 2**20 > limits.batch_bytes
    assert int(annotations["proxy-read-timeout"]) > 10 + limits.read_deadline_s
    buffers = read(CHARTS / "ingress-nginx.yaml")["controller"]["config"]["large-client-header-buffers"]
    assert int(buffers.split()[1].removesuffix("k")) * 1024 > 3 * limits.max_key_bytes


def test_the_page_counts_the_connections(tmp_path: Path) -> None:
    """docs/deployment/kubernetes.md says how many connections all processes together open at the most, during an update too."""
    resolved = settings(KUBERNETES / "base" / "kvcore.toml", tmp_path)
    nodes = resource("HorizontalPodAutoscaler/kvcore-api")["spec"]["maxReplicas"]
    workers = resource("ScaledObject/kvcore-worker")["spec"]["maxReplicaCount"]
    processes = (nodes + 1) + (workers + 1)
    store: Any = resolved.backends["store"]
    cache: Any = resolved.backends["cache"]
    page = (ROOT / "docs" / "deployment" / "kubernetes.md").read_text(encoding="utf-8")
    assert f"({nodes} + 1) + ({workers} + 1) = {processes} processes" in page
    assert f"{processes} × {store.connections} = {processes * store.connections}" in page
    assert f"{processes} × {cache.max_connections} = {processes * cache.max_connections}" in page
