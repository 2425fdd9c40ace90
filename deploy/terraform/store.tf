# Three CockroachDB nodes with addresses that stay, one a zone. A machine may be replaced; its volume is kept, and the new
# machine goes on with it.

locals {
  store_addresses = { for zone, number in local.zone_numbers : zone => cidrhost(aws_subnet.data[zone].cidr_block, 11) }
  store_folder    = "/var/lib/cockroach"
}

data "aws_ssm_parameter" "amazon_linux" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
}

resource "aws_instance" "store" {
  for_each = local.zone_numbers

  ami                         = data.aws_ssm_parameter.amazon_linux.value
  instance_type               = var.store_instance_type
  subnet_id                   = aws_subnet.data[each.key].id
  private_ip                  = local.store_addresses[each.key]
  vpc_security_group_ids      = [aws_security_group.tier["store"].id]
  iam_instance_profile        = aws_iam_instance_profile.store[each.key].name
  disable_api_termination     = true
  monitoring                  = true
  user_data_replace_on_change = false

  user_data = templatefile("${path.module}/store.sh.tftpl", {
    addresses    = join(",", values(local.store_addresses))
    address      = local.store_addresses[each.key]
    archive      = var.store_archive
    certificates = aws_secretsmanager_secret.store_node[each.key].arn
    folder       = local.store_folder
    log_group    = aws_cloudwatch_log_group.store.name
    namespace    = var.name
    region       = var.region
    volume       = replace(aws_ebs_volume.store[each.key].id, "-", "")
    zone         = each.key
  })

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  maintenance_options {
    auto_recovery = "default"
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = 20
    encrypted   = true
    kms_key_id  = aws_kms_key.this.arn
  }

  lifecycle {
    ignore_changes = [ami, user_data] # a new one is for a machine that is replaced on purpose, one at a time
  }

  tags = { Name = "${var.name}-store-${each.key}" }
}

resource "aws_ebs_volume" "store" {
  for_each = local.zone_numbers

  availability_zone = each.key
  type              = "gp3"
  size              = var.store_volume.size
  iops              = var.store_volume.iops
  throughput        = var.store_volume.throughput
  encrypted         = true
  kms_key_id        = aws_kms_key.this.arn

  lifecycle {
    prevent_destroy = true
  }

  tags = { Name = "${var.name}-store-${each.key}" }
}

resource "aws_volume_attachment" "store" {
  for_each = local.zone_numbers

  device_name                    = "/dev/sdf"
  instance_id                    = aws_instance.store[each.key].id
  volume_id                      = aws_ebs_volume.store[each.key].id
  stop_instance_before_detaching = true
}

resource "aws_cloudwatch_log_group" "store" {
  name              = "/${var.name}/store"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.this.arn
}

resource "aws_iam_role" "store" {
  for_each = local.zone_numbers

  name               = "${var.name}-store-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_ec2.json
}

resource "aws_iam_instance_profile" "store" {
  for_each = local.zone_numbers

  name = "${var.name}-store-${each.key}"
  role = aws_iam_role.store[each.key].name
}

resource "aws_iam_role_policy" "store" {
  for_each = local.zone_numbers

  name   = "store"
  role   = aws_iam_role.store[each.key].id
  policy = data.aws_iam_policy_document.store[each.key].json
}

data "aws_iam_policy_document" "assumed_by_ec2" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "store" {
  for_each = local.zone_numbers

  statement {
    sid       = "ItsOwnCertificates"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.store_node[each.key].arn]
  }

  statement {
    sid       = "CockroachDBItself"
    actions   = ["s3:GetObject"]
    resources = ["arn:aws:s3:::${var.store_archive.bucket}/${var.store_archive.key}"]
  }

  statement {
    sid       = "ListBackups"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.backups.arn]
  }

  statement {
    sid       = "WriteAndReadBackups"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${aws_s3_bucket.backups.arn}/*"]
  }

  statement {
    sid       = "KeyOfAllThese"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.this.arn]
  }

  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.store.arn}:*"]
  }

  # Session Manager: no keys, no open port, and a record of who was there. Only what sessions take: the policy that AWS manages for it
  # may also read every parameter of the account.
  statement {
    sid = "Sessions"
    actions = [
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel",
      "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel",
      "ssmmessages:OpenDataChannel",
    ]
    resources = ["*"]
  }

  # Metrics have no ARNs; their namespace is what can be asked for.
  statement {
    sid       = "Metrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = [var.name]
    }
  }
}
