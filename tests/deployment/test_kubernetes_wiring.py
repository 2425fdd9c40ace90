"""What the resources of deploy/kubernetes say of each other: names, labels, ports, and who may talk to whom."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.deployment.kubernetes_manifests import (
    KUBERNETES,
    OVERLAYS,
    ROOT,
    Manifest,
    built,
    collected,
    identity,
    read,
    workloads,
)
from tests.deployment.kubernetes_network import Pod, is_allowed, selects

Load = Callable[[str], list[Manifest]]

NAMESPACE = "kvcore"
installations = pytest.mark.parametrize(
    ("load", "overlay"),
    [pytest.param(load, name, id=f"{name}-{load.__name__}") for load in (collected, built) for name in OVERLAYS],
)


@installations
def test_selectors_select_something(load: Load, overlay: str) -> None:
    """What a resource selects are labels that pods have: of Services, budgets, monitors, policies, and spreading constraints."""
    manifests = load(overlay)
    pods = {name: template["metadata"]["labels"] for name, template in workloads(manifests).items()}
    found = list(selectors(manifests))
    assert found
    for name, selector in found:
        assert any(selects(selector, labels) for labels in pods.values()), name


def selectors(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the selectors of resources that are for pods of this namespace, each with the name of the resource."""
    for manifest in manifests:
        name, spec = identity(manifest), manifest.get("spec", {})
        if manifest["kind"] == "Service":
            yield name, {"matchLabels": spec["selector"]}
        elif manifest["kind"] in ("PodDisruptionBudget", "PodMonitor"):
            yield name, spec["selector"]
        elif manifest["kind"] == "NetworkPolicy":
            yield name, spec["podSelector"]
            rules = [*spec.get("ingress", []), *spec.get("egress", [])]
            peers = [peer for rule in rules for peer in [*rule.get("from", []), *rule.get("to", [])]]
            yield from (
                (name, one["podSelector"]) for one in peers if "namespaceSelector" not in one and "podSelector" in one
            )


@installations
def test_who_makes_pods_selects_just_these(load: Load, overlay: str) -> None:
    """Deployments, StatefulSets and spreading constraints select the pods that they make or stand in, and no others."""
    manifests = load(overlay)
    labels = {name: template["metadata"]["labels"] for name, template in workloads(manifests).items()}
    own = {identity(one): one["spec"]["selector"] for one in manifests if one["kind"] in ("Deployment", "StatefulSet")}
    chosen = list(own.items())
    for name, template in workloads(manifests).items():
        chosen += [(name, one["labelSelector"]) for one in template["spec"].get("topologySpreadConstraints", ())]
    assert len(chosen) > len(own)
    for name, selector in chosen:
        assert [other for other in labels if selects(selector, labels[other])] == [name]


@installations
def test_names_lead_to_what_is_there(load: Load, overlay: str) -> None:
    """Each ConfigMap, Secret and ServiceAccount that a pod names is there, or docs/deployment/kubernetes.md says who makes it."""
    manifests = load(overlay)
    page = (ROOT / "docs" / "deployment" / "kubernetes.md").read_text(encoding="utf-8")
    there = {identity(one) for one in manifests}
    there |= {f"Secret/{one['spec']['secretName']}" for one in manifests if one["kind"] == "Certificate"}
    wanted = set(named_by(list(workloads(manifests).values())))
    assert wanted
    for name in wanted - there:
        kind, _, plain = name.partition("/")
        assert kind in ("ConfigMap", "Secret"), name
        assert re.search(rf"^\| `{plain}` \| {kind} \|", page, re.MULTILINE), name


def named_by(value: Any) -> Iterator[str]:
    """Give what is named somewhere inside a pod, as "kind/name"."""
    if isinstance(value, list):
        for inner in value:
            yield from named_by(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == "serviceAccountName":
                yield f"ServiceAccount/{inner}"
            elif key in ("configMap", "configMapKeyRef"):
                yield f"ConfigMap/{inner['name']}"
            elif key in ("secret", "secretKeyRef"):
                yield f"Secret/{inner.get('name') or inner['secretName']}"
            else:
                yield from named_by(inner)


@installations
def test_mounts_are_of_volumes_that_there_are(load: Load, overlay: str) -> None:
    """Each mount names a volume of its pod or a claim of its StatefulSet, and each volume is mounted."""
    for manifest in load(overlay):
        if manifest["kind"] in ("Deployment", "StatefulSet", "Job"):
            spec = manifest["spec"]["template"]["spec"]
            claims = {claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", ())}
            mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in spec["volumes"]} | claims


@installations
def test_services_and_monitors_name_ports_of_pods(load: Load, overlay: str) -> None:
    """Each port that a Service or a monitor sends to is one of the pods that it selects."""
    manifests = load(overlay)
    for manifest in (one for one in manifests if one["kind"] in ("Service", "PodMonitor")):
        spec = manifest["spec"]
        is_service = manifest["kind"] == "Service"
        ports = (
            {port["targetPort"] for port in spec["ports"]}
            if is_service
            else {one["port"] for one in spec["podMetricsEndpoints"]}
        )
        for template in selected(
            workloads(manifests), spec["selector"] if is_service else spec["selector"]["matchLabels"]
        ):
            assert {port for port in ports if not isinstance(port, int)} <= ports_of(template).keys()


@installations
def test_probes_name_ports_of_their_container(load: Load, overlay: str) -> None:
    """Each port that a probe asks is one of the container's."""
    for template in workloads(load(overlay)).values():
        for container in template["spec"].get("containers", ()):
            probes = [container[name] for name in container if name.endswith("Probe")]
            asked = {probe[how]["port"] for probe in probes for how in ("httpGet", "tcpSocket") if how in probe}
            assert asked <= ports_of(template).keys()


@pytest.mark.parametrize("load", [collected, built])
def test_the_ingress_names_a_port_of_a_service(load: Load) -> None:
    """Each path of the Ingress leads to a Service that there is, and to one of its ports; the route of the Gateway to the same."""
    manifests = load("production")
    services = {one["metadata"]["name"]: one["spec"]["ports"] for one in manifests if one["kind"] == "Service"}
    (ingress,) = (one for one in manifests if one["kind"] == "Ingress")
    (rule,) = ingress["spec"]["rules"]
    for path in rule["http"]["paths"]:
        backend = path["backend"]["service"]
        assert backend["port"]["name"] in {port["name"] for port in services[backend["name"]]}
    (route,) = read(KUBERNETES / "components" / "gateway" / "api-route.yaml")["spec"]["rules"]
    (backend,) = route["backendRefs"]
    assert backend["port"] in {port["port"] for port in services[backend["name"]]}


def selected(templates: dict[str, Manifest], labels: dict[str, str]) -> list[Manifest]:
    """Return the templates of the pods that have these labels; there is one at least."""
    found = [one for one in templates.values() if selects({"matchLabels": labels}, one["metadata"]["labels"])]
    assert found
    return found


def ports_of(template: Manifest) -> dict[str, int]:
    """Return the ports of a pod by name."""
    return {
        port["name"]: port["containerPort"]
        for container in template["spec"].get("containers", ())
        for port in container.get("ports", ())
    }


def pod(manifests: list[Manifest], name: str) -> Pod:
    """Return the pod that a resource makes."""
    template = workloads(manifests)[name]
    return Pod(template["metadata"]["labels"], NAMESPACE, ports_of(template))


API, WORKER, MIGRATION = "Deployment/kvcore-api", "Deployment/kvcore-worker", "Job/kvcore-migration"
REDIS, SENTINEL = "StatefulSet/redis", "StatefulSet/redis-sentinel"
RABBITMQ, COCKROACH = "RabbitmqCluster/rabbitmq", "CrdbCluster/cockroachdb"
OUTSIDE = {
    "ingress": Pod({}, "ingress"),
    "monitoring": Pod({}, "monitoring"),
    "client": Pod({}, "shop", namespace_labels={"kvcore-client": "true"}),
    "stranger": Pod({}, "shop"),
}


@pytest.mark.parametrize("load", [collected, built])
@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [
        *((source, API, 8000, source != "stranger") for source in OUTSIDE),
        ("monitoring", WORKER, 8001, True),
        ("monitoring", RABBITMQ, 15692, True),
        ("monitoring", COCKROACH, 8080, True),
        ("ingress", WORKER, 8001, False),
        ("client", COCKROACH, 26257, False),
        (API, REDIS, 6379, True),
        (API, SENTINEL, 26379, True),
        (API, RABBITMQ, 5672, True),
        (API, COCKROACH, 26257, True),
        (WORKER, REDIS, 6379, True),
        (WORKER, SENTINEL, 26379, True),
        (WORKER, RABBITMQ, 5672, True),
        (WORKER, COCKROACH, 26257, True),
        (MIGRATION, COCKROACH, 26257, True),
        (MIGRATION, REDIS, 6379, False),
        (MIGRATION, RABBITMQ, 5672, False),
        (API, WORKER, 8001, False),
        (API, RABBITMQ, 15672, False),
        (API, COCKROACH, 26258, False),
        (REDIS, REDIS, 6379, True),
        (SENTINEL, REDIS, 6379, True),
        (SENTINEL, SENTINEL, 26379, True),
        (REDIS, SENTINEL, 26379, True),
        (REDIS, COCKROACH, 26257, False),
        (RABBITMQ, RABBITMQ, 25672, True),
        (RABBITMQ, RABBITMQ, 4369, True),
        (RABBITMQ, COCKROACH, 26257, False),
        (COCKROACH, COCKROACH, 26258, True),
        (COCKROACH, REDIS, 6379, False),
        (API, "stranger", 443, False),
        (REDIS, "stranger", 443, False),
        (RABBITMQ, "stranger", 443, False),
    ],
)
def test_who_may_talk_to_whom(load: Load, source: str, target: str, port: int, allowed: bool) -> None:
    """The policies let through what is needed and nothing else."""
    manifests = load("production")
    policies = [one for one in manifests if one["kind"] == "NetworkPolicy"]
    asking, asked = (OUTSIDE.get(name) or pod(manifests, name) for name in (source, target))
    assert is_allowed(policies, asking, asked, port, of_namespace=NAMESPACE) is allowed


@installations
def test_everybody_may_ask_for_names(load: Load, overlay: str) -> None:
    """All pods may ask the cluster's DNS, and nothing is allowed by default."""
    policies = {one["metadata"]["name"]: one["spec"] for one in load(overlay) if one["kind"] == "NetworkPolicy"}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert policies["everybody-to-dns"]["podSelector"] == {}
    (rule,) = policies["everybody-to-dns"]["egress"]
    assert {(one["protocol"], one["port"]) for one in rule["ports"]} == {("UDP", 53), ("TCP", 53)}


@pytest.mark.parametrize("load", [collected, built])
def test_servers_stand_apart(load: Load) -> None:
    """In production no two servers of a kind stand in one zone, and pods of kvcore spread over zones and machines."""
    manifests = load("production")
    for name, template in workloads(manifests).items():
        keys = {
            one["topologyKey"]: one["whenUnsatisfiable"]
            for one in template["spec"].get("topologySpreadConstraints", ())
        }
        if name in (API, WORKER):
            assert keys == dict.fromkeys(("topology.kubernetes.io/zone", "kubernetes.io/hostname"), "ScheduleAnyway")
        elif name in (REDIS, SENTINEL, COCKROACH):
            assert keys["topology.kubernetes.io/zone"] == "DoNotSchedule"
    (rabbitmq,) = (one for one in manifests if identity(one) == RABBITMQ)
    (apart,) = rabbitmq["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["topologyKey"] == "topology.kubernetes.io/zone"
    assert selects(apart["labelSelector"], pod(manifests, RABBITMQ).labels)
