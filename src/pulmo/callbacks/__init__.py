"""What happens beside the training step: thresholds, stages, records."""
