"""A finished run's answer to any files: found, decoded, looked at, and written as they come."""
