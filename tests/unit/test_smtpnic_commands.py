"""The commands on single records, against a registry in memory behind real gRPC and TLS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.wire.v1 import registration_pb2
from smtpnic.cli import hoist, main
from tests.support.contact_options import PRIVATE, contact_of
from tests.support.fake_registry import FakeRegistry, Served, serve

Run = Callable[..., Any]


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def served(
    registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    """The registry, serving; the environment says where."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with serve(tmp_path, registry) as found:
        monkeypatch.setenv("SMTPNIC_PRIMARY", found.address)
        monkeypatch.setenv("SMTPNIC_CA", str(found.ca))
        yield found


@pytest.fixture
def run(served: Served, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command with --json; checks the exit code; gives what it printed."""

    def call(*arguments: str, code: int = 0) -> Any:
        assert (main([*arguments, "--json"]), arguments) == (code, arguments)
        captured = capsys.readouterr()
        return json.loads(captured.out or captured.err)

    return call


@pytest.fixture
def holder(run: Run) -> Any:
    """A holder whose name is public, and the rest private."""
    return run("holder", "create", *contact_of("Example"), "--public", "name")


def test_creating_a_holder_stores_its_key_in_a_private_file(run: Run, holder: Any) -> None:
    """The key is shown, and kept with the identifier in a file of mode 0600."""
    path = Path(holder["key_file"])
    assert json.loads(path.read_text()) == {
        "holder_id": holder["holder"],
        "management_key": holder["management_key"],
    }
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(holder["management_key"])) == 32


def test_a_holder_shows_its_public_contact_and_names_the_private(run: Run, holder: Any) -> None:
    """`holder show` without an identifier shows one's own."""
    shown = run("holder", "show")
    assert (shown["name"], shown["email"]) == ("Example", "")
    assert shown["private"] == ["postal-address", "email", "telephone"]
    assert run("holder", "show", holder["holder"]) == shown


@pytest.mark.parametrize("missing", ["--name", "--postal-address", "--email", "--telephone"])
def test_a_holder_gives_its_whole_contact(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    """The missing option is named; nothing is asked of the registry, no key is made."""
    options = contact_of("Example")
    at = options.index(missing)
    assert main(["holder", "create", *options[:at], *options[at + 2 :]]) == 2
    assert missing in capsys.readouterr().err
    assert not list((tmp_path / "config").rglob("*.json"))


def test_an_update_gives_all_that_is_private(run: Run, holder: Any) -> None:
    """The registry tells nobody what is private: all that is missing is named at once."""
    error = run("holder", "update", "--email", "b@example.org", code=2)
    assert "give --postal-address, --telephone too" in error["error"]["message"]
    version = run("holder", "show")["version"]
    run("holder", "update", *PRIVATE, "--name", "New name")
    shown = run("holder", "show")
    assert (shown["name"], shown["version"] > version) == ("New name", True)


def test_options_that_contradict_are_refused(run: Run, holder: Any) -> None:
    """A field is shown or hidden."""
    error = run("holder", "update", *PRIVATE, "--public", "email", "--private", "email", code=2)
    assert "email" in error["error"]["message"]


def test_a_public_field_stays_until_it_is_changed(run: Run, holder: Any) -> None:
    """An update keeps public fields, and hides those that are to be private."""
    run("holder", "update", *PRIVATE, "--public", "email")
    shown = run("holder", "show")
    assert (shown["name"], shown["email"]) == ("Example", "a@example.org")
    run("holder", "update", *PRIVATE, "--private", "name")
    assert run("holder", "show")["private"] == ["name", "postal-address", "telephone"]


def test_withdrawing_a_holder_puts_its_key_file_aside(run: Run, holder: Any) -> None:
    """The key is of no use any more, but nothing is deleted."""
    run("holder", "withdraw")
    assert not Path(holder["key_file"]).exists()
    assert Path(holder["key_file"] + ".withdrawn").exists()
    run("holder", "show", holder["holder"], code=1)


def test_holders_are_listed_by_the_registry_or_by_the_keys_here(run: Run, holder: Any) -> None:
    """`holder list` pages through all holders; --mine names the key files."""
    run("holder", "create", *contact_of("Second"))
    page = run("holder", "list", "--page-size", "1")
    rest = run("holder", "list", "--page-token", page["next_page_token"])
    found = {item["holder"] for item in page["holders"] + rest["holders"]}
    assert found == {item["holder"] for item in run("holder", "list", "--mine")["holders"]}
    assert len(found) == 2


def test_a_creation_whose_answer_was_lost_is_finished(
    run: Run, registry: FakeRegistry, tmp_path: Path
) -> None:
    """The key is on disk before the registry hears of it; creating again with it goes on."""
    registry.failures = 100
    error = run("holder", "create", *contact_of("Example"), "--timeout", "0.3", code=4)
    assert "cannot be reached" in error["error"]["message"]
    registry.failures = 0
    (path,) = (tmp_path / "config" / "smtpnic" / "holders").glob("*.json")
    created = run("holder", "create", *contact_of("Example"), "--holder", str(path))
    assert created["holder"] == path.stem


def test_a_refused_creation_leaves_no_key_behind(run: Run, tmp_path: Path) -> None:
    """What the registry refuses was never a holder."""
    run("holder", "create", *contact_of("Example"), "--telephone", "not a number", code=3)
    assert not list((tmp_path / "config").rglob("*.json"))


def test_registering_showing_updating_withdrawing(run: Run, holder: Any) -> None:
    """A registration's life from the command line."""
    address = "198.51.100.7"
    receipt = run("register", address, "--host", "mx.example.org", "--domain", "example.org")
    shown = run("show", address)
    assert (shown["host"], shown["holder"]) == ("mx.example.org", holder["holder"])
    assert shown["version"] == receipt["version"]
    assert run("update", address, "--host", "mx2.example.org")["version"] > receipt["version"]
    assert run("show", address)["host"] == "mx2.example.org"
    run("withdraw", address)
    error = run("show", address, code=1)
    assert error["error"]["code"] == "not_found"


def test_a_refusal_tells_code_field_and_what_to_do(run: Run, holder: Any) -> None:
    """A Problem of the registry comes out whole; exit code 3."""
    error = run("register", "198.51.100.7", "--host", "a.test", "--domain", "example.org", code=3)
    assert error["error"] == {
        "message": "a.test is not within example.org",
        "exit_code": 3,
        "code": "domain",
        "field": "domain",
    }


def test_an_answer_that_was_lost_is_asked_for_again(
    run: Run, registry: FakeRegistry, holder: Any
) -> None:
    """The retry carries the same idempotency key, so the change is made once."""
    registry.loses_answers = True
    registry.failures = 2
    size = registry.size
    run("register", "198.51.100.7", "--host", "mx.example.org", "--domain", "example.org")
    assert (registry.failures, registry.size) == (0, size + 2)


def test_a_list_can_be_paged_and_filtered(run: Run, registry: FakeRegistry, holder: Any) -> None:
    """Pages go on at the token; --all takes them all; --mine and --of filter by holder."""
    for last in range(5):
        run("register", f"198.51.100.{last}", "--host", "mx.example.org", "--domain", "example.org")
    other = run("holder", "create", *contact_of("Second"))
    chosen = ("--holder", other["holder"])
    run("register", "198.51.100.9", "--host", "a.example.net", "--domain", "example.net", *chosen)
    first = run("list", "--page-size", "4")
    rest = run("list", "--page-size", "4", "--page-token", first["next_page_token"])
    assert (len(first["registrations"]), len(rest["registrations"])) == (4, 2)
    everything = run("list", "--page-size", "2", "--all")
    assert everything["registrations"] == first["registrations"] + rest["registrations"]
    assert len(run("list", "--of", holder["holder"])["registrations"]) == 5
    assert len(run("list", "--mine", *chosen)["registrations"]) == 1


def test_a_text_list_says_how_to_go_on(
    run: Run, holder: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """People get a table, and the way to the next page on standard error."""
    for last in range(2):
        run("register", f"198.51.100.{last}", "--host", "mx.example.org", "--domain", "example.org")
    assert main(["list", "--page-size", "1"]) == 0
    captured = capsys.readouterr()
    assert "mx.example.org" in captured.out
    assert "--page-token" in captured.err


def test_a_server_of_another_authority_is_not_trusted(run: Run, tmp_path: Path) -> None:
    """The advice names --ca; nothing is tried again."""
    (tmp_path / "other").mkdir()
    with serve(tmp_path / "other", FakeRegistry()) as other:
        error = run("show", "192.0.2.1", "--primary", other.address, code=4)
    assert "--ca" in error["error"]["message"]


def test_a_name_that_the_certificate_does_not_bear_can_be_given(run: Run, served: Served) -> None:
    """--server-name is what the certificate is checked for."""
    run("list", "--server-name", "localhost")
    error = run("list", "--server-name", "elsewhere.example", code=4)
    assert "--server-name" in error["error"]["message"]


def test_nobody_there_is_unreachable(run: Run) -> None:
    """Exit code 4, the address, and what to try; no traceback."""
    error = run("show", "192.0.2.1", "--primary", "127.0.0.1:1", "--timeout", "0.3", code=4)
    assert error["error"]["message"].startswith("127.0.0.1:1: cannot be reached (")


def test_no_primary_is_a_configuration_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names all three ways to give it."""
    monkeypatch.delenv("SMTPNIC_PRIMARY")
    message = run("show", "192.0.2.1", code=2)["error"]["message"]
    assert "--primary" in message
    assert "SMTPNIC_PRIMARY" in message
    assert "config.toml" in message


def test_no_key_or_several_ask_for_a_choice(run: Run, holder: Any, tmp_path: Path) -> None:
    """One key is taken without asking, none or several are not."""
    run("holder", "create", *contact_of("Second"))
    error = run("withdraw", "192.0.2.1", code=2)
    assert holder["holder"] in error["error"]["message"]
    for path in (tmp_path / "config").rglob("*.json"):
        path.unlink()
    assert "holder create" in run("withdraw", "192.0.2.1", code=2)["error"]["message"]


def test_global_options_may_stand_anywhere() -> None:
    """They are moved before the command, with their values, up to `--`."""
    arguments = ["show", "--json", "192.0.2.1", "--timeout", "3", "--ca=x", "--", "--json"]
    expected = ["--json", "--timeout", "3", "--ca=x", "show", "192.0.2.1", "--", "--json"]
    assert hoist(arguments) == expected
    assert hoist(["show", "--timeout"]) == ["--timeout", "show"]


def test_a_wrong_command_line_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """As click has it."""
    assert main(["nonsense"]) == 2
    assert main(["show"]) == 2
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("smtpnic ")


def test_stats_tell_the_history(
    run: Run, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """By day, for programs; for people with a plot, whose longest bar is the largest day."""
    totals = registration_pb2.Totals
    registry.days = [
        registration_pb2.Day(day=20_000, registered=2, ipv4=totals(new=2), domains=1),
        registration_pb2.Day(day=20_007, registered=2, ipv4=totals(active=3), ipv6=totals(new=1)),
    ]
    days = run("stats")["days"]
    assert [("2024-10-04", 2, 2), ("2024-10-11", 2, 4)] == [
        (day["day"], day["registered"], day["total"]) for day in days
    ]
    assert 1 == len(run("stats", "--days", "1")["days"])
    assert 0 == main(["stats"])
    lines = capsys.readouterr().out.splitlines()
    assert [20, 40] == [line.count("█") for line in lines if line.startswith("2024")]
