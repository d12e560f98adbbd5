"""The documentation names what there is: codes, errors, settings, metrics."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from node.exits import ExitCode
from node.settings import Settings
from primary.settings import PrimarySettings
from registry import errors
from secondary.settings import SecondarySettings

ROOT = Path(__file__).parents[2]
PACKAGES = ("registry", "node", "primary", "smtpnic")
# What makes metrics, and what the name that is shown has beyond the one given.
SUFFIXES = {
    "Gauge": "",
    "GaugeMetricFamily": "",
    "_gauge": "",
    "Histogram": "",
    "HistogramMetricFamily": "",
    "Counter": "_total",
    "CounterMetricFamily": "_total",
    "_count": "_total",
}


def document(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def section(name: str, heading: str) -> str:
    """The part of a document under a heading of the second level."""
    _, _, rest = document(name).partition(f"\n## {heading}\n")
    assert rest, f"docs/{name} has no section {heading}"
    return rest.partition("\n## ")[0]


def first_cells(text: str) -> set[str]:
    """What stands in backquotes in the first cell of each row."""
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def problem_codes() -> Iterator[str]:
    """The codes of all problems that the packages raise, as far as they stand there as text."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(
                        func=ast.Name(id="Problem"), args=[ast.Constant(value=str(code)), *_]
                    ):
                        yield code


def setting_names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield f"[{name}]"
            yield from setting_names(annotation)
        else:
            yield name


def test_every_problem_code_is_explained() -> None:
    """Whoever meets a code finds what to do; what no program says any more is taken out."""
    assert set(problem_codes()) == first_cells(section("errors.md", "Problems"))


def test_every_verification_error_is_explained() -> None:
    """Each way of not verifying has its line."""
    names = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type)
        and issubclass(value, errors.VerificationError)
        and value is not errors.VerificationError
    }

    assert names == first_cells(section("errors.md", "What does not verify"))


def test_every_exit_code_is_explained() -> None:
    """Scripts can rely on the list."""
    rows = re.findall(r"^\| (\d+) \|", section("errors.md", "Exit codes"), re.MULTILINE)

    assert {code.value for code in ExitCode} == {int(code) for code in rows}


@pytest.mark.parametrize(
    ("settings", "heading"),
    [(PrimarySettings, "A primary"), (SecondarySettings, "A secondary")],
)
def test_every_setting_is_explained(settings: type[Settings], heading: str) -> None:
    """No setting is known only to those who read the source, nor one listed that is gone."""
    table = section("operations.md", heading).partition("### Settings")[2].partition("\n### ")[0]

    assert set(setting_names(settings)) == first_cells(table)


def metric_names() -> Iterator[str]:
    """The names under which the programs show their metrics, as they stand there as text."""
    for package in ("primary", "secondary", "node"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(
                        func=ast.Name(id=maker), args=[ast.Constant(value=str(name)), *_]
                    ) if maker in SUFFIXES:
                        yield name + SUFFIXES[maker]


def test_every_metric_is_explained() -> None:
    """What is shown has a line that says what it is, and no line is of what nobody shows."""
    assert set(metric_names()) == first_cells(section("operations.md", "Watching"))


def test_every_metric_that_is_named_is_there() -> None:
    """An alarm on a name that nobody shows would never ring."""
    named = set(re.findall(r"smtpnic_[a-z_]+", document("operations.md")))

    assert set() == named - set(metric_names())


def pages() -> list[str]:
    """Every Markdown file of the project, not those of what is installed or built beside it."""
    own = [path for path in ROOT.iterdir() if path.name != "build" and path.name[0] != "."]
    below = [page for folder in own if folder.is_dir() for page in folder.rglob("*.md")]
    found = [*below, *(path for path in own if path.suffix == ".md")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def anchors(page: Path) -> set[str]:
    """What a link can point to in a page: its headings, as renderers of Markdown name them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).strip().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("name", pages())
def test_links_lead_somewhere(name: str) -> None:
    """A link within the project is to a file that is there, and to a heading that it has."""
    page = ROOT / name
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", text)
    for link, anchor in links:
        target = (page.parent / link) if link else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}#{anchor}"


def test_the_tests_of_the_threat_model_exist() -> None:
    """Each test that the threat model names is there, under that name."""
    named = re.findall(
        r"(?<!tests/)\b(unit|integration)/([a-z_]+)(?:::([a-z_0-9]+))?", document("threat-model.md")
    )
    assert named
    for kind, file, name in named:
        tests = (ROOT / "tests" / kind / f"test_{file}.py").read_text(encoding="utf-8")
        assert re.search(rf"def test_\w*{name}", tests), f"{kind}/{file}::{name}"
