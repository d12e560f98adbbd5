"""Settings: one TOML file, the environment above it, checked as a whole and then frozen.

A subclass of `Settings` names its environment prefix and its fields; tables of the file are
subclasses of `Section`. `SMTPNIC_PRIMARY_PUBLIC__LISTEN` stands above `listen` in `[public]`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from registry.address import Address
from registry.errors import Problem

NESTING: Final = "__"

_directory: ContextVar[Path] = ContextVar("directory of the settings file")


def _from_directory(path: Path) -> Path:
    directory = _directory.get(None)
    return path if directory is None else directory / path


def _endpoint(value: object) -> Endpoint:
    if isinstance(value, Endpoint):
        return value
    if not isinstance(value, str):
        raise ValueError("expected text: host:port")
    return Endpoint.parse(value)


def _address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise ValueError("expected text: an IP address")
    try:
        return Address.parse(value)
    except Problem as problem:
        raise ValueError(problem.message) from None


# A path that, when relative, counts from the directory of the settings file.
SettingsPath = Annotated[Path, AfterValidator(_from_directory)]
# Text host:port in the file.
SettingsEndpoint = Annotated[Endpoint, NoDecode, PlainValidator(_endpoint)]
# Text in the file: an IP address.
SettingsAddress = Annotated[Address, NoDecode, PlainValidator(_address)]
# A number of things, of which there has to be one.
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A table of the settings file; unknown keys are refused, so that no typing error is lost."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        # A section that is the default of a field was made before the directory was known.
        revalidate_instances="always",
    )


class Settings(BaseSettings):
    """All settings of one program. A subclass sets `env_prefix` in its `model_config`.

    Where it has given a section another name, `renamed` leads from the old to the new: who still
    gives the old one is told.
    """

    renamed: ClassVar[Mapping[str, str]] = {}

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        env_nested_delimiter=NESTING,
        case_sensitive=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then what `load` read from the file; nothing else."""
        return env_settings, init_settings

    @classmethod
    def load(cls, path: Path) -> Self:
        """The settings of the file and the environment.

        ConfigurationError names the file, every key at fault and what is expected there.
        """
        values = _read_toml(path)
        _refuse_unknown_variables(cls, os.environ)
        token = _directory.set(path.resolve().parent)
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [_explain(cls, path, details) for details in error.errors()]
            raise ConfigurationError("\n".join(lines)) from None
        except SettingsError as error:
            raise ConfigurationError(f"the environment: {error}") from error
        finally:
            _directory.reset(token)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    for key in values:
        # pydantic-settings takes such names as options of its own.
        if key.startswith("_"):
            raise ConfigurationError(f"{path}: {key}: no such setting")
    return values


def _prefix(cls: type[Settings]) -> str:
    return str(cls.model_config.get("env_prefix", "")).upper()


def _refuse_unknown_variables(cls: type[Settings], environment: Mapping[str, str]) -> None:
    prefix = _prefix(cls)
    if not prefix:
        return
    # CONFIG says which file is read; the command line takes it.
    known = {"CONFIG", *(name.upper() for name in cls.model_fields)}
    for variable in environment:
        field = variable.upper().removeprefix(prefix).partition(NESTING)[0]
        if variable.upper().startswith(prefix) and field not in known:
            why = _unknown(cls, field.lower())
            raise ConfigurationError(f"environment variable {variable}: {why}")


def _unknown(cls: type[Settings], name: str) -> str:
    """What to say of a setting or section that is not there."""
    new = cls.renamed.get(name)
    return f"[{name}] is called [{new}] now" if new else "no such setting"


def _explain(cls: type[Settings], path: Path, details: ErrorDetails) -> str:
    """One line for one wrong value: where it stands, and what is expected."""
    location = [str(part) for part in details["loc"]]
    variable = _prefix(cls) + NESTING.join(location).upper()
    in_environment = variable in {name.upper() for name in os.environ}
    where = (
        f"environment variable {variable}" if in_environment else f"{path}: {'.'.join(location)}"
    )
    if details["type"] == "extra_forbidden":
        return f"{where}: {_unknown(cls, location[0])}"
    if details["type"] == "missing":
        return f"{where}: missing; it has no default"
    return f"{where}: {details['msg'].removeprefix('Value error, ')}"
