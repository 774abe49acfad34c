"""The page of a finished run, `report.html`: what was run, on what, how well, and where it fails."""
