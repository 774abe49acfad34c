"""Figures of merit, from scores and labels."""
