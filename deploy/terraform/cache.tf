# A primary with a replica in each of the other zones. Cluster mode stays off: kvcore does not speak it, and one primary
# is what its guarantees are made for. docs/deployment/aws.md says what a failover looks like without Sentinels.

resource "aws_elasticache_subnet_group" "this" {
  name        = var.name
  description = "Data subnets of ${var.name}"
  subnet_ids  = [for subnet in aws_subnet.data : subnet.id]
}

resource "aws_elasticache_parameter_group" "this" {
  name        = "${var.name}-redis7"
  family      = "redis7"
  description = "What kvcore asks of Redis"

  parameter {
    name  = "maxmemory-policy"
    value = "volatile-ttl" # what would end first goes first
  }

  parameter {
    name  = "min-replicas-to-write"
    value = "1" # a primary that is cut off stops taking writes
  }

  parameter {
    name  = "min-replicas-max-lag"
    value = "5" # seconds; replicas report once a second
  }
}

# Every user group needs a user of this name. Nobody logs in with it.
resource "aws_elasticache_user" "default" {
  user_id       = "${var.name}-default"
  user_name     = "default"
  engine        = "redis"
  access_string = "off -@all"

  authentication_mode {
    type = "no-password-required"
  }
}

# The commands that plugins/cache_redis/README.md lists.
resource "aws_elasticache_user" "kvcore" {
  user_id   = "${var.name}-kvcore"
  user_name = "kvcore"
  engine    = "redis"

  access_string = join(" ", [
    "on ~* -@all",
    "+hello +auth +select +ping +info +time +client|setname",
    "+mget +get +getrange +set +del +unlink +pttl +scan +randomkey +dbsize +memory|usage",
    "+hget +hset +hdel +hincrby +eval +evalsha",
  ])

  authentication_mode {
    type      = "password"
    passwords = [random_password.this["cache"].result]
  }
}

resource "aws_elasticache_user_group" "this" {
  user_group_id = var.name
  engine        = "redis"
  user_ids      = [aws_elasticache_user.default.user_id, aws_elasticache_user.kvcore.user_id]
}

resource "aws_elasticache_replication_group" "this" {
  replication_group_id = var.name
  description          = "Cache of ${var.name}"

  engine               = "redis"
  engine_version       = "7.1"
  parameter_group_name = aws_elasticache_parameter_group.this.name
  node_type            = var.cache_node_type
  port                 = 6379

  num_cache_clusters         = 3
  automatic_failover_enabled = true
  multi_az_enabled           = true

  subnet_group_name  = aws_elasticache_subnet_group.this.name
  security_group_ids = [aws_security_group.tier["cache"].id]
  user_group_ids     = [aws_elasticache_user_group.this.user_group_id]

  transit_encryption_enabled = true
  at_rest_encryption_enabled = true
  kms_key_id                 = aws_kms_key.this.arn

  # What is read back from a disk is never used.
  snapshot_retention_limit = 0

  maintenance_window = "sun:03:00-sun:04:00"

  log_delivery_configuration {
    destination      = aws_cloudwatch_log_group.cache.name
    destination_type = "cloudwatch-logs"
    log_format       = "json"
    log_type         = "engine-log"
  }
}

resource "aws_cloudwatch_log_group" "cache" {
  name              = "/${var.name}/cache"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.this.arn
}
