output "url" {
  description = "Where clients find the service."
  value       = "https://${var.domain_name}"
}

output "repositories" {
  description = "Where to push the images to."
  value       = { for name, repository in aws_ecr_repository.this : name => repository.repository_url }
}

output "proxy_arguments" {
  description = "What the configuration of NGINX is made with: arguments of python -m deploy.nginx."
  value = join(" ", concat(
    [for number in values(local.zone_numbers) : "--node node-${number + 1}.${aws_service_discovery_private_dns_namespace.this.name}:8000"],
    ["--resolver ${cidrhost(var.network, 2)} --listen 8080 --access-log /dev/stdout"],
  ))
}

output "store_addresses" {
  description = "Addresses of the CockroachDB nodes by zone: what their certificates have to be for."
  value       = local.store_addresses
}

output "store_instances" {
  description = "Ids of the CockroachDB machines by zone, for sessions on them."
  value       = { for zone, instance in aws_instance.store : zone => instance.id }
}

output "queue_management" {
  description = "RabbitMQ's management, reachable from the CockroachDB machines."
  value       = aws_mq_broker.this.instances[0].console_url
}

output "backups" {
  description = "The bucket of backups."
  value       = aws_s3_bucket.backups.bucket
}

output "run_once" {
  description = "What a command of kvctl that runs once needs: cluster, task definition, subnets and security group."
  value = {
    cluster         = aws_ecs_cluster.this.name
    task_definition = module.node[var.zones[0]].task_definition_arn
    subnets         = local.compute_subnet_ids
    security_group  = aws_security_group.tier["node"].id
  }
}

output "prometheus" {
  description = "The workspace of Prometheus, as a data source for Grafana."
  value       = aws_prometheus_workspace.this.prometheus_endpoint
}

output "logs" {
  description = "The logs of the services in CloudWatch."
  value = concat(
    [for node in module.node : node.log_group_name],
    [module.proxy.log_group_name, module.worker.log_group_name, module.collector.log_group_name],
    [aws_cloudwatch_log_group.cache.name, aws_cloudwatch_log_group.store.name],
  )
}
