"""The suite on Kubernetes: manifests and their generators."""
