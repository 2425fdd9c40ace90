"""The Terraform reference is consistent in itself.

What Terraform checks only with the providers at hand is checked here from the files alone: that all that is named exists, and that
what must hold for every resource holds. Not checked is that providers know the arguments, and that AWS takes them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import hcl2
import pytest
import yaml
from typer.testing import CliRunner

from deploy.nginx.__main__ import app as nginx

REPOSITORY: Final = Path(__file__).parents[2]
ROOT: Final = REPOSITORY / "deploy" / "terraform"
MODULES: Final = (ROOT, ROOT / "modules" / "service")

Body = dict[str, Any]

ENCRYPTED: Final[Mapping[str, tuple[str, ...]]] = {
    "aws_cloudwatch_log_group": ("kms_key_id",),
    "aws_ebs_volume": ("encrypted", "kms_key_id"),
    "aws_ecr_repository": ("encryption_configuration",),
    "aws_elasticache_replication_group": (
        "at_rest_encryption_enabled",
        "kms_key_id",
        "transit_encryption_enabled",
        "user_group_ids",
    ),
    "aws_instance": ("root_block_device",),
    "aws_mq_broker": ("encryption_options",),
    "aws_prometheus_workspace": ("kms_key_arn",),
    "aws_secretsmanager_secret": ("kms_key_id",),
    "aws_sns_topic": ("kms_master_key_id",),
}
"""Types of resources that hold data, and what makes them encrypt it with a key of one's own."""

WITHOUT_ARN: Final = {
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
}
"""Actions without types of resources in AWS's service authorization reference, and those of an instance with Session Manager, for
which AWS documents no narrower policy:
https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-create-iam-instance-profile.html
"""

TEXT_OR_COMMENT: Final = re.compile(r'"(?:[^"\\]|\\.)*"|#.*')


class Resource(NamedTuple):
    """A resource or a source of data, as it is written."""

    file: Path
    kind: str
    type: str
    name: str
    body: Body

    def __str__(self) -> str:
        return f"{self.file.name}: {self.type}.{self.name}"


def bare(name: str) -> str:
    """Return a name or a text without the quotes that the parser keeps."""
    return name.strip('"')


@cache
def parsed(file: Path) -> dict[str, Any]:
    """Return what a file says."""
    with file.open(encoding="utf-8") as text:
        return dict(hcl2.load(text))


def files(module: Path) -> list[Path]:
    """Return the files of a module, without those of the modules in it."""
    return sorted(module.glob("*.tf"))


def named(module: Path, kind: str) -> dict[str, Body]:
    """Return the blocks of a kind that has one label: variables, outputs, calls of modules."""
    return {
        bare(name): body
        for file in files(module)
        for block in parsed(file).get(kind, [])
        for name, body in block.items()
    }


def local_names(module: Path) -> set[str]:
    """Return the names of a module's local values."""
    blocks = (block for file in files(module) for block in parsed(file).get("locals", []))
    return {bare(name) for block in blocks for name in block if not name.startswith("__")}


def resources(module: Path) -> Iterator[Resource]:
    """Go through a module's resources and sources of data."""
    for file in files(module):
        for kind in ("resource", "data"):
            for block in parsed(file).get(kind, []):
                for type_, by_name in block.items():
                    for name, body in by_name.items():
                        if not name.startswith("__"):
                            yield Resource(file, kind, bare(type_), bare(name), body)


ALL: Final = [resource for module in MODULES for resource in resources(module)]


def code(*some: Path) -> str:
    """Return the text of files without comments, and without texts that have no expression in them."""
    texts = (file.read_text(encoding="utf-8") for file in some)
    return "\n".join(TEXT_OR_COMMENT.sub(lambda found: found[0] if "${" in found[0] else "", text) for text in texts)


def values(body: object, name: str) -> Iterator[Any]:
    """Go through all values of an argument, at whatever depth."""
    if isinstance(body, dict):
        for key, value in body.items():
            if bare(key) == name:
                yield value
            yield from values(value, name)
    elif isinstance(body, list):
        for item in body:
            yield from values(item, name)


def terraform(*arguments: str, cwd: Path) -> str:
    """Run Terraform, which is on few machines, and return what it prints."""
    executable = shutil.which("terraform")
    if executable is None:
        pytest.skip("terraform is not installed, and is not in Debian")
    environment = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    command = [executable, *arguments]
    run = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


# --- what is named exists ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_every_variable_is_described_and_typed_and_used(module: Path) -> None:
    """A reader knows what to give from variables.tf alone, and nothing is asked for in vain."""
    text = code(*(file for file in files(module) if file.name != "variables.tf"))
    for name, body in named(module, "variable").items():
        assert body.get("description"), name
        assert body.get("type"), name
        assert re.search(rf"\bvar\.{name}\b", text), f"{name} is used nowhere"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_every_output_is_described(module: Path) -> None:
    """What comes out says what it is for."""
    outputs = named(module, "output")
    assert outputs
    assert not [name for name, body in outputs.items() if not body.get("description") or "value" not in body]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_every_reference_leads_to_something(module: Path) -> None:
    """Variables, local values, modules and resources that are named are there."""
    there = (
        {("var", name) for name in named(module, "variable")}
        | {("local", name) for name in local_names(module)}
        | {("module", name) for name in named(module, "module")}
        | {(resource.type, resource.name) for resource in resources(module) if resource.kind == "resource"}
        | {(f"data.{resource.type}", resource.name) for resource in resources(module) if resource.kind == "data"}
    )
    named_here = set(
        re.findall(r"(?<![\w.])(var|local|module|(?:data\.)?(?:aws|random)_\w+)\.([a-z_0-9]+)", code(*files(module)))
    )
    assert named_here
    assert not sorted(named_here - there)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_every_local_value_is_used(module: Path) -> None:
    """Nothing is left over from what it was before."""
    text = code(*files(module))
    assert not [name for name in local_names(module) if not re.search(rf"\blocal\.{name}\b", text)]


def test_calls_of_modules_give_what_is_asked_for() -> None:
    """Each call gives all inputs that have no default, and none that does not exist."""
    meta = {"source", "for_each", "count", "depends_on", "providers"}
    for name, body in named(ROOT, "module").items():
        asked = named(ROOT / bare(body["source"]), "variable")
        given = {key for key in body if not key.startswith("__")} - meta
        required = {key for key, variable in asked.items() if "default" not in variable}
        assert given <= asked.keys(), name
        assert required <= given, name


def test_outputs_of_modules_that_are_used_exist() -> None:
    """`module.x.y` is an output of that module."""
    calls = named(ROOT, "module")
    for name, output in re.findall(r"\bmodule\.(\w+)(?:\[(?:[^\[\]]|\[[^\]]*\])*\])?\.(\w+)", code(*files(ROOT))):
        assert output in named(ROOT / bare(calls[name]["source"]), "output"), f"module.{name}.{output}"


def test_the_example_gives_every_variable_that_has_no_default(tmp_path: Path) -> None:
    """terraform.tfvars.example is whole, and has nothing that is not asked for."""
    asked = named(ROOT, "variable")
    example = {bare(name) for name in parsed(ROOT / "terraform.tfvars.example") if not name.startswith("__")}
    assert example <= asked.keys()
    assert {name for name, body in asked.items() if "default" not in body} <= example


def test_versions_are_pinned_alike_everywhere() -> None:
    """No release of Terraform or of a provider comes in unseen, and modules agree on them."""
    pinned: dict[str, set[str]] = {}
    for module in MODULES:
        (block,) = (block for file in files(module) for block in parsed(file).get("terraform", []))
        pinned.setdefault("terraform", set()).add(bare(block["required_version"]))
        for provider, wanted in block["required_providers"][0].items():
            if not provider.startswith("__"):
                pinned.setdefault(provider, set()).add(bare(wanted["version"]))
    assert {name for name, versions in pinned.items() if len(versions) > 1} == set()
    assert all(version.startswith("~> ") for name in ("aws", "random") for version in pinned[name])


# --- what must hold for every resource --------------------------------------------------------------------------------


def test_what_holds_data_is_encrypted() -> None:
    """Everything at rest is encrypted with the installation's own key."""
    seen = set()
    for resource in ALL:
        for argument in ENCRYPTED.get(resource.type, ()):
            seen.add(resource.type)
            value = resource.body.get(argument)
            assert value, f"{resource} lacks {argument}"
            assert value is not False, f"{resource} has {argument} = false"
    assert seen == ENCRYPTED.keys()
    for resource in ALL:
        for block in resource.body.get("root_block_device", []):
            assert block["encrypted"] is True, str(resource)
            assert "aws_kms_key.this" in str(block["kms_key_id"]), str(resource)


def test_every_bucket_is_closed_versioned_and_encrypted() -> None:
    """A bucket is nothing by itself: what makes it safe are resources beside it."""
    buckets = {resource.name for resource in ALL if resource.type == "aws_s3_bucket"}
    assert buckets
    for type_ in (
        "public_access_block",
        "versioning",
        "server_side_encryption_configuration",
        "lifecycle_configuration",
        "policy",
    ):
        assert {resource.name for resource in ALL if resource.type == f"aws_s3_bucket_{type_}"} == buckets, type_
    for resource in ALL:
        if resource.type == "aws_s3_bucket_public_access_block":
            closed = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
            assert all(resource.body[argument] is True for argument in closed), str(resource)


def test_only_the_load_balancer_is_open_to_networks() -> None:
    """All other rules name the group of who may come; and nothing but the load balancer has a public address."""
    rules = [resource for resource in ALL if resource.type == "aws_vpc_security_group_ingress_rule"]
    assert rules
    by_network = [rule for rule in rules if "cidr_ipv4" in rule.body or "cidr_ipv6" in rule.body]
    assert [rule.name for rule in by_network] == ["clients"]
    assert '["edge"]' in str(by_network[0].body["security_group_id"])
    assert by_network[0].body["from_port"] == by_network[0].body["to_port"] == 443
    assert not [resource for resource in ALL if resource.type == "aws_security_group_rule"]
    assert not [resource for resource in ALL if any(values(resource.body, "map_public_ip_on_launch"))]
    assert not [
        resource for resource in ALL for value in values(resource.body, "assign_public_ip") if value is not False
    ]
    assert not [
        resource for resource in ALL for value in values(resource.body, "publicly_accessible") if value is not False
    ]


def test_only_the_load_balancer_and_by_wish_the_store_have_a_way_out() -> None:
    """Routes to the internet are those of the public subnets, and, where its licence asks for it, those of the store."""
    routes = {resource.name: resource.body for resource in ALL if resource.type == "aws_route"}
    assert routes.keys() == {"internet", "telemetry"}
    assert "aws_route_table.public" in str(routes["internet"]["route_table_id"])
    assert "aws_route_table.data" in str(routes["telemetry"]["route_table_id"])
    assert bare(named(ROOT, "variable")["store_telemetry"]["type"]).strip("${}") == "bool"
    assert named(ROOT, "variable")["store_telemetry"]["default"] is False
    for name in ("public", "compute", "data"):
        (table,) = (r.body for r in ALL if (r.type, r.name) == ("aws_route_table_association", name))
        assert f"aws_route_table.{name}" in str(table["route_table_id"])
    by_network = [r for r in ALL if r.type == "aws_vpc_security_group_egress_rule" and "cidr_ipv4" in r.body]
    assert [rule.name for rule in by_network] == ["telemetry"]
    assert "store" in str(by_network[0].body["security_group_id"])
    gated = [r for r in ALL if r.name == "telemetry"]
    assert all("telemetry" in str(r.body.get("for_each", r.body.get("count"))) for r in gated)


def test_rights_name_what_they_are_for() -> None:
    """No policy allows an action on everything, but for the few that have no ARNs, and the policies of keys and buckets themselves."""
    for resource in ALL:
        if resource.type != "aws_iam_policy_document" or resource.name == "key":
            continue
        for statement in resource.body.get("statement", []):
            actions = {bare(action) for action in statement["actions"]}
            if [bare(wanted) for wanted in statement.get("resources", [])] == ["*"]:
                assert actions <= WITHOUT_ARN, f"{resource}: {actions}"
            if bare(str(statement.get("effect", "Allow"))) == "Allow":
                assert not [action for action in actions if "*" in action], f"{resource}: {actions}"


def test_no_policy_is_one_that_aws_manages() -> None:
    """What AWS's own policies allow is AWS's to change, and much of it is for everything in the account."""
    assert not [
        resource for resource in ALL if "policy_attachment" in resource.type or "managed_policy" in resource.type
    ]
    assert "iam::aws:policy/" not in code(*(file for module in MODULES for file in files(module)))


def test_only_known_buckets_are_within_reach() -> None:
    """Nobody in the VPC can put anything into a bucket but that of the backups, and no bucket is for all of them."""
    (endpoint,) = (resource for resource in ALL if (resource.type, resource.name) == ("aws_vpc_endpoint", "s3"))
    assert "aws_iam_policy_document.s3." in str(endpoint.body["policy"])
    (policy,) = (resource for resource in ALL if (resource.type, resource.name) == ("aws_iam_policy_document", "s3"))
    for statement in policy.body["statement"]:
        buckets = [bare(wanted).removeprefix("arn:aws:s3:::") for wanted in statement["resources"]]
        assert not [bucket for bucket in buckets if bucket.startswith("*")]
        if "s3:PutObject" in map(bare, statement["actions"]):
            assert all("aws_s3_bucket.backups.arn" in bucket for bucket in buckets)


def test_tags_are_those_of_the_provider() -> None:
    """Every resource has the tags that say whose it is: the provider gives them, resources add their Name only."""
    (provider,) = (
        body for file in files(ROOT) for block in parsed(file).get("provider", []) for body in block.values()
    )
    assert provider["default_tags"][0]["tags"]
    for resource in ALL:
        assert {bare(tag) for tag in resource.body.get("tags", {})} <= {"Name"}, str(resource)


def test_nothing_secret_or_of_one_account_is_written_down() -> None:
    """Passwords are made, accounts and regions are given: no file has one."""
    passwords = [
        value
        for resource in ALL
        for name in ("password", "passwords", "secret_string")
        for value in values(resource.body, name)
    ]
    assert passwords
    assert not [value for value in passwords if "random_password" not in str(value)]
    for module in MODULES:
        for file in files(module):
            text = re.sub(r"#.*", "", file.read_text(encoding="utf-8"))
            assert not re.search(r"\b\d{12}\b", text), f"an account in {file.name}"
            assert not re.search(r"AKIA[0-9A-Z]{16}|-----BEGIN", text), f"a key in {file.name}"
            assert not re.search(
                r"\b[a-z]{2}-(?:north|south|east|west|central)[a-z]*-\d\b", re.sub(r"description.*", "", text)
            ), file.name


# --- in step with the rest of the repository --------------------------------------------------------------------------


def known_settings() -> set[str]:
    """Return the paths of all settings, as their page lists them; another test holds that page against the settings."""
    text = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `([a-z0-9_.]+)` \|", text, re.MULTILINE))


def paths(table: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Go through the paths of all values of a TOML document."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from paths(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def test_environment_variables_are_settings() -> None:
    """Every KVCORE_ variable that tasks get is a setting that there is."""
    given = set(re.findall(r"\bKVCORE_([A-Z0-9_]+)", (ROOT / "compute.tf").read_text(encoding="utf-8")))
    assert given
    assert {name.lower().replace("__", ".") for name in given} <= known_settings()


def test_the_health_check_of_tasks_is_in_the_image() -> None:
    """What ECS runs in nodes and workers to see whether to replace them is the image's own check, which no server that is away fails."""
    dockerfile = (REPOSITORY / "deploy" / "compose" / "Dockerfile").read_text(encoding="utf-8")
    (path,) = re.findall(r"^COPY deploy/compose/image/is_ready\.py (\S+)$", dockerfile, re.MULTILINE)
    (command,) = (
        block["is_ready"] for file in files(ROOT) for block in parsed(file).get("locals", []) if "is_ready" in block
    )
    assert bare(command[-1]) == path


@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
def test_settings_in_the_pages_about_clouds_exist(cloud: str) -> None:
    """What a reader copies from these pages into kvcore.toml is known to kvcore."""
    text = (REPOSITORY / "docs" / "deployment" / f"{cloud}.md").read_text(encoding="utf-8")
    examples = [tomllib.loads(example) for example in re.findall(r"(?s)```toml\n(.*?)```", text)]
    assert examples
    assert {path for example in examples for path in paths(example)} <= known_settings()


def test_the_user_of_the_cache_has_the_commands_that_the_plugin_names() -> None:
    """What plugins/cache_redis/README.md lists is what the user may do: all of it, and nothing else."""
    text = (REPOSITORY / "plugins" / "cache_redis" / "README.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"A user of its own needs the commands\s([^(]*?), and all keys", text)
    needed = {name.lower().replace(" ", "|") for name in re.findall(r"`([A-Z ]+)`", said)}
    (user,) = (resource for resource in ALL if (resource.type, resource.name) == ("aws_elasticache_user", "kvcore"))
    assert needed
    assert set(re.findall(r"\+([a-z|]+)", str(user.body["access_string"]))) == needed


# --- what is in templates ---------------------------------------------------------------------------------------------


def rendered_proxy() -> str:
    """Return the configuration of NGINX as the output `proxy_arguments` has it made, with values in the place of expressions."""
    (arguments,) = re.findall(
        r'output "proxy_arguments" \{(.*?)\n\}', (ROOT / "outputs.tf").read_text(encoding="utf-8"), re.DOTALL
    )
    (node,), (rest,) = re.findall(r'"(--node [^"]+)"', arguments), re.findall(r'"(--resolver [^"]+)"', arguments)
    line = f"{node} {rest}"
    for expression, value in {"node-${number + 1}": "node-1", "${cidrhost(var.network, 2)}": "10.20.0.2"}.items():
        line = line.replace(expression, value)
    done = CliRunner().invoke(nginx, re.sub(r"\$\{[^}]+\}", "kvcore.internal", line).split())
    assert done.exit_code == 0, done.output
    return done.stdout


def test_nginx_looks_names_up_again() -> None:
    """In the configuration for ECS nodes are looked up anew by the name server of the VPC, and it listens where the load balancer sends."""
    text = rendered_proxy()
    assert re.search(r"server node-1\.kvcore\.internal:8000 .*\bresolve;", text)
    assert "resolver 10.20.0.2 " in text
    (group,) = (resource for resource in ALL if resource.type == "aws_lb_target_group")
    assert re.findall(r"(?m)^ *listen (\d+)", text) == [str(group.body["port"])]
    assert {bare(str(call["port"])) for name, call in named(ROOT, "module").items() if name == "proxy"} == {
        str(group.body["port"])
    }


def test_nodes_drain_for_longer_than_their_names_are_believed() -> None:
    """Between its last request and its end, a node is out of DNS and out of NGINX's memory of DNS."""
    (drain_s,) = (
        block["drain_s"] for file in files(ROOT) for block in parsed(file).get("locals", []) if "drain_s" in block
    )
    (service,) = (resource for resource in ALL if resource.type == "aws_service_discovery_service")
    (record_s,) = values(service.body, "ttl")
    believed = re.search(r"valid=(\d+)s", rendered_proxy())
    assert believed is not None
    assert drain_s > record_s + int(believed[1])


def test_templates_render_to_what_their_readers_take(tmp_path: Path) -> None:
    """The collector's configuration is YAML with the jobs that alerts know, and the script of the store is one for bash."""
    (tmp_path / "main.tf").write_text(
        f"""
        output "collector" {{
          value = templatefile("{ROOT}/collector.yaml.tftpl", {{
            namespace = "kvcore.internal", nodes = ["node-1", "node-2"], region = "eu-central-1", remote_write = "https://localhost/"
          }})
        }}
        output "store" {{
          value = templatefile("{ROOT}/store.sh.tftpl", {{
            addresses = "10.0.0.1,10.0.0.2", address = "10.0.0.1", archive = {{ bucket = "b", key = "k", sha256 = "0" }}
            certificates = "arn", folder = "/data", log_group = "group", namespace = "kvcore", region = "eu-central-1"
            volume = "vol0", zone = "eu-central-1a"
          }})
        }}
        """,
        encoding="utf-8",
    )
    terraform("apply", "-auto-approve", "-input=false", cwd=tmp_path)
    collector = yaml.safe_load(terraform("output", "-raw", "collector", cwd=tmp_path))
    jobs = collector["receivers"]["prometheus"]["config"]["scrape_configs"]
    assert [job["job_name"] for job in jobs] == ["kvcore-node", "kvcore-worker"]
    script = terraform("output", "-raw", "store", cwd=tmp_path)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=30)
    (python,) = re.findall(r"(?s)#!/usr/bin/python3\n(.*?)\nEND\n", script)
    compile(python, "cockroach-certificates", "exec")


def test_files_are_formatted() -> None:
    """`terraform fmt` would change nothing. Where Terraform is missing nobody checks: a copy of its rules would be worse."""
    assert terraform("fmt", "-check", "-recursive", "-list=true", cwd=ROOT) == ""
