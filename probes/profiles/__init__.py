"""Profiles that come with virtproof, as TOML."""
