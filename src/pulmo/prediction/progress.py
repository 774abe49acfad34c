"""How far a job is, on a terminal."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def told_of(every: Iterator[object] | None) -> Iterator[Callable[[int], None]]:
    """Give what is told how many images more are done; `every` one is counted in a thread meanwhile, if given."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None, rate="")
        began, ended = time.monotonic(), threading.Event()

        def count() -> None:
            total = 0
            for _ in every or ():
                if ended.is_set():
                    return
                total += 1
            progress.update(task, total=total)

        def advance(images: int) -> None:
            progress.advance(task, images)
            progress.update(task, rate=f"{progress.tasks[0].completed / (time.monotonic() - began):.0f} images/s")

        if console.is_terminal and every is not None:
            threading.Thread(target=count, daemon=True).start()
        try:
            yield advance
        finally:
            ended.set()
