variable "name" {
  description = "What the service is called, such as node."
  type        = string
}

variable "prefix" {
  description = "What the names of all resources begin with."
  type        = string
}

variable "region" {
  description = "The region, for the log."
  type        = string
}

variable "cluster" {
  description = "The ECS cluster: its name and ARN."
  type        = object({ name = string, arn = string })
}

variable "image" {
  description = "The image, with its tag."
  type        = string
}

variable "repository_arn" {
  description = "The ECR repository that the image is in: the only one that may be pulled from."
  type        = string
}

variable "command" {
  description = "Arguments of the image's entry point. Empty: those of the image."
  type        = list(string)
  default     = []
}

variable "health_command" {
  description = "Command that ends with 0 while the container is well, run in it. Empty: as long as it runs it is."
  type        = list(string)
  default     = []
}

variable "size" {
  description = "The least and the most tasks, CPU units and MiB of each."
  type        = object({ least = number, most = number, cpu = number, memory = number })
}

variable "port" {
  description = "The port that it listens on."
  type        = number
}

variable "environment" {
  description = "Environment variables: names and values."
  type        = map(string)
  default     = {}
}

variable "secrets" {
  description = "Environment variables whose values are secrets: names and ARNs."
  type        = map(string)
  default     = {}
}

variable "files" {
  description = "Files whose contents are secrets: paths, all in one folder, and ARNs. The image must have Python."
  type        = map(string)
  default     = {}
}

variable "writable" {
  description = "Folders that the container may write to; the rest of its file system is read-only."
  type        = list(string)
  default     = []
}

variable "stop_s" {
  description = "Seconds from SIGTERM to SIGKILL: more than the service takes to drain. At most 120 on Fargate."
  type        = number

  validation {
    condition     = var.stop_s >= 2 && var.stop_s <= 120
    error_message = "2 to 120."
  }
}

variable "subnet_ids" {
  description = "Subnets that tasks are in."
  type        = list(string)
}

variable "security_group_id" {
  description = "Security group of the tasks."
  type        = string
}

variable "namespace_id" {
  description = "Cloud Map namespace that the tasks' addresses are listed in, below the service's name."
  type        = string
}

variable "target_group_arn" {
  description = "Target group of a load balancer that the tasks are put into. Not set: none."
  type        = string
  default     = null
}

variable "key_arn" {
  description = "KMS key of log and secrets."
  type        = string
}

variable "log_retention_days" {
  description = "How long the log is kept, in days."
  type        = number
}

variable "busy_percent" {
  description = "Part of the CPU that tasks are to be busy with: more tasks are started above it, and ended below. 50 leaves room for a zone that is lost."
  type        = number
  default     = 50
}
