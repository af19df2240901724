"""Preference data of any known layout, from rows to tokens; docs/preferences.md has the fields."""
