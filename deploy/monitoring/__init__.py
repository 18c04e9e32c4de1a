"""Monitoring as code: alert rules, a dashboard, and configurations of collector, Prometheus and Grafana."""
