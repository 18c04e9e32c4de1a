"""The suite on Kubernetes: manifests, and what is generated for them."""
