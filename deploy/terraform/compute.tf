# NGINX, API nodes and workers, on Fargate. Nodes are one service for each zone: as many in each, whatever the scheduler
# thinks, and NGINX has three names to choose from.

locals {
  # Read by modules/service too, so that the settings and what they rely on are seen together.
  drain_s = 15 # longer than a name in DNS is believed: 5 s by the record, 2 s by NGINX

  cluster = { name = aws_ecs_cluster.this.name, arn = aws_ecs_cluster.this.arn }

  compute_subnet_ids = [for zone in var.zones : aws_subnet.compute[zone].id]

  ca_file  = "/run/kvcore/store-ca.crt"
  is_ready = ["python", "-I", "/opt/kvcore/is_ready.py"] # of the image

  # What nodes and workers have in common. docs/settings.md has the meaning of each; docs/deployment/aws.md the same as TOML.
  kvcore_environment = {
    KVCORE_PROFILE     = "production"
    KVCORE_LOG__FORMAT = "json"

    KVCORE_CACHE__REDIS__URL              = "rediss://${aws_elasticache_replication_group.this.primary_endpoint_address}:6379"
    KVCORE_CACHE__REDIS__USERNAME         = aws_elasticache_user.kvcore.user_name
    KVCORE_CACHE__REDIS__MAX_KEYS         = tostring(var.cache_limits.max_keys)
    KVCORE_CACHE__REDIS__MAX_MEMORY_BYTES = tostring(var.cache_limits.max_memory_bytes)

    KVCORE_QUEUE__RABBITMQ__HOSTS        = jsonencode([trimprefix(aws_mq_broker.this.instances[0].endpoints[0], "amqps://")])
    KVCORE_QUEUE__RABBITMQ__TLS          = "true"
    KVCORE_QUEUE__RABBITMQ__VIRTUAL_HOST = "kvcore"
    KVCORE_QUEUE__RABBITMQ__USERNAME     = "kvcore"

    KVCORE_STORE__COCKROACH__HOSTS    = jsonencode([for address in values(local.store_addresses) : "${address}:26257"])
    KVCORE_STORE__COCKROACH__USERNAME = "kvcore"
    KVCORE_STORE__COCKROACH__TLS      = "verify-full"
    KVCORE_STORE__COCKROACH__CA_FILE  = local.ca_file
  }

  kvcore_secrets = {
    KVCORE_AUTH__TOKENS               = aws_secretsmanager_secret.by_hand["tokens"].arn
    KVCORE_CACHE__REDIS__PASSWORD     = aws_secretsmanager_secret.made_here["cache"].arn
    KVCORE_QUEUE__RABBITMQ__PASSWORD  = aws_secretsmanager_secret.made_here["queue"].arn
    KVCORE_STORE__COCKROACH__PASSWORD = aws_secretsmanager_secret.by_hand["store-password"].arn
  }

  kvcore_files = { (local.ca_file) = aws_secretsmanager_secret.by_hand["store-ca"].arn }
}

resource "aws_ecs_cluster" "this" {
  name = var.name
}

module "proxy" {
  source = "./modules/service"

  name           = "proxy"
  prefix         = var.name
  region         = var.region
  cluster        = local.cluster
  image          = local.images["proxy"]
  repository_arn = aws_ecr_repository.this["proxy"].arn
  size           = var.proxies
  port           = 8080
  writable       = ["/var/cache/nginx", "/run", "/tmp"]
  stop_s         = 60

  subnet_ids        = local.compute_subnet_ids
  security_group_id = aws_security_group.tier["proxy"].id
  namespace_id      = aws_service_discovery_private_dns_namespace.this.id
  target_group_arn  = aws_lb_target_group.proxy.arn

  key_arn            = aws_kms_key.this.arn
  log_retention_days = var.log_retention_days

  depends_on = [aws_lb_listener.https]
}

module "node" {
  source   = "./modules/service"
  for_each = local.zone_numbers

  name           = "node-${each.value + 1}"
  prefix         = var.name
  region         = var.region
  cluster        = local.cluster
  image          = local.images["kvcore"]
  repository_arn = aws_ecr_repository.this["kvcore"].arn
  command        = ["serve"]
  health_command = local.is_ready
  size           = var.nodes
  port           = 8000
  stop_s         = local.drain_s + 30 # http.shutdown_s is 10 s

  environment = merge(local.kvcore_environment, {
    KVCORE_HTTP__DRAIN_S         = tostring(local.drain_s)
    KVCORE_HTTP__TRUSTED_PROXIES = jsonencode([for subnet in aws_subnet.compute : subnet.cidr_block])
  })
  secrets = local.kvcore_secrets
  files   = local.kvcore_files

  subnet_ids        = [aws_subnet.compute[each.key].id]
  security_group_id = aws_security_group.tier["node"].id
  namespace_id      = aws_service_discovery_private_dns_namespace.this.id

  key_arn            = aws_kms_key.this.arn
  log_retention_days = var.log_retention_days
}

module "worker" {
  source = "./modules/service"

  name           = "worker"
  prefix         = var.name
  region         = var.region
  cluster        = local.cluster
  image          = local.images["kvcore"]
  repository_arn = aws_ecr_repository.this["kvcore"].arn
  command        = ["worker"]
  health_command = local.is_ready
  size           = var.workers
  port           = 8001
  stop_s         = 30 # worker.shutdown_s is 10 s

  environment = local.kvcore_environment
  secrets     = local.kvcore_secrets
  files       = local.kvcore_files

  subnet_ids        = local.compute_subnet_ids
  security_group_id = aws_security_group.tier["worker"].id
  namespace_id      = aws_service_discovery_private_dns_namespace.this.id

  key_arn            = aws_kms_key.this.arn
  log_retention_days = var.log_retention_days
}
