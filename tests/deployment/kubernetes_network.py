"""Which connections NetworkPolicies let through, as the Kubernetes documentation defines it.

A pod that no policy of a direction selects may do everything in that direction; else one of these policies has to allow it. A
connection needs both: the egress of one pod, and the ingress of the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

__all__ = ("Pod", "is_allowed", "selects")

Labels = Mapping[str, str]


class Pod(NamedTuple):
    """A pod: its labels, the namespace that it is in, and the numbers of its ports by name."""

    labels: Labels
    namespace: str
    ports: Mapping[str, int] = MappingProxyType({})
    namespace_labels: Labels = MappingProxyType({})


def is_allowed(policies: Sequence[dict[str, Any]], source: Pod, target: Pod, port: int, *, of_namespace: str) -> bool:
    """Tell whether policies, which are all of one namespace, let a pod connect to a port (TCP) of another."""
    leaves = source.namespace != of_namespace or _passes(policies, "Egress", source, target, target, port)
    return leaves and (target.namespace != of_namespace or _passes(policies, "Ingress", target, source, target, port))


def selects(selector: dict[str, Any] | None, labels: Labels) -> bool:
    """Tell whether a selector of labels selects something that has these; an empty one selects everything."""
    wanted = (selector or {}).get("matchLabels", {})
    expressions = (selector or {}).get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions), "no other operator is known here"
    return all(labels.get(name) == value for name, value in wanted.items()) and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )


def _passes(policies: Sequence[dict[str, Any]], way: str, subject: Pod, other: Pod, target: Pod, port: int) -> bool:
    concerned = [
        policy["spec"]
        for policy in policies
        if way in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"], subject.labels)
    ]
    rules = [rule for spec in concerned for rule in spec.get(way.lower(), [])]
    side = "from" if way == "Ingress" else "to"
    return not concerned or any(
        _is_peer(rule.get(side), subject, other) and _is_port(rule.get("ports"), target, port) for rule in rules
    )


def _is_peer(peers: list[dict[str, Any]] | None, subject: Pod, other: Pod) -> bool:
    return peers is None or any(_is_one(peer, subject, other) for peer in peers)


def _is_one(peer: dict[str, Any], subject: Pod, other: Pod) -> bool:
    if "ipBlock" in peer:
        return False  # the pods' own addresses are not known here
    if "namespaceSelector" in peer:
        names = {"kubernetes.io/metadata.name": other.namespace, **other.namespace_labels}
        is_there = selects(peer["namespaceSelector"], names)
    else:
        is_there = other.namespace == subject.namespace
    return is_there and selects(peer.get("podSelector"), other.labels)


def _is_port(ports: list[dict[str, Any]] | None, target: Pod, port: int) -> bool:
    return ports is None or any(
        one["protocol"] == "TCP" and target.ports.get(one["port"], one["port"]) == port for one in ports
    )
