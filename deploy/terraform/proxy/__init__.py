"""NGINX before nodes on ECS: `python -m deploy.terraform.proxy`."""
