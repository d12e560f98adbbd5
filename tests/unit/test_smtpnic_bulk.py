"""Import and export, against a registry in memory behind real gRPC and TLS."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smtpnic.cli import main
from tests.support.contact_options import contact_of
from tests.support.fake_registry import FakeRegistry, serve

Run = Callable[..., Any]

HEADER = "address,host,domain\n"


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def run(
    registry: FakeRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Runs a command with --json for a holder that exists; gives what it printed."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0) -> Any:
        found = main([*arguments, "--json"])
        captured = capsys.readouterr()
        assert (found, captured.err) == (code, captured.err)
        return json.loads(captured.out) if captured.out else json.loads(captured.err)

    with serve(tmp_path, registry) as served:
        monkeypatch.setenv("SMTPNIC_PRIMARY", served.address)
        monkeypatch.setenv("SMTPNIC_CA", str(served.ca))
        call("holder", "create", *contact_of("Example"))
        yield call


def rows(count: int, first: int = 0) -> str:
    return "".join(
        f"198.51.{number >> 8}.{number & 255},mx{number}.example.org,example.org\n"
        for number in range(first, first + count)
    )


def counts(summary: Any) -> tuple[int, int, int, int]:
    return tuple(summary[name] for name in ("registered", "updated", "unchanged", "refused"))


def test_rows_are_registered_in_chunks(run: Run, registry: FakeRegistry, tmp_path: Path) -> None:
    """600 rows a message; nothing is left beside the input when all is well."""
    (tmp_path / "in.csv").write_text(HEADER + rows(1500))
    summary = run("import", "in.csv")
    assert counts(summary) == (1500, 0, 0, 0)
    assert registry.chunks == [600, 600, 300]
    assert len(registry.registrations) == 1500
    assert [path.name for path in tmp_path.glob("in.csv*")] == ["in.csv"]


def test_importing_again_changes_nothing(run: Run, registry: FakeRegistry, tmp_path: Path) -> None:
    """A row that is registered with the same names is unchanged; so is one that stands twice."""
    (tmp_path / "in.csv").write_text(HEADER + rows(3))
    run("import", "in.csv")
    (tmp_path / "in.csv").write_text(HEADER + rows(5) + rows(1, first=4))
    assert counts(run("import", "in.csv")) == (2, 0, 4, 0)
    assert len(registry.registrations) == 5


def test_other_names_are_refused_unless_updating(run: Run, tmp_path: Path) -> None:
    """--update lets rows change registrations, one's own only."""
    (tmp_path / "in.csv").write_text(HEADER + rows(2))
    run("import", "in.csv")
    (tmp_path / "in.csv").write_text(HEADER + rows(1) + rows(1, first=1).replace("mx1", "new"))
    assert counts(run("import", "in.csv", code=1)) == (0, 0, 1, 1)
    assert counts(run("import", "in.csv", "--update")) == (0, 1, 1, 0)
    other = run("holder", "create", *contact_of("Second"))["holder"]
    summary = run("import", "in.csv", "--update", "--holder", other, code=1)
    assert counts(summary) == (0, 0, 0, 2)


def test_refused_rows_are_reported_to_be_mended(run: Run, tmp_path: Path) -> None:
    """The report has line, code and message, and can be imported as soon as it is mended."""
    (tmp_path / "in.csv").write_text(
        HEADER
        + "198.51.100.1,mx.example.org,example.org\n"
        + "300.1.1.1,=cmd.example.org,example.org\n"
        + "198.51.100.2,mx.example.net,example.org\n"
        + "198.51.100.3\n"
    )
    summary = run("import", "in.csv", code=1)
    assert counts(summary) == (1, 0, 0, 3)
    report = tmp_path / summary["report"]
    assert report.name == "in.csv.refused.csv"
    found = list(csv.DictReader(io.StringIO(report.read_text())))
    assert [(row["line"], row["code"]) for row in found] == [
        ("3", "address"),
        ("4", "domain"),
        ("5", "row"),
    ]
    assert found[0]["host"] == "'=cmd.example.org"
    mended = report.read_text().replace("300.1.1.1,'=cmd", "198.51.100.4,cmd")
    mended = mended.replace("mx.example.net", "mx2.example.org").replace(
        "198.51.100.3,,", "198.51.100.3,mx3.example.org,example.org"
    )
    report.write_text(mended)
    assert counts(run("import", report.name)) == (3, 0, 0, 0)


def test_a_report_that_is_being_mended_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    """The next import of the same file sets the older report aside."""
    (tmp_path / "in.csv").write_text(HEADER + "300.1.1.1,mx.example.org,example.org\n")
    run("import", "in.csv", code=1)
    (tmp_path / "in.csv.refused.csv").write_text("half mended")
    run("import", "in.csv", code=1)
    assert (tmp_path / "in.csv.refused.csv~").read_text() == "half mended"


def test_json_lines_are_imported(run: Run, registry: FakeRegistry, tmp_path: Path) -> None:
    """Members that it does not know are ignored, as columns are."""
    lines = [
        {"address": "2001:db8::1", "host": "mx.example.org", "domain": "example.org", "x": 1},
        {"address": "198.51.100.1", "host": 7, "domain": "example.org"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert counts(run("import", "in.jsonl", code=1)) == (1, 0, 0, 1)
    assert list(registry.registrations) == ["2001:db8::1"]


def test_standard_input_is_imported(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be resumed, so there is no journal; --format tells what it is."""
    data = io.BytesIO((HEADER + rows(2) + "x,y,z\n").encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    summary = run("import", "-", "--format", "csv", code=1)
    assert counts(summary) == (2, 0, 0, 1)
    assert summary["report"] == "stdin.refused.csv"


def test_a_broken_stream_is_opened_again(run: Run, registry: FakeRegistry, tmp_path: Path) -> None:
    """The chunks that were not answered are sent again; the registry has each row once."""
    registry.break_stream_after = 2
    (tmp_path / "in.csv").write_text(HEADER + rows(3600))
    assert counts(run("import", "in.csv")) == (3600, 0, 0, 0)
    assert len(registry.registrations) == 3600


def test_a_stream_that_falls_silent_is_opened_again(
    run: Run, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import never hangs for ever."""
    monkeypatch.setattr("smtpnic.client.submit.MAX_SILENCE_SECONDS", 0.2)
    silence = iter([5.0])
    spoken = threading.Event()
    registry.on_chunk = lambda _rows: [None for seconds in silence if not spoken.wait(seconds)]
    (tmp_path / "in.csv").write_text(HEADER + rows(700))
    assert counts(run("import", "in.csv")) == (700, 0, 0, 0)
    spoken.set()


def test_an_interrupted_import_goes_on(run: Run, registry: FakeRegistry, tmp_path: Path) -> None:
    """Ctrl-C leaves a journal; the same command sends only what is not settled."""

    def interrupt(_rows: int) -> None:
        if len(registry.chunks) == 4:
            os.kill(os.getpid(), signal.SIGINT)

    registry.on_chunk = interrupt
    (tmp_path / "in.csv").write_text(HEADER + "300.1.1.1,a,b\n" + rows(12_000))
    run("import", "in.csv", code=130)
    journal = json.loads((tmp_path / "in.csv.journal").read_text())
    assert 600 <= journal["line"] - 1 <= len(registry.chunks) * 600
    registry.on_chunk = lambda _rows: None
    registry.chunks.clear()
    summary = run("import", "in.csv", code=1)
    assert summary["rows"] == 12_001
    assert summary["registered"] + summary["unchanged"] == 12_000
    assert sum(registry.chunks) == 12_001 - (journal["line"] - 1)
    report = (tmp_path / "in.csv.refused.csv").read_text().splitlines()
    assert [line.split(",")[3] for line in report] == ["line", "2"]
    assert not (tmp_path / "in.csv.journal").exists()


def interrupted(registry: FakeRegistry, run: Run, path: Path) -> None:
    path.write_text(HEADER + rows(1200))
    registry.break_stream_after = 1
    registry.on_chunk = lambda _rows: setattr(registry, "failures", 1000)
    run("import", path.name, code=4)
    registry.on_chunk, registry.failures = lambda _rows: None, 0
    registry.break_stream_after = None
    assert path.with_name(path.name + ".journal").exists()


def test_a_file_that_changed_is_not_gone_on_with(
    run: Run, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settled part must be the same bytes; --restart begins anew and duplicates nothing."""
    monkeypatch.setattr("smtpnic.importing.MAX_RECONNECTIONS", 1)
    path = tmp_path / "in.csv"
    interrupted(registry, run, path)
    path.write_text(path.read_text().replace("mx1.", "my1."))
    error = run("import", "in.csv", code=2)
    assert "--restart" in error["error"]["message"]
    assert counts(run("import", "in.csv", "--restart", code=1)) == (600, 0, 599, 1)


def test_an_import_goes_on_for_the_same_holder_only(
    run: Run, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows settled for one holder are not settled for another."""
    monkeypatch.setattr("smtpnic.importing.MAX_RECONNECTIONS", 1)
    interrupted(registry, run, tmp_path / "in.csv")
    other = run("holder", "create", *contact_of("Second"))["holder"]
    error = run("import", "in.csv", "--holder", other, code=2)
    assert "--restart" in error["error"]["message"]


def test_what_cannot_be_imported_is_said_before_anything_is_sent(
    run: Run, registry: FakeRegistry, tmp_path: Path
) -> None:
    """No such file, no header, no format."""
    assert "cannot read" in run("import", "none.csv", code=2)["error"]["message"]
    (tmp_path / "in.csv").write_text(rows(1))
    assert "columns address, host, domain" in run("import", "in.csv", code=2)["error"]["message"]
    (tmp_path / "in.txt").write_text(HEADER)
    assert "--format" in run("import", "in.txt", code=2)["error"]["message"]
    assert registry.chunks == []


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_what_is_exported_can_be_imported(
    run: Run, registry: FakeRegistry, tmp_path: Path, suffix: str
) -> None:
    """Export writes every registration; importing that changes nothing."""
    (tmp_path / "in.csv").write_text(HEADER + rows(1100))
    run("import", "in.csv")
    assert run("export", f"out.{suffix}") == {"file": f"out.{suffix}", "rows": 1100}
    assert counts(run("import", f"out.{suffix}")) == (0, 0, 1100, 0)


def test_an_export_goes_to_standard_output(
    run: Run, registry: FakeRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`-` is the stream, and nothing else is printed on it."""
    (tmp_path / "in.csv").write_text(HEADER + rows(1))
    main(["import", "in.csv"])
    capsys.readouterr()
    assert main(["export", "-", "--format", "jsonl"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["address"] == "198.51.0.0"


def test_an_export_that_fails_leaves_no_file(
    run: Run, registry: FakeRegistry, tmp_path: Path
) -> None:
    """A file under the name asked for is whole."""
    registry.failures = 1000
    run("export", "out.csv", "--timeout", "0.3", code=4)
    assert not list(tmp_path.glob("out*"))
