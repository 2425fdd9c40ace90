# Alarms about what AWS runs. Those about kvcore itself are the rules of deploy/monitoring, which metrics.tf loads. Both
# come to one topic; docs/operations.md says what to do.

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = aws_kms_key.this.arn
}

resource "aws_sns_topic_subscription" "mail" {
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.alarms.json
}

data "aws_iam_policy_document" "alarms" {
  statement {
    actions   = ["sns:Publish", "sns:GetTopicAttributes"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "aps.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

locals {
  cache_members = { for number in range(3) : number => format("%s-%03d", aws_elasticache_replication_group.this.id, number + 1) }

  # Each: what is measured, and what is too much of it (or too little: below = true) for so many minutes. What is not
  # measured at all is an alarm too, so one with wrong dimensions does not stay unnoticed.
  alarms = merge(
    {
      proxies-unhealthy = {
        about      = "NGINX tasks that reach no node."
        namespace  = "AWS/NetworkELB"
        metric     = "UnHealthyHostCount"
        dimensions = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.proxy.arn_suffix }
        statistic  = "Maximum"
        threshold  = 0
        minutes    = 5
        below      = false
      }
      proxies-few = {
        about      = "Fewer than two NGINX tasks serve."
        namespace  = "AWS/NetworkELB"
        metric     = "HealthyHostCount"
        dimensions = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.proxy.arn_suffix }
        statistic  = "Minimum"
        threshold  = 2
        minutes    = 2
        below      = true
      }
      queue-disk = {
        about      = "A RabbitMQ node has less than 10 GB of disk left: at its limit all writes are refused."
        namespace  = "AWS/AmazonMQ"
        metric     = "RabbitMQDiskFree"
        dimensions = { Broker = aws_mq_broker.this.broker_name }
        statistic  = "Minimum"
        threshold  = 10000000000
        minutes    = 5
        below      = true
      }
      queue-waiting = {
        about      = "Half of queue.rabbitmq.max_length waits to be applied: workers or the store are too slow, or away."
        namespace  = "AWS/AmazonMQ"
        metric     = "MessageReadyCount"
        dimensions = { Broker = aws_mq_broker.this.broker_name }
        statistic  = "Maximum"
        threshold  = 500000
        minutes    = 5
        below      = false
      }
    },
    {
      for number, member in local.cache_members : "cache-cpu-${number + 1}" => {
        about      = "Redis uses most of its one core: there is no more to have on this node type."
        namespace  = "AWS/ElastiCache"
        metric     = "EngineCPUUtilization"
        dimensions = { CacheClusterId = member }
        statistic  = "Average"
        threshold  = 80
        minutes    = 10
        below      = false
      }
    },
    {
      for number, member in local.cache_members : "cache-memory-${number + 1}" => {
        about      = "Redis' memory is nearly full, beyond cache.redis.max_memory_bytes: compare the two."
        namespace  = "AWS/ElastiCache"
        metric     = "DatabaseMemoryUsagePercentage"
        dimensions = { CacheClusterId = member }
        statistic  = "Maximum"
        threshold  = 95
        minutes    = 10
        below      = false
      }
    },
    {
      for zone, number in local.zone_numbers : "store-machine-${number + 1}" => {
        about      = "A CockroachDB machine fails its checks. It is recovered by itself; the others serve meanwhile."
        namespace  = "AWS/EC2"
        metric     = "StatusCheckFailed"
        dimensions = { InstanceId = aws_instance.store[zone].id }
        statistic  = "Maximum"
        threshold  = 0
        minutes    = 3
        below      = false
      }
    },
    {
      for zone, number in local.zone_numbers : "store-disk-${number + 1}" => {
        about      = "A CockroachDB volume is 70 % full: enlarge store_volume.size, which takes effect without a pause."
        namespace  = var.name
        metric     = "disk_used_percent"
        dimensions = { InstanceId = aws_instance.store[zone].id }
        statistic  = "Maximum"
        threshold  = 70
        minutes    = 15
        below      = false
      }
    },
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.about
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  comparison_operator = each.value.below ? "LessThanThreshold" : "GreaterThanThreshold"
  threshold           = each.value.threshold
  period              = 60
  evaluation_periods  = each.value.minutes
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}
