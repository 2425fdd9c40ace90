"""deploy/kubernetes as the API server would see it: valid, complete, and with no more rights than are needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]  # it comes without types
import kubernetes_validate  # type: ignore[import-untyped]  # it comes without types
import pytest

from deploy.kubernetes.prometheus_rule import ALERTS, RULE, prometheus_rule
from kvcore import __version__
from tests.deployment.custom_resource_schemas import SCHEMAS
from tests.deployment.kubernetes_manifests import (
    KUBERNETES,
    OVERLAYS,
    ROOT,
    Manifest,
    built,
    identity,
    kustomizations,
    manifest_files,
    pod_template,
    read,
    read_all,
)

OLDEST: Final = "1.30"
"""The oldest Kubernetes that docs/deployment/kubernetes.md names; CockroachDB's operator takes none before."""
VERSIONS: Final = (OLDEST, kubernetes_validate.latest_version())

files = pytest.mark.parametrize(
    "path", [pytest.param(path, id=str(path.relative_to(KUBERNETES))) for path in manifest_files()]
)
overlays = pytest.mark.parametrize("overlay", OVERLAYS)
folders = pytest.mark.parametrize(
    "folder", [pytest.param(folder, id=str(folder.relative_to(KUBERNETES))) for folder in kustomizations()]
)


def check_schema(manifest: Manifest, version: str) -> None:
    """Check a resource against the schema of its kind, and what it has of pods against that of pods.

    Raises:
        ValidationError: it does not fit, or has a field that there is not.
    """
    if manifest["kind"] not in SCHEMAS:
        kubernetes_validate.validate(manifest, version, strict=True)
        return
    jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
    if manifest["kind"] == "CrdbCluster":
        node = manifest["spec"]["template"]["spec"]
        check_pod(node["podTemplate"]["spec"], version)
        claim = {"metadata": {"name": "data"}, "spec": node["dataStore"]["volumeClaimTemplate"]["spec"]}
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **claim}, version, strict=True
        )
    if manifest["kind"] == "RabbitmqCluster":
        check_pod({"affinity": manifest["spec"].get("affinity", {}), "containers": []}, version)
    if manifest["kind"] == "ScaledObject":
        check_behavior(manifest["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"], version)


def check_pod(spec: dict[str, Any], version: str) -> None:
    """Check the spec of a pod."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "part"}, "spec": spec}
    kubernetes_validate.validate(pod, version, strict=True)


def check_behavior(behavior: dict[str, Any], version: str) -> None:
    """Check how fast an autoscaler may go."""
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "part"}, "maxReplicas": 1, "behavior": behavior}
    scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "part"}}
    kubernetes_validate.validate({**scaler, "spec": spec}, version, strict=True)


@files
@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_fits_the_schema(path: Path, version: str) -> None:
    """Each resource of each file has the fields of its kind and no others, in the oldest and the newest Kubernetes."""
    manifests = read_all(path)
    assert manifests
    for manifest in manifests:
        check_schema(manifest, version)


@overlays
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_built_fits_the_schema(overlay: str, version: str) -> None:
    """So does each resource of a whole installation, patched and named."""
    for manifest in built(overlay):
        check_schema(manifest, version)


@folders
def test_a_folder_has_nothing_that_is_not_used(folder: Path) -> None:
    """Each file in a folder is named by its kustomization, and each folder of resources by another one, overlays apart."""
    kustomization = read(folder / "kustomization.yaml")
    generated = [name for one in kustomization.get("configMapGenerator", ()) for name in one["files"]]
    named = [name for name in kustomization.get("resources", ()) if not name.startswith("..")]
    assert {path.name for path in folder.iterdir()} == {*generated, *named, "kustomization.yaml"}
    if folder.parent.name != "overlays":
        texts = [(other / "kustomization.yaml").read_text(encoding="utf-8") for other in kustomizations()]
        assert any(f"../../{folder.relative_to(KUBERNETES)}" in text for text in texts)


@overlays
def test_an_overlay_is_one_namespace_that_it_makes(overlay: str) -> None:
    """All is in the namespace that the overlay makes, which the database's certificate names, and which holds pods to a standard."""
    manifests = built(overlay)
    of_cluster = ("Namespace", "ClusterRole", "ClusterRoleBinding")
    (namespace,) = (one["metadata"] for one in manifests if one["kind"] == "Namespace")
    places = {one["metadata"]["namespace"] for one in manifests if one["kind"] not in of_cluster}
    assert places == {namespace["name"]}
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] in ("baseline", "restricted")
    assert namespace["labels"]["pod-security.kubernetes.io/warn"] == "restricted"
    for certificate in (one for one in manifests if identity(one) == "Certificate/cockroachdb-node"):
        assert f"*.{namespace['name']}.svc.cluster.local" in certificate["spec"]["dnsNames"]


def violations(spec: dict[str, Any]) -> set[str]:
    """Return what a pod asks for that is not needed: the standard "restricted", a writable root, a token of the API."""
    found = set()
    security = spec.get("securityContext", {})
    if not security.get("runAsNonRoot") or not security.get("runAsUser"):
        found.add("root")
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        found.add("seccomp")
    if spec.get("automountServiceAccountToken") is not False:
        found.add("token")
    if spec.get("hostNetwork") or spec.get("hostPID") or any("hostPath" in one for one in spec.get("volumes", [])):
        found.add("host")
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities") != {"drop": ["ALL"]}:
            found.add("rights")
        if own.get("readOnlyRootFilesystem") is not True:
            found.add("writable")
        if (
            not {"cpu", "memory"} <= container["resources"]["requests"].keys()
            or "memory" not in container["resources"]["limits"]
        ):
            found.add("resources")
    return found


def own_pods() -> dict[str, dict[str, Any]]:
    """Return the specs of the pods that no operator makes."""
    manifests = [manifest for path in manifest_files() for manifest in read_all(path)]
    templates = {identity(one): pod_template(one) for one in manifests if one["kind"] not in SCHEMAS}
    return {name: template["spec"] for name, template in templates.items() if template is not None}


@pytest.mark.parametrize("name", own_pods())
def test_a_pod_has_no_more_rights_than_it_needs(name: str) -> None:
    """Each pod of ours keeps to the standard "restricted", has a read-only root, no token of the API, and says what it needs."""
    assert violations(own_pods()[name]) == set()


@pytest.mark.parametrize("name", own_pods())
def test_services_put_nothing_into_the_environment(name: str) -> None:
    """No pod gets the variables of Services: KVCORE_API_PORT, say, would be a setting that there is not."""
    assert own_pods()[name]["enableServiceLinks"] is False


@overlays
def test_who_scales_is_not_overruled_by_an_update(overlay: str) -> None:
    """A Deployment says how many pods it has if and only if no autoscaler does."""
    manifests = built(overlay)
    targets = [one["spec"]["scaleTargetRef"]["name"] for one in manifests if "scaleTargetRef" in one.get("spec", {})]
    assert len(set(targets)) == len(targets)
    for deployment in (one for one in manifests if one["kind"] == "Deployment"):
        assert ("replicas" in deployment["spec"]) is (deployment["metadata"]["name"] not in targets)


@overlays
def test_an_update_is_never_with_fewer_nodes(overlay: str) -> None:
    """Deployments start a new pod before they end an old one, and evictions take one at a time."""
    manifests = built(overlay)
    for deployment in (one for one in manifests if one["kind"] == "Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    budgets = [one for one in manifests if one["kind"] == "PodDisruptionBudget"]
    assert {one["metadata"]["name"] for one in budgets} >= {"kvcore-api", "kvcore-worker"}
    assert all(one["spec"]["maxUnavailable"] == 1 for one in budgets)


@folders
def test_images_are_pinned(folder: Path) -> None:
    """The image of kvcore is the one of this version, and each other image has a tag that names a release."""
    for image in read(folder / "kustomization.yaml").get("images", ()):
        assert image["newTag"] == __version__ if image["name"] == "kvcore" else any(map(str.isdigit, image["newTag"]))


@overlays
def test_every_container_has_an_image_with_a_tag(overlay: str) -> None:
    """No pod runs whatever is newest."""
    pods = [
        template["spec"] for one in built(overlay) if one["kind"] not in SCHEMAS and (template := pod_template(one))
    ]
    images = [container["image"] for spec in pods for container in spec["containers"]]
    assert images
    assert all(image.rpartition(":")[2][:1].isdigit() for image in images), images


def test_versions_of_servers_are_the_same_everywhere() -> None:
    """Redis and RabbitMQ are those of Compose, CockroachDB is that of the Terraform reference, and docs/deployment/README.md names all."""
    components = KUBERNETES / "components"
    (redis,) = read(components / "redis-sentinel" / "kustomization.yaml")["images"]
    cockroach = read(components / "cockroachdb" / "cluster.yaml")["spec"]["template"]["spec"]["image"]
    compose = (ROOT / "deploy" / "compose" / "docker-compose.yml").read_text(encoding="utf-8")
    images = [f"redis:{redis['newTag']}", read(components / "rabbitmq" / "cluster.yaml")["spec"]["image"]]
    assert [image for image in images if f"image: {image}\n" not in compose] == []
    example = (ROOT / "deploy" / "terraform" / "terraform.tfvars.example").read_text(encoding="utf-8")
    assert f'"cockroach-{cockroach.rpartition(":")[2]}.linux-amd64.tgz"' in example
    page = (ROOT / "docs" / "deployment" / "README.md").read_text(encoding="utf-8")
    for image in (*images, cockroach):
        assert re.search(r"\d+\.\d+\.\d+", image)[0] in page  # type: ignore[index]  # it fits, or the test fails


def test_the_rules_of_prometheus_are_those_of_the_alerts() -> None:
    """components/prometheus has deploy/monitoring/alerts.yml as it is; `python -m deploy.kubernetes.prometheus_rule` writes it."""
    assert RULE.read_text(encoding="utf-8") == prometheus_rule(ALERTS.read_text(encoding="utf-8"))
    assert read(RULE)["spec"] == read(ALERTS)


def test_the_page_names_what_there_is() -> None:
    """docs/deployment/kubernetes.md names each overlay, each component, and the versions that the manifests are checked against."""
    page = (ROOT / "docs" / "deployment" / "kubernetes.md").read_text(encoding="utf-8")
    for folder in kustomizations():
        assert f"`{folder.relative_to(KUBERNETES)}`" in page
    assert f"Kubernetes {OLDEST}" in page
