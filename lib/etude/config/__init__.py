"""Typed settings: YAML layers and `section.key=value` overrides in, one frozen and validated object out."""

from etude.config.load import Settings, load_settings, redacted, settings_help

__all__ = ["Settings", "load_settings", "redacted", "settings_help"]
