# --- where ------------------------------------------------------------------------------------------------------------

variable "name" {
  description = "What all resources are called, or begin with. Two installations in one account need two names."
  type        = string
  default     = "kvcore"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "2 to 20 lowercase letters, digits and hyphens, beginning with a letter: load balancers allow 32 characters in all."
  }
}

variable "region" {
  description = "The region, such as eu-central-1."
  type        = string
}

variable "account_id" {
  description = "The account that this is for: with credentials of another one nothing is done."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "Twelve digits."
  }
}

variable "zones" {
  description = "The three availability zones. Three, so that a majority of RabbitMQ and CockroachDB is left when one is lost."
  type        = list(string)

  validation {
    condition     = length(var.zones) == 3 && length(distinct(var.zones)) == 3
    error_message = "Exactly three different zones."
  }
}

variable "tags" {
  description = "Tags of every resource, besides Service and ManagedBy."
  type        = map(string)
  default     = {}
}

# --- network ----------------------------------------------------------------------------------------------------------

variable "network" {
  description = "IPv4 network of the VPC: a /16 to /20. It is divided into sixteen parts, of which nine are used."
  type        = string
  default     = "10.20.0.0/16"

  validation {
    condition     = can(cidrhost(var.network, 0)) && contains(range(16, 21), tonumber(split("/", var.network)[1]))
    error_message = "An IPv4 network in CIDR notation with a prefix of 16 to 20 bits."
  }
}

variable "client_networks" {
  description = "IPv4 networks that may reach the load balancer. Name those of the clients, where they are known."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = length(var.client_networks) > 0 && alltrue([for network in var.client_networks : can(cidrhost(network, 0))])
    error_message = "At least one IPv4 network in CIDR notation."
  }
}

variable "domain_name" {
  description = "The name that clients use, such as kv.example.com. The certificate is for it."
  type        = string
}

variable "dns_zone_id" {
  description = "Id of the public Route 53 hosted zone that domain_name is in."
  type        = string
}

# --- kvcore -----------------------------------------------------------------------------------------------------------

variable "kvcore_version" {
  description = "Tag of the image in the ECR repository kvcore that nodes and workers run."
  type        = string
}

variable "proxy_version" {
  description = "Tag of the image in the ECR repository proxy: NGINX with the configuration of deploy/nginx."
  type        = string
}

variable "collector_version" {
  description = "Tag of the image in the ECR repository collector: a copy of the AWS Distro for OpenTelemetry Collector."
  type        = string
}

variable "proxies" {
  description = "NGINX: the least and the most tasks in all zones together, CPU units (1,024 are one core) and MiB of each."
  type        = object({ least = number, most = number, cpu = number, memory = number })
  default     = { least = 3, most = 6, cpu = 1024, memory = 2048 }

  validation {
    condition     = var.proxies.least >= 3 && var.proxies.most >= var.proxies.least
    error_message = "At least three, one a zone, and the most not below the least."
  }
}

variable "nodes" {
  description = "API nodes, one process and so one core each: the least and the most tasks in each zone, CPU units and MiB."
  type        = object({ least = number, most = number, cpu = number, memory = number })
  default     = { least = 1, most = 4, cpu = 1024, memory = 2048 }

  validation {
    condition     = var.nodes.least >= 1 && var.nodes.most >= var.nodes.least && var.nodes.most <= 8
    error_message = "1 to 8 in each zone, as many as a name in DNS gives addresses, and the most not below the least."
  }
}

variable "workers" {
  description = "Workers, one process and so one core each: the least and the most tasks in all zones together, CPU units and MiB."
  type        = object({ least = number, most = number, cpu = number, memory = number })
  default     = { least = 2, most = 6, cpu = 1024, memory = 2048 }

  validation {
    condition     = var.workers.least >= 2 && var.workers.most >= var.workers.least && var.workers.most <= 8
    error_message = "2 to 8, as many as a name in DNS gives addresses, and the most not below the least."
  }
}

# --- the tiers --------------------------------------------------------------------------------------------------------

variable "cache_node_type" {
  description = "Node type of ElastiCache. Redis uses one core for commands, so more cores do not make it faster."
  type        = string
  default     = "cache.m7g.large"
}

variable "cache_limits" {
  description = "kvcore's cache.redis.max_keys and cache.redis.max_memory_bytes. The latter below the memory of the node type less the quarter that ElastiCache reserves."
  type        = object({ max_keys = number, max_memory_bytes = number })
  default     = { max_keys = 2000000, max_memory_bytes = 4000000000 }

  validation {
    condition     = var.cache_limits.max_keys >= 1 && var.cache_limits.max_memory_bytes >= 1048576
    error_message = "At least one key and 1 MiB."
  }
}

variable "queue_version" {
  description = "RabbitMQ's version on Amazon MQ. 3.13 is the first with quorum queues; 4.2 runs on mq.m7g only."
  type        = string
  default     = "4.2"

  validation {
    condition     = contains(["3.13", "4.2"], var.queue_version)
    error_message = "3.13 or 4.2."
  }
}

variable "queue_instance_type" {
  description = "Instance type of the three RabbitMQ nodes."
  type        = string
  default     = "mq.m7g.large"
}

variable "store_instance_type" {
  description = "Instance type of the three CockroachDB nodes, x86_64."
  type        = string
  default     = "m7i.xlarge"
}

variable "store_volume" {
  description = "Data volume (gp3) of each CockroachDB node: GiB, IOPS, and MiB/s."
  type        = object({ size = number, iops = number, throughput = number })
  default     = { size = 200, iops = 6000, throughput = 250 }

  validation {
    condition     = var.store_volume.iops >= 3000 && var.store_volume.throughput >= 125
    error_message = "gp3 has at least 3,000 IOPS and 125 MiB/s."
  }
}

variable "store_archive" {
  description = "CockroachDB for linux-amd64 as the vendor packs it (.tgz), in a bucket of yours: bucket, key, and the file's SHA-256 in hex."
  type        = object({ bucket = string, key = string, sha256 = string })

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.store_archive.sha256))
    error_message = "sha256 is 64 lowercase hex digits."
  }
}

variable "store_telemetry" {
  description = "Whether CockroachDB may reach the internet (HTTPS only, by a NAT gateway in each zone). Its free licence asks for telemetry, and throttles a cluster that has sent none for 7 days."
  type        = bool
  default     = false
}

# --- operations -------------------------------------------------------------------------------------------------------

variable "alarm_email" {
  description = "Address that is told of alarms. It has to confirm the subscription."
  type        = string

  validation {
    condition     = can(regex("^[^@ ]+@[^@ ]+$", var.alarm_email))
    error_message = "An address of electronic mail."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept in CloudWatch, in days."
  type        = number
  default     = 30
}

variable "backup_retention_days" {
  description = "How long backups of the store are kept in S3, in days. More than store.tombstone_retention_s is of use only for reading."
  type        = number
  default     = 35
}
