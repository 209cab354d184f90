"""Merging the layers of settings and turning mistakes into one line each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from etude.config.audio import AudioSettings, MelSettings
from etude.config.base import Section
from etude.config.demo import DemoSettings
from etude.config.evaluation import EvaluationSettings
from etude.config.lake import InputsSettings, LakeSettings, SparkSettings
from etude.config.listening import CatalogueSettings, ListeningSettings
from etude.config.pipeline import PipelineSettings
from etude.config.report import ReportSettings
from etude.config.topn import TopnSettings
from etude.config.train import TrainSettings
from etude.config.wmf import WmfSettings
from etude.errors import SettingsError


class Settings(Section):
    """All settings of all jobs."""

    lake: LakeSettings = LakeSettings()
    spark: SparkSettings = SparkSettings()
    inputs: InputsSettings = InputsSettings()
    listening: ListeningSettings = ListeningSettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    audio: AudioSettings = AudioSettings()
    mel: MelSettings = MelSettings()
    wmf: WmfSettings = WmfSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    train: TrainSettings = TrainSettings()
    topn: TopnSettings = TopnSettings()
    report: ReportSettings = ReportSettings()
    pipeline: PipelineSettings = PipelineSettings()
    demo: DemoSettings = DemoSettings()


def load_settings(files: Sequence[str | Path] = (), overrides: Sequence[str] = ()) -> Settings:
    """Merge YAML files and `section.key=value` overrides over the defaults; later ones win.

    Raises:
        SettingsError: a file can't be read, or a key is unknown, of the wrong type or out of range; one line each.
    """
    layers = [_read_layer(Path(file)) for file in files]
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key:
            raise SettingsError(f"'{override}': settings are given as section.key=value")
        try:
            layers.append(OmegaConf.from_dotlist([override]))
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            raise SettingsError(f"'{override}': {_first_line(error)}") from error
    try:
        merged = OmegaConf.to_container(OmegaConf.merge(*layers), resolve=True) if layers else {}
        return Settings.model_validate(merged)
    except OmegaConfBaseException as error:
        raise SettingsError(_first_line(error)) from error
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(item) for item in error.errors())) from error


def _read_layer(file: Path) -> Any:
    try:
        if not isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict):
            raise SettingsError(f"--config {file}: expected sections of settings, such as `lake:`")
        return OmegaConf.load(file)
    except FileNotFoundError as error:
        raise SettingsError(f"--config {file}: no such file") from error
    except (OmegaConfBaseException, yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--config {file}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        parent = _section_at(item["loc"][:-1])
        allowed = ", ".join(parent.model_fields) if parent else "none"
        return f"{key}: unknown setting; allowed here: {allowed}"
    return f"{key}={item['input']!r}: {item['msg']}"


def _section_at(path: Sequence[str | int]) -> type[BaseModel] | None:
    section: type[BaseModel] = Settings
    for part in path:
        field = section.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        section = annotation
    return section


def settings_help(sections: Sequence[str]) -> str:
    """Lines `section.key = default  what it is` for the sections that a job reads."""
    lines = [
        f"  {key} = {json.dumps(default, default=str)}\n      {text}"
        for name in sections
        for key, default, text in _walk(name, Settings.model_fields[name].default)
    ]
    return "\n".join(lines)


def _walk(prefix: str, section: BaseModel) -> Iterator[tuple[str, Any, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _walk(f"{prefix}.{name}", value)
        else:
            yield f"{prefix}.{name}", value, " ".join((field.description or "").split())


def redacted_json(settings: Settings) -> str:
    """The settings as JSON for the run ledger; credentials inside URIs are masked."""
    return json.dumps(_mask(settings.model_dump(mode="json")), sort_keys=True)


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mask(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mask(item) for item in value]
    if isinstance(value, str) and "://" in value and "@" in value:
        scheme, _, rest = value.partition("://")
        return f"{scheme}://***@{rest.rpartition('@')[2]}"
    return value
