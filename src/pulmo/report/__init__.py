"""Figures: functions from arrays to `matplotlib.figure.Figure`, and all those of a finished run folder."""
