"""Kubernetes: manifests for kustomize, and what makes one of them from the alerts."""
