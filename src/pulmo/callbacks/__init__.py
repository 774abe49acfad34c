"""What happens beside the training step: stages, seeds, checkpoints, records."""
