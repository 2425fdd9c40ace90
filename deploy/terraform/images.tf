# Images are copied here, so that starting a task needs nobody else, and what runs is what was checked: a tag is never moved.

resource "aws_ecr_repository" "this" {
  for_each = toset(["kvcore", "proxy", "collector"])

  name                 = "${var.name}/${each.key}"
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.this.arn
  }
}

locals {
  images = {
    kvcore    = "${aws_ecr_repository.this["kvcore"].repository_url}:${var.kvcore_version}"
    proxy     = "${aws_ecr_repository.this["proxy"].repository_url}:${var.proxy_version}"
    collector = "${aws_ecr_repository.this["collector"].repository_url}:${var.collector_version}"
  }
}
