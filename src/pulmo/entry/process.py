"""What a further process of a run runs: it trains by the configuration that the first process hands over."""

from pulmo.launch import join

if __name__ == "__main__":
    join()
