"""Merge the layers of settings; report each mistake on one line."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from etude.config.audio import AudioSettings, MelSettings
from etude.config.base import Section
from etude.config.blend import BlendSettings
from etude.config.compare import CompareSettings
from etude.config.demo import DemoSettings
from etude.config.evaluation import EvaluationSettings
from etude.config.lake import InputsSettings, LakeSettings, SparkSettings
from etude.config.listening import CatalogueSettings, ListeningSettings
from etude.config.pipeline import PipelineSettings
from etude.config.report import ReportSettings
from etude.config.topn import TopnSettings
from etude.config.train import TrainSettings
from etude.config.tune import TuneSettings
from etude.config.wmf import WmfSettings
from etude.errors import SettingsError
from etude.storage import masked


class Settings(Section):
    """Hold all settings of all jobs."""

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
    blend: BlendSettings = BlendSettings()
    topn: TopnSettings = TopnSettings()
    report: ReportSettings = ReportSettings()
    pipeline: PipelineSettings = PipelineSettings()
    compare: CompareSettings = CompareSettings()
    tune: TuneSettings = TuneSettings()
    demo: DemoSettings = DemoSettings()


def load_settings(files: Sequence[str | Path] = (), overrides: Sequence[str] = ()) -> Settings:
    """Merge YAML files and `section.key=value` overrides over the defaults; later ones take precedence.

    Raises:
        SettingsError: a file can't be read, a key is unknown, or a value has the wrong type or is out of range. The
            message has one line per mistake.
    """
    layers = [_read_layer(Path(file)) for file in files]
    for override in overrides:
        text = os.fsencode(override).decode("utf-8", "backslashreplace")
        if text != override:
            raise SettingsError(f"'{text}': expected UTF-8 text; a path may be a URI, as in file:///music/caf%E9")
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise SettingsError(f"'{override}': expected section.key=value")
        try:
            layers.append(_as_layer(key, value))
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            raise SettingsError(f"'{override}': {_first_line(error)}") from error
    try:
        merged = OmegaConf.to_container(OmegaConf.merge(*layers), resolve=True) if layers else {}
        return Settings.model_validate(merged)
    except OmegaConfBaseException as error:
        raise SettingsError(_first_line(error)) from error
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(item) for item in error.errors())) from error


def _as_layer(key: str, value: str) -> Any:
    """Parse one override. A text setting keeps the value as typed: in YAML `,` is an error and 00123 a number.

    A quoted text is still parsed as YAML, and so is null if the setting allows it. Nothing at all is an empty text for
    every setting, and not null as in YAML.
    """
    layer = OmegaConf.create()
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if not value or (_is_text(_annotation_at(key.split("."))) and value != "null" and not quoted):
        OmegaConf.update(layer, key, value)
        return layer
    return OmegaConf.from_dotlist([f"{key}={value}"])


def _is_text(annotation: Any) -> bool:
    """Return whether a field takes only texts, or texts and null: str or a Literal of texts, each perhaps with None."""
    if get_origin(annotation) is Annotated:
        return _is_text(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return all(isinstance(value, str) for value in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return all(_is_text(part) for part in get_args(annotation) if part is not type(None))
    return annotation is str


def _read_layer(file: Path) -> Any:
    try:
        if not isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict):
            raise SettingsError(f"--config {file}: no sections found; expected sections of settings, such as `lake:`")
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
        names = list(parent.model_fields) if parent else []
        near = difflib.get_close_matches(str(item["loc"][-1]), names, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"{key}: unknown setting{hint}; expected one of: {', '.join(names)}"
    return f"{key}={item['input']!r}: {item['msg'].removeprefix('Value error, ')}"


def _section_at(path: Sequence[str | int]) -> type[BaseModel] | None:
    annotation = _annotation_at(path)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _annotation_at(path: Sequence[str | int]) -> Any:
    """Return the type of the setting or section at a path, or None if there is none."""
    found: Any = Settings
    for part in path:
        if isinstance(part, int):
            found = _items_of(found)
            continue
        fields = found.model_fields if isinstance(found, type) and issubclass(found, BaseModel) else {}
        if part not in fields:
            return None
        found = fields[part].annotation
    return found


def _items_of(annotation: Any) -> Any:
    """Return the type of a list's items; None if the annotation is no list."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return get_args(annotation)[0] if get_origin(annotation) is tuple else None


def settings_help(sections: Sequence[str]) -> str:
    """Return two lines per setting of the sections that a job reads: `section.key = default`, then its meaning."""
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


def redacted(settings: Settings) -> dict[str, Any]:
    """Return the settings by section for the run ledger; credentials inside URIs are masked."""
    found: dict[str, Any] = masked(settings.model_dump(mode="json"))
    return found
