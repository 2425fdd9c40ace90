output "task_role_name" {
  description = "The role of the process itself, which has no rights yet."
  value       = aws_iam_role.task.name
}

output "task_definition_arn" {
  description = "The task definition, for commands that run once."
  value       = aws_ecs_task_definition.this.arn
}

output "log_group_name" {
  description = "Where its log is."
  value       = aws_cloudwatch_log_group.this.name
}
