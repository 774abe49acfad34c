"""Which run of a server a folder belongs to."""

from pathlib import Path

from pulmo.loggers.continued import known_id, named, remember


def test_remember__an_id_for_each_server(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert known_id(folder, "http://a") is None
    remember(folder, "http://a", "1")
    remember(folder, "http://b", "2")
    remember(folder, "http://a", "3")
    assert known_id(folder, "http://a") == "3"
    assert known_id(folder, "http://b") == "2"


def test_named__a_multiruns_job_by_the_multirun_too() -> None:
    assert named(Path("outputs/rsna_unet/2026-01-01_10-00-00")) == "2026-01-01_10-00-00"
    assert named(Path("outputs/multirun/2026-01-01_10-00-00/3")) == "2026-01-01_10-00-00_3"
