"""Train and test one experiment: python train.py model=resnet50 data=rsna

Composes the configuration in conf/, builds data, network and trainer, fits, tests on the best checkpoint, and
leaves everything in a folder under outputs/. `python train.py --help` lists the groups; `-m` runs sweeps.
"""

from pulmo import interruption

with interruption.ended_at_once():
    from pulmo.launch import launch

if __name__ == "__main__":
    launch()
