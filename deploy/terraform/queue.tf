# Three RabbitMQ nodes, one a zone, behind one name. Users other than the first, and the virtual host, are made by RabbitMQ's
# management: README.md, "The first time".

resource "aws_mq_broker" "this" {
  broker_name        = var.name
  engine_type        = "RabbitMQ"
  engine_version     = var.queue_version
  host_instance_type = var.queue_instance_type
  deployment_mode    = "CLUSTER_MULTI_AZ"

  subnet_ids          = [for subnet in aws_subnet.data : subnet.id]
  security_groups     = [aws_security_group.tier["queue"].id]
  publicly_accessible = false

  auto_minor_version_upgrade = true # Amazon MQ asks for it

  user {
    username = "administrator"
    password = random_password.this["queue-administrator"].result
  }

  encryption_options {
    use_aws_owned_key = false
    kms_key_id        = aws_kms_key.this.arn
  }

  logs {
    general = true
  }

  maintenance_window_start_time {
    day_of_week = "SUNDAY"
    time_of_day = "05:00" # not that of the cache
    time_zone   = "UTC"
  }
}
