# A network load balancer ends TLS and passes bytes on to NGINX, which knows what may be repeated and how long keys may be.
# docs/deployment/aws.md has what an application load balancer would take away. There is no port 80: a token that was sent in the clear
# is lost before a redirect could help.

resource "aws_lb" "this" {
  name               = var.name
  load_balancer_type = "network"
  internal           = false
  subnets            = [for zone in var.zones : aws_subnet.public[zone].id]
  security_groups    = [aws_security_group.tier["edge"].id]

  enable_cross_zone_load_balancing = true # a zone may have fewer proxies for a while
  enable_deletion_protection       = true
}

resource "aws_lb_target_group" "proxy" {
  name        = "${var.name}-proxy"
  vpc_id      = aws_vpc.this.id
  target_type = "ip"
  protocol    = "TCP"
  port        = 8080

  preserve_client_ip     = "true" # for limits by address, and logs
  deregistration_delay   = 30
  connection_termination = true

  # By way of NGINX to a node: one that reaches none gets nothing more, as long as others do.
  health_check {
    protocol            = "HTTP"
    path                = "/health/ready"
    matcher             = "200"
    interval            = 5
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "TLS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"
  certificate_arn   = aws_acm_certificate_validation.this.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.proxy.arn
  }
}

resource "aws_acm_certificate" "this" {
  domain_name       = var.domain_name
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_route53_record" "validation" {
  for_each = { for option in aws_acm_certificate.this.domain_validation_options : option.domain_name => option }

  zone_id = var.dns_zone_id
  name    = each.value.resource_record_name
  type    = each.value.resource_record_type
  records = [each.value.resource_record_value]
  ttl     = 300
}

resource "aws_acm_certificate_validation" "this" {
  certificate_arn         = aws_acm_certificate.this.arn
  validation_record_fqdns = [for record in aws_route53_record.validation : record.fqdn]
}

resource "aws_route53_record" "this" {
  zone_id = var.dns_zone_id
  name    = var.domain_name
  type    = "A"

  alias {
    name                   = aws_lb.this.dns_name
    zone_id                = aws_lb.this.zone_id
    evaluate_target_health = true
  }
}
