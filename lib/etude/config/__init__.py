"""Load typed settings: merge YAML layers and `section.key=value` overrides into one frozen, validated object."""

from etude.config.load import Settings, load_settings, redacted, settings_help

__all__ = ["Settings", "load_settings", "redacted", "settings_help"]
