import logging
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import kagglehub
import pytest
import requests
from kagglehub.exceptions import UnauthenticatedError
from typer.testing import CliRunner

from pulmo.cli import app
from pulmo.cli.app import told


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UnauthenticatedError(), "kaggle.json"),
        (requests.HTTPError(response=SimpleNamespace(status_code=403)), "accept its rules"),
        (requests.HTTPError(response=SimpleNamespace(status_code=401)), "does not take these credentials"),
        (requests.HTTPError(response=SimpleNamespace(status_code=500)), "answers with an error"),
        (requests.ConnectionError(), "no network to Kaggle"),
    ],
    ids=["no credentials", "rules", "wrong credentials", "server", "offline"],
)
def test_download__tells_what_the_user_needs(error: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: str) -> str:
        raise error

    monkeypatch.setattr(kagglehub, "competition_download", fail)
    status, output = _run("download", "rsna")
    assert status == 1
    assert said in output
    assert len(output.strip().splitlines()) == 1


def test_download__gives_the_folder_that_data_root_means(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "chest_xray").mkdir()
    monkeypatch.setattr(kagglehub, "dataset_download", lambda handle: str(tmp_path))
    assert _run("download", "kermany") == (0, f"data.root={tmp_path / 'chest_xray'}\n")


def test_download__unknown_name_lists_the_known() -> None:
    status, output = _run("download", "mimic")
    assert status == 1
    assert "kermany or rsna" in output


def test_version__is_that_of_the_package() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"pulmo {version('pulmo')}\n")


def test_help__is_called_by_its_first_letter_too() -> None:
    for command in ([], ["evaluate"]):
        short, long = (CliRunner().invoke(app, [*command, option]) for option in ("-h", "--help"))
        assert (short.exit_code, short.output) == (0, long.output)


@pytest.mark.skipif(os.name == "nt", reason="no signals there")
def test_ctrl_c__ends_a_command_with_one_line_and_the_status_of_a_shell() -> None:
    code = (
        "import os, signal\nfrom pulmo.cli.app import told\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\nwith told():\n"
        "    try:\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except BaseException:\n        pass  # as an import of a library may\n    print('went on')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\npulmo: interrupted\n")


def test_ctrl_c__is_pythons_own_again_afterwards() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with told():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_help__names_every_command() -> None:
    status, output = _run("--help")
    assert status == 0
    assert output.index("Data") < output.index("Training") < output.index("After a run")
    of_data, of_training = ("inspect", "sample", "download"), ("train", "rerun", "sweep")
    after = ("evaluate", "predict", "explain", "compare", "report")
    assert all(command in output for command in (*of_data, *of_training, *after))


@pytest.mark.parametrize("command", ["evaluate", "explain", "report", "rerun", "predict"])
def test_help__the_run_comes_first_and_examples_stand_below(command: str) -> None:
    status, output = _run(command, "--help")
    assert status == 0
    words = " ".join(output.split())
    assert re.search(rf"{command} \[OPTIONS\] \W?RUN", words)
    assert f"Examples: pulmo {command} " in words


@pytest.mark.parametrize("command", ["evaluate", "explain", "inspect", "report", "rerun"])
def test_option__that_there_is_not_is_told(command: str) -> None:
    status, output = _run(command, "--otu", "x")
    assert status == 2
    assert "No such option: --otu" in output


def test_train__bare_log_level_of_lightning_is_quiet() -> None:
    from pulmo.launch import quiet

    quiet()
    assert logging.getLogger("pytorch_lightning").level == logging.WARNING


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
def test_full_disk__behind_the_output_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "import typer\nfrom pulmo.cli.app import told\ndef main() -> None:\n    with told():\n        print(1)\n"
        "typer.run(main)"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "x.py"], stdout=full, stderr=-1, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "pulmo: cannot write to where the output goes: No space left on device\n"
