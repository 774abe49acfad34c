"""Where a run's settings, curves, pictures and results go while it runs: TensorBoard, csv files, W&B, MLflow."""
