"""Schemas of the resources that Kubernetes itself does not know, as far as deploy/kubernetes uses their fields.

The fields and their types are those of the definitions (CRDs) that the operators publish:

* CrdbCluster: cockroachdb/helm-charts, cockroachdb-parent/charts/operator, 1.0.0-rc.4, api/v1beta1 and manifests/examples
* RabbitmqCluster: rabbitmq/cluster-operator, config/crd/bases/rabbitmq.com_rabbitmqclusters.yaml
* ScaledObject: kedacore/keda, config/crd/bases/keda.sh_scaledobjects.yaml
* PodMonitor, PrometheusRule: prometheus-operator/prometheus-operator, API reference of monitoring.coreos.com/v1
* Issuer, Certificate: cert-manager, API reference of cert-manager.io/v1
* HTTPRoute: Gateway API, standard channel, v1

A field that is not named here is refused, so that a misspelt one is found.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ("SCHEMAS",)

Schema = dict[str, Any]


def record(required: tuple[str, ...] = (), /, **fields: Schema) -> Schema:
    """Return the schema of an object with these fields and no others."""
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def many(items: Schema) -> Schema:
    """Return the schema of a list that is not empty."""
    return {"type": "array", "items": items, "minItems": 1}


def among(*values: str) -> Schema:
    """Return the schema of a text that is one of these."""
    return {"enum": list(values)}


TEXT: Final[Schema] = {"type": "string", "minLength": 1}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
FLAG: Final[Schema] = {"type": "boolean"}
PORT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 65_535}
DURATION: Final[Schema] = {"type": "string", "pattern": r"^(\d+(h|m|s|ms))+$"}
QUANTITY: Final[Schema] = {"type": "string", "pattern": r"^\d+(m|Mi|Gi)?$"}
TEXTS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}
ANYTHING: Final[Schema] = {"type": "object"}
"""What is a part of a pod or of a volume claim: it is checked as such, see the tests."""
AMOUNTS: Final = record(cpu=QUANTITY, memory=QUANTITY)
RESOURCES: Final = record(requests=AMOUNTS, limits=AMOUNTS)
SELECTOR: Final = record(("matchLabels",), matchLabels=TEXTS)

CRDB_NODE: Final = record(
    ("image", "dataStore"),
    image=TEXT,
    sqlPort=PORT,
    grpcPort=PORT,
    httpPort=PORT,
    certificates=record(
        externalCertificates=record(caConfigMapName=TEXT, nodeSecretName=TEXT, rootSqlClientSecretName=TEXT)
    ),
    localityMappings=many(record(("nodeLabel", "localityLabel"), nodeLabel=TEXT, localityLabel=TEXT)),
    dataStore=record(volumeClaimTemplate=record(("spec",), metadata=ANYTHING, spec=ANYTHING)),
    podTemplate=record(metadata=record(labels=TEXTS, annotations=TEXTS), spec=ANYTHING),
)
CRDB_CLUSTER: Final = record(
    ("regions",),
    mode=among("MutableOnly", "CreateOnly", "Disabled"),
    tlsEnabled=FLAG,
    rollingRestartDelay=DURATION,
    regions=many(record(("code", "nodes"), code=TEXT, nodes=COUNT, cloudProvider=TEXT, namespace=TEXT, domain=TEXT)),
    postInitSQL=record(secretRef=record(("name", "key"), name=TEXT, key=TEXT)),
    template=record(("spec",), metadata=ANYTHING, spec=CRDB_NODE),
)
RABBITMQ_CLUSTER: Final = record(
    replicas=COUNT,
    image=TEXT,
    persistence=record(storage=QUANTITY, storageClassName=TEXT),
    resources=RESOURCES,
    terminationGracePeriodSeconds=COUNT,
    affinity=ANYTHING,
    rabbitmq=record(additionalConfig=TEXT, additionalPlugins=many(TEXT), advancedConfig=TEXT, envConfig=TEXT),
)
SCALED_OBJECT: Final = record(
    ("scaleTargetRef", "triggers"),
    scaleTargetRef=record(("name",), name=TEXT, kind=TEXT, apiVersion=TEXT),
    minReplicaCount=COUNT,
    maxReplicaCount=COUNT,
    pollingInterval=COUNT,
    cooldownPeriod=COUNT,
    fallback=record(("failureThreshold", "replicas"), failureThreshold=COUNT, replicas=COUNT),
    advanced=record(horizontalPodAutoscalerConfig=record(name=TEXT, behavior=ANYTHING)),
    triggers=many(
        record(
            ("type", "metadata"),
            type=among("prometheus"),
            name=TEXT,
            # KEDA's fallback knows how many are needed for an average only.
            metricType=among("AverageValue"),
            metadata=record(("serverAddress", "query", "threshold"), serverAddress=TEXT, query=TEXT, threshold=TEXT),
        )
    ),
)
POD_MONITOR: Final = record(
    ("selector", "podMetricsEndpoints"),
    selector=SELECTOR,
    podMetricsEndpoints=many(
        record(
            ("port",),
            port=TEXT,
            path=TEXT,
            interval=DURATION,
            relabelings=many(
                record(targetLabel=TEXT, replacement=TEXT, sourceLabels=many(TEXT), regex=TEXT, action=TEXT)
            ),
        )
    ),
)
RULE: Final = record(
    ("expr",), alert=TEXT, record=TEXT, expr=TEXT, labels=TEXTS, annotations=TEXTS, **{"for": DURATION}
)
PROMETHEUS_RULE: Final = record(
    ("groups",),
    groups=many(record(("name", "rules"), name=TEXT, interval=DURATION, rules=many(RULE))),
)
ISSUER: Final = {"oneOf": [record(("selfSigned",), selfSigned=ANYTHING), record(("ca",), ca=record(secretName=TEXT))]}
CERTIFICATE: Final = record(
    ("secretName", "issuerRef"),
    isCA=FLAG,
    commonName=TEXT,
    subject=record(organizations=many(TEXT)),
    secretName=TEXT,
    duration=DURATION,
    renewBefore=DURATION,
    privateKey=record(algorithm=among("RSA", "ECDSA", "Ed25519"), size=COUNT),
    usages=many(among("digital signature", "key encipherment", "server auth", "client auth")),
    dnsNames=many(TEXT),
    ipAddresses=many(TEXT),
    issuerRef=record(("name",), name=TEXT, kind=among("Issuer", "ClusterIssuer"), group=TEXT),
)
HTTP_ROUTE: Final = record(
    parentRefs=many(record(("name",), name=TEXT, namespace=TEXT, sectionName=TEXT)),
    hostnames=many(TEXT),
    rules=many(
        record(
            matches=many(record(path=record(type=among("Exact", "PathPrefix"), value=TEXT))),
            timeouts=record(request=DURATION, backendRequest=DURATION),
            backendRefs=many(record(("name", "port"), name=TEXT, port=PORT)),
        )
    ),
)


def _resource(api_version: str, kind: str, spec: Schema) -> Schema:
    metadata = record(("name",), name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
    return record(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion=among(api_version),
        kind=among(kind),
        metadata=metadata,
        spec=spec,
    )


SCHEMAS: Final[dict[str, Schema]] = {
    kind: _resource(api_version, kind, spec)
    for api_version, kind, spec in (
        ("cert-manager.io/v1", "Certificate", CERTIFICATE),
        ("cert-manager.io/v1", "Issuer", ISSUER),
        ("crdb.cockroachlabs.com/v1beta1", "CrdbCluster", CRDB_CLUSTER),
        ("gateway.networking.k8s.io/v1", "HTTPRoute", HTTP_ROUTE),
        ("keda.sh/v1alpha1", "ScaledObject", SCALED_OBJECT),
        ("monitoring.coreos.com/v1", "PodMonitor", POD_MONITOR),
        ("monitoring.coreos.com/v1", "PrometheusRule", PROMETHEUS_RULE),
        ("rabbitmq.com/v1beta1", "RabbitmqCluster", RABBITMQ_CLUSTER),
    )
}
"""By kind, the schema of a whole resource."""
