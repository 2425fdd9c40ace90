# One service on Fargate: its tasks, how many of them there are, their log, their names in DNS, and what they may do.

locals {
  full_name   = "${var.prefix}-${var.name}"
  secret_arns = distinct(concat(values(var.secrets), values(var.files)))

  # ECS hands out secrets as environment variables only. So files are written by a container that runs before.
  file_paths  = sort(keys(var.files))
  file_folder = length(var.files) == 0 ? null : dirname(local.file_paths[0])
  file_writer = <<-END
    import os
    for number, path in enumerate(os.environ["PATHS"].split(":")):
        with open(path, "w") as file:
            file.write(os.environ["FILE_%d" % number])
  END

  log = {
    logDriver = "awslogs"
    options = {
      awslogs-group         = aws_cloudwatch_log_group.this.name
      awslogs-region        = var.region
      awslogs-stream-prefix = var.name
      mode                  = "non-blocking" # requests do not wait for CloudWatch
      max-buffer-size       = "16m"
    }
  }

  folders = merge(
    { for number, folder in var.writable : "writable-${number}" => folder },
    length(var.files) == 0 ? {} : { files = local.file_folder },
  )

  writer_container = {
    name                   = "files"
    image                  = var.image
    essential              = false
    user                   = "0" # the folder belongs to root
    readonlyRootFilesystem = true
    entryPoint             = ["python", "-c"]
    command                = [local.file_writer]
    environment            = [{ name = "PATHS", value = join(":", local.file_paths) }]
    secrets                = [for number, path in local.file_paths : { name = "FILE_${number}", valueFrom = var.files[path] }]
    mountPoints            = length(var.files) == 0 ? [] : [{ sourceVolume = "files", containerPath = local.file_folder, readOnly = false }]
    logConfiguration       = local.log
  }

  container = merge(
    {
      name                   = var.name
      image                  = var.image
      essential              = true
      readonlyRootFilesystem = true
      stopTimeout            = var.stop_s
      portMappings           = [{ containerPort = var.port, protocol = "tcp" }]
      environment            = [for name in sort(keys(var.environment)) : { name = name, value = var.environment[name] }]
      secrets                = [for name in sort(keys(var.secrets)) : { name = name, valueFrom = var.secrets[name] }]
      mountPoints            = [for volume, folder in local.folders : { sourceVolume = volume, containerPath = folder, readOnly = volume == "files" }]
      dependsOn              = [for name in(length(var.files) == 0 ? [] : ["files"]) : { containerName = name, condition = "SUCCESS" }]
      ulimits                = [{ name = "nofile", softLimit = 65536, hardLimit = 65536 }]
      logConfiguration       = local.log
    },
    length(var.command) == 0 ? {} : { command = var.command },
    length(var.health_command) == 0 ? {} : {
      healthCheck = { command = concat(["CMD"], var.health_command), interval = 10, timeout = 5, retries = 3, startPeriod = 30 }
    },
  )
}

resource "aws_ecs_task_definition" "this" {
  family                   = local.full_name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.size.cpu
  memory                   = var.size.memory
  execution_role_arn       = aws_iam_role.start.arn
  task_role_arn            = aws_iam_role.task.arn
  container_definitions    = jsonencode(concat([local.container], [for container in [local.writer_container] : container if length(var.files) > 0]))

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = "X86_64"
  }

  dynamic "volume" {
    for_each = local.folders

    content {
      name = volume.key
    }
  }
}

resource "aws_ecs_service" "this" {
  name                   = var.name
  cluster                = var.cluster.arn
  task_definition        = aws_ecs_task_definition.this.arn
  launch_type            = "FARGATE"
  desired_count          = var.size.least
  propagate_tags         = "SERVICE"
  enable_execute_command = false

  availability_zone_rebalancing = "ENABLED"

  # New tasks first: an update never serves with fewer.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [var.security_group_id]
    assign_public_ip = false
  }

  service_registries {
    registry_arn = aws_service_discovery_service.this.arn
  }

  dynamic "load_balancer" {
    for_each = var.target_group_arn[*]

    content {
      target_group_arn = load_balancer.value
      container_name   = var.name
      container_port   = var.port
    }
  }

  lifecycle {
    ignore_changes = [desired_count] # the scaling's business
  }
}

# A name with the addresses of up to eight tasks that are well (Route 53 gives no more in one answer). NGINX and the collector
# know a change after the five seconds of the record and what they believe themselves: http.drain_s has to be longer.
resource "aws_service_discovery_service" "this" {
  name        = var.name
  description = "Tasks of ${local.full_name}"

  dns_config {
    namespace_id   = var.namespace_id
    routing_policy = "MULTIVALUE"

    dns_records {
      type = "A"
      ttl  = 5
    }
  }

  # ECS says which tasks are well.
  health_check_custom_config {
    failure_threshold = 1
  }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/${var.prefix}/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.key_arn
}

# --- how many tasks ---------------------------------------------------------------------------------------------------

resource "aws_appautoscaling_target" "this" {
  service_namespace  = "ecs"
  resource_id        = "service/${var.cluster.name}/${aws_ecs_service.this.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = var.size.least
  max_capacity       = var.size.most
}

# By CPU: a process of kvcore keeps one core busy, and that is what ends first. A worker that waits for a store that is
# away is idle, and more of them would not help.
resource "aws_appautoscaling_policy" "this" {
  name               = "cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  resource_id        = aws_appautoscaling_target.this.resource_id
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = var.busy_percent
    scale_out_cooldown = 60
    scale_in_cooldown  = 300

    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

# --- what it may do ---------------------------------------------------------------------------------------------------

data "aws_iam_policy_document" "assumed_by_tasks" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

# What Fargate does to start a task: pull the image, read the secrets, open the log.
resource "aws_iam_role" "start" {
  name               = "${local.full_name}-start"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_tasks.json
}

resource "aws_iam_role_policy" "start" {
  name   = "start"
  role   = aws_iam_role.start.id
  policy = data.aws_iam_policy_document.start.json
}

data "aws_iam_policy_document" "start" {
  # Logging in to ECR is not about one repository, so it has no ARN.
  statement {
    sid       = "Login"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    sid       = "Image"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = [var.repository_arn]
  }

  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this.arn}:*"]
  }

  dynamic "statement" {
    for_each = length(local.secret_arns) == 0 ? [] : [local.secret_arns]

    content {
      sid       = "Secrets"
      actions   = ["secretsmanager:GetSecretValue"]
      resources = statement.value
    }
  }

  dynamic "statement" {
    for_each = length(local.secret_arns) == 0 ? [] : [var.key_arn]

    content {
      sid       = "KeyOfSecrets"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]
    }
  }
}

# What the process itself may ask AWS for: nothing, unless who calls this module adds to it.
resource "aws_iam_role" "task" {
  name               = local.full_name
  assume_role_policy = data.aws_iam_policy_document.assumed_by_tasks.json
}
