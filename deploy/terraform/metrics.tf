# A managed Prometheus with the rules of deploy/monitoring, filled by one collector. What AWS knows of its own services is in
# CloudWatch: alarms.tf.

resource "aws_prometheus_workspace" "this" {
  alias       = var.name
  kms_key_arn = aws_kms_key.this.arn
}

resource "aws_prometheus_rule_group_namespace" "kvcore" {
  name         = "kvcore"
  workspace_id = aws_prometheus_workspace.this.id
  data         = file("${path.module}/../monitoring/alerts.yml")
}

resource "aws_prometheus_alert_manager_definition" "this" {
  workspace_id = aws_prometheus_workspace.this.id

  definition = yamlencode({
    alertmanager_config = yamlencode({
      route = { receiver = "topic", group_by = ["alertname"] }
      receivers = [{
        name        = "topic"
        sns_configs = [{ topic_arn = aws_sns_topic.alarms.arn, sigv4 = { region = var.region } }]
      }]
    })
  })
}

module "collector" {
  source = "./modules/service"

  name           = "collector"
  prefix         = var.name
  region         = var.region
  cluster        = local.cluster
  image          = local.images["collector"]
  repository_arn = aws_ecr_repository.this["collector"].arn
  size           = { least = 1, most = 1, cpu = 256, memory = 512 } # two would write everything twice
  port           = 13133
  stop_s         = 30

  environment = {
    AOT_CONFIG_CONTENT = templatefile("${path.module}/collector.yaml.tftpl", {
      namespace    = aws_service_discovery_private_dns_namespace.this.name
      nodes        = [for number in values(local.zone_numbers) : "node-${number + 1}"]
      region       = var.region
      remote_write = "${aws_prometheus_workspace.this.prometheus_endpoint}api/v1/remote_write"
    })
  }

  subnet_ids        = local.compute_subnet_ids
  security_group_id = aws_security_group.tier["collector"].id
  namespace_id      = aws_service_discovery_private_dns_namespace.this.id

  key_arn            = aws_kms_key.this.arn
  log_retention_days = var.log_retention_days
}

resource "aws_iam_role_policy" "collector" {
  name   = "write-metrics"
  role   = module.collector.task_role_name
  policy = data.aws_iam_policy_document.collector.json
}

data "aws_iam_policy_document" "collector" {
  statement {
    actions   = ["aps:RemoteWrite"]
    resources = [aws_prometheus_workspace.this.arn]
  }
}
