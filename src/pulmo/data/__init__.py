"""From a data-set folder to batches: index, split by patient, reading, cache, loaders."""
