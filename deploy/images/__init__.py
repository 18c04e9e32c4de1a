"""The images: one Dockerfile, and what each service's image installs."""
