"""Single measurements, each in a process of its own: `python -m benchmarks.jobs NAME JSON`.

Allocator, threads and imports of one must not be those of the next. A job prints its figures as the last line.
"""

import json
import logging
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

Figures = dict[str, float]
JOBS: dict[str, Callable[..., Figures]] = {}


def job(function: Callable[..., Figures]) -> Callable[..., Figures]:
    """Make a function callable by its name from another process."""
    JOBS[function.__name__] = function
    return function


def run_job(name: str, python: str = sys.executable, **arguments: Any) -> Figures:
    """Run a job in a fresh process and give its figures; an empty dict, with the cause on stderr, where it failed."""
    command = [python, "-m", "benchmarks.jobs", name, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return {}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def timed(command: list[str]) -> float:
    """Seconds that a command takes; raises RuntimeError where it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}")
    return time.perf_counter() - began


def core_seconds() -> float:
    """Time that this process and the workers that it has ended have kept cores busy: no other job counts."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_megabytes() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_core() -> None:
    """Bind this process to one core, and OpenCV to one thread."""
    import cv2

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)


if __name__ == "__main__":
    from benchmarks import jobs, our_jobs, usual_jobs  # noqa: F401 (each names its jobs)

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    name, arguments = sys.argv[1:]
    print(json.dumps(jobs.JOBS[name](**json.loads(arguments))))
