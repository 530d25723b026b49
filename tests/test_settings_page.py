"""The page of settings in the docs."""

from scripts.make_settings_page import PAGE, page


def test_page_of_settings_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python scripts/make_settings_page.py"
