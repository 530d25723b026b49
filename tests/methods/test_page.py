"""The page of methods in the docs."""

from scripts.make_methods_page import PAGE, page


def test_page_of_methods_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python scripts/make_methods_page.py"
