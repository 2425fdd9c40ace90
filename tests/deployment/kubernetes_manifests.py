"""What stands in deploy/kubernetes: files, kustomizations, and whole installations as kustomize builds them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

__all__ = (
    "KUBERNETES",
    "OVERLAYS",
    "ROOT",
    "Manifest",
    "built",
    "collected",
    "identity",
    "kustomizations",
    "manifest_files",
    "pod_template",
    "read",
    "read_all",
    "workloads",
)

Manifest = dict[str, Any]

ROOT: Final = Path(__file__).parents[2]
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
OVERLAYS: Final = sorted(path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))


def kustomizations() -> list[Path]:
    """Return the folders that kustomize reads."""
    return sorted(path.parent for path in KUBERNETES.rglob("kustomization.yaml"))


def manifest_files() -> list[Path]:
    """Return the files of resources, as they are before kustomize has seen them."""
    files = (path for folder in kustomizations() for path in folder.glob("*.yaml"))
    return sorted(path for path in files if path.name != "kustomization.yaml")


@cache
def read(path: Path) -> Any:
    """Return what a file of one document says. Nobody may change it: each is read once."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@cache
def read_all(path: Path) -> list[Manifest]:
    """Return the resources of a file, which nobody may change either."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@cache
def collected(overlay: str) -> list[Manifest]:
    """Return the resources that an overlay is made of, without its patches and before anything is renamed."""
    return list(_collect(KUBERNETES / "overlays" / overlay))


@cache
def built(overlay: str) -> list[Manifest]:
    """Return what kustomize builds of an overlay; skip where it is not there.

    Debian has it only in a version that knows no components, so this is never a failure.
    """
    command = next(
        (known for known in (["kustomize", "build"], ["kubectl", "kustomize"]) if shutil.which(known[0])), None
    )
    if command is None:
        pytest.skip(
            "neither kustomize nor kubectl is on PATH: the files are checked one by one, the whole is not built"
        )
    done = subprocess.run(
        [*command, KUBERNETES / "overlays" / overlay], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # what is deprecated, for instance
    return list(yaml.safe_load_all(done.stdout))


def identity(manifest: Manifest) -> str:
    """Return what a resource is called in messages, such as "Deployment/kvcore-api"."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def pod_template(manifest: Manifest) -> Manifest | None:
    """Return the template of the pods that a resource makes, if it makes any."""
    if manifest["kind"] in ("Deployment", "StatefulSet", "Job"):
        found: Manifest | None = manifest["spec"]["template"]
    elif manifest["kind"] == "CrdbCluster":
        found = manifest["spec"]["template"]["spec"]["podTemplate"]
    elif manifest["kind"] == "RabbitmqCluster":
        # What the operator gives its pods; its documentation names these labels.
        labels = {"app.kubernetes.io/name": manifest["metadata"]["name"], "app.kubernetes.io/component": "rabbitmq"}
        found = {"metadata": {"labels": labels}, "spec": {}}
    else:
        found = None
    return found


def workloads(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return the templates of all pods, by the names of what makes them, those that operators make included."""
    found = ((identity(manifest), pod_template(manifest)) for manifest in manifests)
    return {name: template for name, template in found if template is not None}


def _collect(folder: Path) -> Iterator[Manifest]:
    kustomization = read(folder / "kustomization.yaml")
    for name in [*kustomization.get("resources", ()), *kustomization.get("components", ())]:
        path = folder / name
        yield from _collect(path) if path.is_dir() else read_all(path)
    for generated in kustomization.get("configMapGenerator", ()):
        if generated.get("behavior") != "replace":
            data = {name: (folder / name).read_text(encoding="utf-8") for name in generated["files"]}
            metadata = {"name": generated["name"], "labels": generated["options"]["labels"]}
            yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
