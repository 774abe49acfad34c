"""What `pulmo train` runs, in each of its processes.

In a folder of its own: Python puts a script's folder first on its path, and pulmo/types.py would hide the standard
library's.
"""

from pulmo import interruption

with interruption.ended_at_once():
    from pulmo.launch import launch

if __name__ == "__main__":
    launch()
