from truenorth.evaluate.artifacts import Sample
from truenorth.evaluate.samples import diagnose_samples, repetition


def titles(*pairs: tuple[str, str]) -> list[str]:
    return [f.title for f in diagnose_samples([Sample(prompt="p", before=b, after=a) for b, a in pairs])]


PROSE = "The keeper of the old lighthouse writes one letter every winter and never sends it to anybody at all in town."


def test_prose_has_no_repetition() -> None:
    assert repetition(PROSE) == 0.0


def test_a_loop_is_nearly_all_repetition() -> None:
    assert repetition("and then we went home " * 40) > 0.95


def test_a_text_too_short_for_a_phrase_repeats_nothing() -> None:
    assert repetition("no no no") == 0.0


def test_answers_that_begin_to_loop_are_a_problem() -> None:
    assert "Answers fall into loops" in titles((PROSE, "and then we went home " * 10))


def test_answers_that_looped_before_are_not_blamed_on_the_run() -> None:
    assert "Answers fall into loops" not in titles(("so it goes on " * 9, "and then we went home " * 10))


def test_answers_that_double_in_length_are_reported() -> None:
    longer = "Once, at sea, a sailor found nine of them in a bottle, unread, unsigned, and kept them dry for his son."
    assert titles((PROSE, f"{PROSE} {longer}")) == ["Answers grow longer"]


def test_a_short_answer_may_double() -> None:
    assert titles(("Mars has two.", "Mars has two moons, Phobos and Deimos.")) == []


def test_answers_that_are_all_the_same_are_reported() -> None:
    assert titles((PROSE, PROSE), ("a", "a")) == ["Answers did not change"]


def test_no_samples_give_no_findings() -> None:
    assert titles() == []
