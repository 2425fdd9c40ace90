"""What deploy/compose says of itself: its files agree with each other and with kvcore, and keep to the rules for containers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.nginx.configuration import render
from deploy.nginx.proxy import Proxy
from kvcore import __version__
from kvcore.config import resolve
from kvcore.plugins import load_plugins

_COMPOSE: Final = Path(__file__).parents[2] / "deploy/compose"
_FILES: Final = ("docker-compose.yml", "docker-compose.cockroachdb.yml", "docker-compose.postgresql.yml")
_DATABASES: Final = _FILES[1:]
_NODES: Final = ("api-1", "api-2", "api-3")
_KVCORE: Final = (*_NODES, "worker", "migrate")

Service = Mapping[str, Any]


def _file(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((_COMPOSE / name).read_text())
    return document


def _services() -> dict[str, Service]:
    """Return all services of all files; where a file only adds to a service of another, the other's."""
    return {name: service for file in _FILES for name, service in _file(file)["services"].items() if "image" in service}


def _variables() -> dict[str, str]:
    lines = (_COMPOSE / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


SERVICES: Final = _services()
JOBS: Final = tuple(name for name, service in SERVICES.items() if service["restart"] == "no")

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


@each_service
def test_each_service_is_limited(service: Service) -> None:
    """A container has bounds for memory, processors, processes, open files and its log."""
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    assert service["ulimits"]["nofile"]
    assert {"max-size", "max-file"} <= service["logging"]["options"].keys()


@each_service
def test_each_service_has_the_least_rights(service: Service) -> None:
    """A container has no capability, can get none, and writes to nothing but its volumes and memory."""
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True


@each_service
def test_each_service_says_whether_it_is_well(service: Service) -> None:
    """A container has a health check, its image's or one here, and starts again when it fails; a job ends, and has neither."""
    if service["restart"] == "no":
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert service["image"].startswith("kvcore:") or service["healthcheck"]["test"]


@each_service
def test_each_image_is_pinned(service: Service) -> None:
    """An image is named with a version of at least two numbers, never "latest"."""
    assert re.search(r":v?\d+\.\d+|:\$\{KVCORE_VERSION\}", service["image"])


@each_service
def test_no_secret_is_in_the_environment(service: Service) -> None:
    """A variable that speaks of a password names the file that has it."""
    spoken = [name for name in service.get("environment", {}) if re.search("PASSWORD|TOKEN|SECRET|COOKIE", name)]
    assert all(name.endswith("_FILE") for name in spoken)


def test_only_nginx_is_public() -> None:
    """Ports of others are published on 127.0.0.1 only, and each port can be chosen by a variable that has a default."""
    published = {name: port for name, service in SERVICES.items() for port in service.get("ports", ())}
    assert published.pop("nginx") == "${KVCORE_ADDRESS}:${KVCORE_PORT}:8080"
    assert published.keys() == {"rabbitmq-1", "cockroach-1", "prometheus", "grafana"}
    for port in published.values():
        found = re.fullmatch(r"127\.0\.0\.1:\$\{(\w+)\}:\d+", port)
        assert found
        assert found[1] in _variables()


def test_every_variable_has_a_default() -> None:
    """What the files ask of the environment is in .env, which both versions of Compose read."""
    text = "".join(file.read_text() for file in _COMPOSE.glob("docker-compose*.yml"))
    assert set(re.findall(r"(?<!\$)\$\{(\w+)\}", text)) <= _variables().keys()


def test_versions_agree() -> None:
    """The image is called by kvcore's version, and is built on what the Dockerfile says."""
    variables, dockerfile = _variables(), (_COMPOSE / "Dockerfile").read_text()
    assert variables["KVCORE_VERSION"] == __version__
    assert f"ARG VERSION={__version__}\n" in dockerfile
    assert f"ARG PYTHON_IMAGE={variables['PYTHON_IMAGE']}\n" in dockerfile


def test_nothing_but_what_is_named_gets_into_the_image() -> None:
    """The context of the build has what .dockerignore names: no secret, no test, no history."""
    lines = [line for line in (_COMPOSE.parents[1] / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert lines[0] == "*"
    named = {line[1:] for line in lines if line.startswith("!")}
    assert named == {
        *("LICENSE", "README.md", "constraints.txt", "deploy/compose/image", "kvcore", "plugins", "pyproject.toml")
    }


@pytest.mark.parametrize(
    ("file", "listening"),
    [
        ("conf.d/kvcore.conf", {"listen": ("8080",)}),
        (
            "tls.conf",
            {
                "listen": ("8443",),
                "redirect_from": ("8080",),
                "certificate": "/run/secrets/tls_certificate",
                "key": "/run/secrets/tls_key",
            },
        ),
    ],
)
def test_the_configuration_of_nginx_is_the_rendered_one(file: str, listening: Mapping[str, Any]) -> None:
    """What NGINX is started with is what deploy/compose/nginx/render.sh renders; run that when this fails."""
    proxy = Proxy(
        nodes=tuple(f"{node}:8000" for node in _NODES),
        access_log="/dev/stdout",
        maintenance_file="/tmp/kvcore.maintenance",  # noqa: S108 - the container's own
        **listening,
    )
    assert (_COMPOSE / "nginx" / file).read_text() == render(proxy)


@pytest.mark.parametrize("file", _DATABASES)
def test_a_database_is_told_to_all_who_use_it(file: str) -> None:
    """Each file of a database tells nodes, workers and the migration where it is, and what the migration waits for."""
    services = _file(file)["services"]
    assert {name for name, service in services.items() if "image" not in service} - {"prometheus"} == set(_KVCORE)
    assert len({str(services[name]["environment"]) for name in _KVCORE}) == 1
    assert services["migrate"]["depends_on"]


@pytest.mark.parametrize("file", _DATABASES)
def test_the_settings_are_those_of_kvcore(file: str, tmp_path: Path) -> None:
    """kvcore.toml and the environment of each database are settings that this kvcore knows."""
    environment = {**SERVICES["api-1"]["environment"], **_file(file)["services"]["api-1"]["environment"]}
    filled = {name: value.replace("${KVCORE_NETWORK}", "172.30.77") for name, value in environment.items()}
    copy = tmp_path / "kvcore.toml"
    # The secrets are not here.
    copy.write_text(re.sub(r'_file = "/run/secrets/\w+"', ' = "secret"', (_COMPOSE / "kvcore.toml").read_text()))
    settings = resolve(load_plugins(), file=copy, environment=filled).settings
    assert settings.profile == "production"
    assert settings.http.trusted_proxies == ("172.30.77.10",)


def test_addresses_agree() -> None:
    """Each name in /etc/hosts leads to the address that its container has, no two have the same, and none is given to others."""
    fixed = {
        name: str(networks["back"]["ipv4_address"]).rpartition(".")[2]
        for name, service in SERVICES.items()
        if isinstance(networks := service["networks"], dict) and "back" in networks
    }
    listed = dict(entry.split(":", 1) for entry in _file(_FILES[0])["x-peers"])
    assert {name: address.rpartition(".")[2] for name, address in listed.items()} == fixed
    assert len(set(fixed.values())) == len(fixed)
    assert all(128 < int(number) < 192 for number in fixed.values())


def test_prometheus_asks_all_of_them() -> None:
    """The jobs have the names that alerts and dashboards use, and nodes, workers and servers as targets."""
    jobs = {job["job_name"]: job for job in _file("prometheus/prometheus.yml")["scrape_configs"]}
    assert jobs["kvcore-node"]["static_configs"][0]["targets"] == [f"{node}:8000" for node in _NODES]
    assert jobs["kvcore-worker"]["dns_sd_configs"][0]["names"] == ["worker"]
    assert jobs["rabbitmq"]["static_configs"][0]["targets"] == [f"rabbitmq-{number}:15692" for number in (1, 2, 3)]


@pytest.mark.parametrize("script", sorted(_COMPOSE.rglob("*.sh")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_scripts_can_be_read_by_the_shell(script: Path) -> None:
    """A script has no error of syntax for the shell that runs it."""
    shell = script.read_text().splitlines()[0].removeprefix("#!")
    assert not subprocess.run([shell, "-n", script], check=False).returncode


def test_jobs_are_what_others_wait_for() -> None:
    """What ends is waited for until it has ended well, and what stays until it is healthy or has started."""
    conditions = {
        (name, condition["condition"])
        for file in _FILES
        for service in _file(file)["services"].values()
        for name, condition in service.get("depends_on", {}).items()
    }
    assert {name for name, condition in conditions if condition == "service_completed_successfully"} <= set(JOBS)
    assert {name for name, condition in conditions if condition == "service_healthy"}.isdisjoint(JOBS)
