"""What is watched, as code: alert rules, a dashboard, and the configuration of what collects and shows."""
