"""docs/configuration.md says every setting, with the default that holds."""

import pytest

from docs.settings_table import PAGE, page

pytestmark = pytest.mark.pure


def test_the_tables_are_the_settings_own() -> None:
    text = PAGE.read_text()
    assert page(text) == text, "run: python -m docs.settings_table"
