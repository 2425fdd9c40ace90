# Who may speak to whom: the whole of it is the table `flows`. Each flow is a rule at either end, so a tier can neither be
# reached nor reach out otherwise.

locals {
  tiers = {
    edge      = "Load balancer"
    proxy     = "NGINX"
    node      = "API nodes"
    worker    = "Workers"
    cache     = "ElastiCache"
    queue     = "Amazon MQ"
    store     = "CockroachDB"
    collector = "Collector of metrics"
    endpoints = "Endpoints of AWS services"
  }

  flows = {
    edge-proxy         = { from = "edge", to = "proxy", port = 8080 }
    proxy-node         = { from = "proxy", to = "node", port = 8000 }
    node-cache         = { from = "node", to = "cache", port = 6379 }
    node-queue         = { from = "node", to = "queue", port = 5671 }
    node-store         = { from = "node", to = "store", port = 26257 }
    worker-cache       = { from = "worker", to = "cache", port = 6379 }
    worker-queue       = { from = "worker", to = "queue", port = 5671 }
    worker-store       = { from = "worker", to = "store", port = 26257 }
    store-store        = { from = "store", to = "store", port = 26257 }
    store-console      = { from = "store", to = "store", port = 8080 }
    collector-node     = { from = "collector", to = "node", port = 8000 }
    collector-worker   = { from = "collector", to = "worker", port = 8001 }
    proxy-endpoints    = { from = "proxy", to = "endpoints", port = 443 }
    node-endpoints     = { from = "node", to = "endpoints", port = 443 }
    worker-endpoints   = { from = "worker", to = "endpoints", port = 443 }
    store-endpoints    = { from = "store", to = "endpoints", port = 443 }
    collector-endpoint = { from = "collector", to = "endpoints", port = 443 }

    # The CockroachDB machines are the only ones that one can log in to. Sessions reach the rest through them: RabbitMQ's
    # management, and nodes and workers for kvctl.
    store-management = { from = "store", to = "queue", port = 443 }
    store-node       = { from = "store", to = "node", port = 8000 }
    store-worker     = { from = "store", to = "worker", port = 8001 }
  }

  tiers_with_s3 = toset(["proxy", "node", "worker", "collector", "store"])
}

resource "aws_security_group" "tier" {
  for_each = local.tiers

  name        = "${var.name}-${each.key}"
  description = each.value
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${var.name}-${each.key}" }
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = toset(var.client_networks)

  security_group_id = aws_security_group.tier["edge"].id
  description       = "Clients"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_ingress_rule" "flow" {
  for_each = local.flows

  security_group_id            = aws_security_group.tier[each.value.to].id
  referenced_security_group_id = aws_security_group.tier[each.value.from].id
  description                  = "From ${each.value.from}"
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "flow" {
  for_each = local.flows

  security_group_id            = aws_security_group.tier[each.value.from].id
  referenced_security_group_id = aws_security_group.tier[each.value.to].id
  description                  = "To ${each.value.to}"
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  for_each = local.tiers_with_s3

  security_group_id = aws_security_group.tier[each.key].id
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
  description       = "To S3"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "telemetry" {
  count = var.store_telemetry ? 1 : 0

  security_group_id = aws_security_group.tier["store"].id
  cidr_ipv4         = "0.0.0.0/0"
  description       = "Telemetry of CockroachDB"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
