"""The images of a finished run, wherever they lie now, or another data set prepared as they were."""
