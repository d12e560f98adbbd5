"""What the commands are told: options above SMTPNIC_... above `config.toml`.

The file is `$XDG_CONFIG_HOME/smtpnic/config.toml`, or that of `--config`. Lists are separated
by commas in the environment; relative paths in the file count from its directory.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.settings import Section, SettingsEndpoint
from registry.errors import VerificationError
from registry.root_chain import RootChain

ENVIRONMENT_PREFIX: Final = "SMTPNIC_"
DEFAULT_TIMEOUT_SECONDS: Final = 10.0
DEFAULT_ZONE: Final = "smtpnic.org"
PATH_KEYS: Final = ("ca", "holder", "root")


def _separated(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#]+", text.rstrip("/")):
        raise ValueError(f"{text!r}: expected a form such as http://192.0.2.53:7451")
    return text.rstrip("/")


class Settings(Section):
    """All that the commands are told. What is None or empty was not said."""

    # The primary's public listener.
    primary: SettingsEndpoint | None = None
    # PEM certificates of the authority that signs the servers; None: those of the system.
    ca: Path | None = None
    # The name in the servers' certificates, where it is not the host that is connected to.
    server_name: str = ""
    # A root that the board signed: what is signed is checked by it, and by those that follow it.
    root: Path | None = None
    mirrors: Annotated[tuple[SettingsEndpoint, ...], BeforeValidator(_separated)] = ()
    # For `top`: processes' monitoring listeners, and a log over HTTP.
    metrics: Annotated[
        tuple[Annotated[str, AfterValidator(_url)], ...], BeforeValidator(_separated)
    ] = ()
    log: Annotated[str, AfterValidator(lambda text: text and _url(text))] = ""
    dns_servers: Annotated[tuple[str, ...], BeforeValidator(_separated)] = ()
    zone: str = DEFAULT_ZONE
    # A holder's key file, or the identifier of a holder whose file is in the usual place.
    holder: str = ""
    timeout: Annotated[float, Field(gt=0, le=3600)] = DEFAULT_TIMEOUT_SECONDS

    def require_primary(self) -> Endpoint:
        """The primary's address; ConfigurationError says how to give it."""
        if self.primary is None:
            raise ConfigurationError(
                "which primary? Give --primary HOST:PORT, set SMTPNIC_PRIMARY, "
                f'or write primary = "HOST:PORT" in {config_directory() / "config.toml"}'
            )
        return self.primary

    def pinned(self) -> RootChain | None:
        """The root to begin with; None if none was told. ConfigurationError: it is none."""
        if self.root is None:
            return None
        try:
            return RootChain.pin(self.root.read_bytes())
        except (OSError, VerificationError) as error:
            raise ConfigurationError(f"{self.root} is no root of a board: {error}") from None


def config_directory() -> Path:
    """Where this person's files are (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # "All paths must be absolute; a relative one is invalid and must be ignored."
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".config"
    return root / "smtpnic"


def load_settings(options: Mapping[str, object], file: Path | None = None) -> Settings:
    """The settings; ConfigurationError names each wrong one, where it stands and what belongs.

    `options` are those of the command line, None where not given. A `file` that was chosen
    must exist, the usual one need not.
    """
    path = file or config_directory() / "config.toml"
    layers: list[tuple[str, Mapping[str, object]]] = [
        (f"{path}: {{key}}", _read_file(path, required=file is not None)),
        (f"environment variable {ENVIRONMENT_PREFIX}{{KEY}}", _read_environment()),
        ("option --{option}", {key: value for key, value in options.items() if value is not None}),
    ]
    values: dict[str, object] = {}
    places: dict[str, str] = {}
    for place, layer in layers:
        values.update(layer)
        places.update(dict.fromkeys(layer, place))
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [_explain(details["loc"], details["msg"], places) for details in error.errors()]
        raise ConfigurationError("\n".join(lines)) from None


def _explain(location: tuple[int | str, ...], message: str, places: Mapping[str, str]) -> str:
    key = str(location[0])
    option = "mirror" if key == "mirrors" else key.replace("_", "-")
    place = places[key].format(key=key, KEY=key.upper(), option=option)
    if message == "Extra inputs are not permitted":
        return f"{place}: no such setting; there are {', '.join(Settings.model_fields)}"
    return f"{place}: {message.removeprefix('Value error, ')}"


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise ConfigurationError(f"there is no file {path}") from None
        return {}
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    for key in PATH_KEYS:
        value = values.get(key)
        # A holder may be an identifier, which names no path.
        if isinstance(value, str) and value and (key == "ca" or os.sep in value):
            values[key] = str(path.parent / Path(value).expanduser())
    return values


def _read_environment() -> dict[str, str]:
    # Other SMTPNIC_ variables are those of the servers.
    variables = {key: os.environ.get(ENVIRONMENT_PREFIX + key.upper()) for key in _KEYS}
    return {key: value for key, value in variables.items() if value}


_KEYS: Final = tuple(Settings.model_fields)
