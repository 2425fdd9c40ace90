# Three kinds of subnets, each in three zones. Only the public ones, where nothing but the load balancer is, have a way to
# the internet. Nothing else needs one: images, secrets, logs and backups are reached through endpoints. So there are no NAT
# gateways, and a process that was broken into has no way out but to AWS itself, and there to the buckets below and no others. The one
# exception is asked for by store_telemetry.

locals {
  # For an unambiguous order: the number of a zone is part of addresses.
  zone_numbers = { for number, zone in var.zones : zone => number }

  interface_endpoints = toset([
    "aps-workspaces", # metrics
    "ecr.api",
    "ecr.dkr",
    "logs",
    "monitoring",
    "secretsmanager",
    "ssm", # Session Manager, as the next
    "ssmmessages",
  ])
}

resource "aws_vpc" "this" {
  cidr_block           = var.network
  enable_dns_hostnames = true
  enable_dns_support   = true

  tags = { Name = var.name }
}

# Nobody uses the default group; without rules it lets nothing through, whoever ends up in it.
resource "aws_default_security_group" "unused" {
  vpc_id = aws_vpc.this.id
}

resource "aws_subnet" "public" {
  for_each = local.zone_numbers

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.network, 4, each.value)

  tags = { Name = "${var.name}-public-${each.key}" }
}

resource "aws_subnet" "compute" {
  for_each = local.zone_numbers

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.network, 4, 4 + each.value)

  tags = { Name = "${var.name}-compute-${each.key}" }
}

resource "aws_subnet" "data" {
  for_each = local.zone_numbers

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.network, 4, 8 + each.value)

  tags = { Name = "${var.name}-data-${each.key}" }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id

  tags = { Name = var.name }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-public" }
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  subnet_id      = each.value.id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table" "compute" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-compute" }
}

resource "aws_route_table_association" "compute" {
  for_each = aws_subnet.compute

  subnet_id      = each.value.id
  route_table_id = aws_route_table.compute.id
}

resource "aws_route_table" "data" {
  for_each = local.zone_numbers

  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-data-${each.key}" }
}

resource "aws_route_table_association" "data" {
  for_each = local.zone_numbers

  subnet_id      = aws_subnet.data[each.key].id
  route_table_id = aws_route_table.data[each.key].id
}

# --- out of the data subnets, where CockroachDB's licence asks for it: a gateway in each zone, so that none depends on another

locals {
  telemetry_zones = var.store_telemetry ? local.zone_numbers : {}
}

resource "aws_eip" "telemetry" {
  for_each = local.telemetry_zones

  domain = "vpc"

  tags = { Name = "${var.name}-${each.key}" }
}

resource "aws_nat_gateway" "telemetry" {
  for_each = local.telemetry_zones

  allocation_id = aws_eip.telemetry[each.key].id
  subnet_id     = aws_subnet.public[each.key].id
  depends_on    = [aws_internet_gateway.this]

  tags = { Name = "${var.name}-${each.key}" }
}

resource "aws_route" "telemetry" {
  for_each = local.telemetry_zones

  route_table_id         = aws_route_table.data[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.telemetry[each.key].id
}

# --- AWS services -----------------------------------------------------------------------------------------------------

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = concat([aws_route_table.compute.id], [for table in aws_route_table.data : table.id])
  policy            = data.aws_iam_policy_document.s3.json

  tags = { Name = "${var.name}-s3" }
}

# Without it, whoever broke in could put what he found into a bucket of his own.
data "aws_iam_policy_document" "s3" {
  statement {
    sid     = "ImagesAndSoftware"
    actions = ["s3:GetObject"]
    resources = [
      "arn:aws:s3:::prod-${var.region}-starport-layer-bucket/*", # where ECR has the layers of images
      "arn:aws:s3:::al2023-repos-${var.region}-de612dc2/*",      # packages of Amazon Linux 2023
      "arn:aws:s3:::${var.store_archive.bucket}/${var.store_archive.key}",
    ]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }

  statement {
    sid       = "Backups"
    actions   = ["s3:ListBucket", "s3:GetObject", "s3:PutObject"]
    resources = [aws_s3_bucket.backups.arn, "${aws_s3_bucket.backups.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }
}

resource "aws_vpc_endpoint" "interface" {
  for_each = local.interface_endpoints

  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = [for subnet in aws_subnet.compute : subnet.id]
  security_group_ids  = [aws_security_group.tier["endpoints"].id]
  private_dns_enabled = true

  tags = { Name = "${var.name}-${each.key}" }
}

# The names of tasks, which come and go: node.<name>.internal is all API nodes.
resource "aws_service_discovery_private_dns_namespace" "this" {
  name        = "${var.name}.internal"
  description = "Where the tasks of ${var.name} are"
  vpc         = aws_vpc.this.id
}
