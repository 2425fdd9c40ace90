# Two kinds. Passwords that Terraform has to give to servers are made here, and so are in the state. What it need not know
# is put in by hand, and is not: README.md, "The first time".

locals {
  passwords_made_here = toset(["cache", "queue-administrator", "queue"])

  secrets_by_hand = {
    tokens         = "Tokens of clients: the JSON list for auth.tokens"
    store-ca       = "Certificate of the authority that CockroachDB's certificates are signed by"
    store-password = "Password of the database user kvcore"
  }
}

resource "random_password" "this" {
  for_each = local.passwords_made_here

  length  = 40
  special = false # Amazon MQ refuses some
}

resource "aws_secretsmanager_secret" "made_here" {
  for_each = local.passwords_made_here

  name       = "${var.name}/${each.key}"
  kms_key_id = aws_kms_key.this.arn
}

resource "aws_secretsmanager_secret_version" "made_here" {
  for_each = local.passwords_made_here

  secret_id     = aws_secretsmanager_secret.made_here[each.key].id
  secret_string = random_password.this[each.key].result
}

resource "aws_secretsmanager_secret" "by_hand" {
  for_each = local.secrets_by_hand

  name        = "${var.name}/${each.key}"
  description = each.value
  kms_key_id  = aws_kms_key.this.arn
}

# One for each CockroachDB node, which can read no other's.
resource "aws_secretsmanager_secret" "store_node" {
  for_each = local.zone_numbers

  name        = "${var.name}/store-node-${each.key}"
  description = "JSON object of the files in this node's folder of certificates"
  kms_key_id  = aws_kms_key.this.arn
}
