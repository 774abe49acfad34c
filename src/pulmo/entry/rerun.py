"""What `pulmo rerun` runs, in each of its processes."""

import sys

from pulmo.rerun import main

if __name__ == "__main__":
    main(sys.argv[1:])
