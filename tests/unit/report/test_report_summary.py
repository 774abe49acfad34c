"""What a training prints at its end."""

from pathlib import Path

import pytest

from pulmo.report.summary import print_summary

RESULTS = {"val/auroc": 0.9, "test/auroc": 0.8, "threshold": 0.5}


@pytest.mark.parametrize("has_report", [True, False])
def test_summary__ends_with_the_report_where_there_is_one_and_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], has_report: bool
) -> None:
    if has_report:
        (tmp_path / "report.html").touch()
    (tmp_path / "tensorboard").mkdir()
    print_summary(RESULTS, tmp_path)
    *_, report, dashboard, last = capsys.readouterr().out.splitlines()
    assert last == str(tmp_path)
    assert dashboard.startswith("dashboard: ")
    assert (report == f"report: {tmp_path / 'report.html'}") == has_report
