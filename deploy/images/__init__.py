"""Container images: one Dockerfile and the locked requirements of each image."""
