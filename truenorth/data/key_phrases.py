"""The key phrases of a text, and the text without some of them: worse answers made from a good one (SPO).

Phrases are found as by RAKE (Rose et al. 2010): runs of words between stop words and punctuation. A word scores its
degree (the lengths of the phrases it stands in, added up) over its frequency, a phrase the sum over its words. All of
it is a function of the text, without a model or chance.

The stop words are English. In another language with spaces a phrase reaches as far as LONGEST or the next punctuation,
so that whole stretches are deleted; in one without spaces it is all that stands between two punctuation marks.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce

from ..proportions import up
from .comparisons import Text

Span = tuple[int, int]  # of characters

LONGEST = 4  # words of a phrase; longer runs are cut
WORD = re.compile(r"\w+(?:['’-]\w+)*")
BLANKS = " \t"
PAUSES, ENDS = ",;:，、；：", ".!?。！？"
PAIRS = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'", "“": "”", "‘": "’", "`": "`"}
ENGLISH = """
    a about above across after again against ago all almost along already also although always am among an and another
    any are aren't around as at away be became because been before being below beside besides between beyond both but
    by can can't cannot could couldn't did didn't do does doesn't doing don't done down during each either else enough
    etc even ever every few for from further get gets got had hadn't has hasn't have haven't having he he's her here
    hers herself him himself his how however i i'd i'll i'm i've if in indeed instead into is isn't it it's its itself
    just least less let let's like made make many may maybe me might mine more most much must my myself near neither
    never no nor not now of off often on once one only onto or other others our ours ourselves out over own per perhaps
    quite rather really same shall she she's should shouldn't since so some something still such than that that's the
    their theirs them themselves then there there's therefore these they they're this those though through thus to
    together too toward towards under until up upon us very was wasn't we we're well were weren't what when where
    whether which while who whom whose why will with within without won't would wouldn't yes yet you you're your yours
    yourself yourselves
"""
STOP_WORDS = frozenset(ENGLISH.split())


def key_phrases(text: str) -> list[list[Span]]:
    """Where each different phrase stands in `text`, the highest score first, then the one that comes first.

    >>> text = "The soup was cold, but the old waiter was kind and the old waiter smiled."
    >>> [text[slice(*spans[0])] for spans in key_phrases(text)]
    ['old waiter smiled', 'old waiter', 'soup', 'cold', 'kind']
    """
    places: dict[tuple[str, ...], list[Span]] = defaultdict(list)
    for run in _runs(text):
        for phrase in (run[i : i + LONGEST] for i in range(0, len(run), LONGEST)):
            words = tuple(word.group().lower() for word in phrase)
            places[words].append((phrase[0].start(), phrase[-1].end()))
    degree, frequency = defaultdict[str, int](int), defaultdict[str, int](int)
    for words, spans in places.items():
        for word in words:
            degree[word] += len(words) * len(spans)
            frequency[word] += len(spans)
    scores = {words: sum(degree[word] / frequency[word] for word in words) for words in places}
    return [places[words] for words in sorted(places, key=lambda words: (-scores[words], places[words][0]))]


def degraded(text: Text, shares: Sequence[float]) -> tuple[Text, ...]:
    """`text` once for each of the growing `shares` of its key phrases, without these; the highest scores go first.

    Each lacks what the one before lacks and at least one phrase more, until no phrase is left: where a text has fewer
    phrases than there are shares, some are the same. Of a chat the assistant's last message is degraded; its calls of
    tools stay.

    >>> degraded("The soup was cold, but the waiter was kind.", [0.25, 0.5])
    ('The was cold, but the waiter was kind.', 'The was, but the waiter was kind.')
    """
    if not isinstance(text, str):
        last = max((i for i, message in enumerate(text) if message["role"] == "assistant"), default=None)
        if last is None:
            return (text,) * len(shares)
        contents = degraded(text[last]["content"], shares)
        return tuple((*text[:last], {**text[last], "content": content}, *text[last + 1 :]) for content in contents)
    phrases = key_phrases(text)
    counts = _counts(len(phrases), shares)
    return tuple(without(text, [span for spans in phrases[:count] for span in spans]) for count in counts)


def without(text: str, spans: Iterable[Span]) -> str:
    """`text` without `spans`, and without the blanks and punctuation that would be left over beside a gap.

    >>> without("A red, blue (green) car.", [(2, 5), (7, 11), (13, 18)])
    'A, car.'
    """
    pieces, at = list[str](), 0
    for start, end in sorted(spans):
        pieces.append(text[at:start])
        at = end
    return reduce(_joined, [*pieces, text[at:]])


def _runs(text: str) -> Iterator[list[re.Match[str]]]:
    """Words that follow each other with only blanks between them, and no stop word among them."""
    run = list[re.Match[str]]()
    for word in WORD.finditer(text):
        if run and text[run[-1].end() : word.start()].strip(BLANKS):
            yield run
            run = []
        if word.group().lower().replace("’", "'") in STOP_WORDS:
            if run:
                yield run
            run = []
        else:
            run.append(word)
    if run:
        yield run


def _counts(phrases: int, shares: Sequence[float]) -> list[int]:
    """How many of the phrases each share takes: one more each time at least, while there are enough of them.

    >>> _counts(10, [0.25, 0.5]), _counts(3, [0.9, 1.0]), _counts(1, [0.25, 0.5]), _counts(0, [0.25, 0.5])
    ([3, 5], [2, 3], [1, 1], [0, 0])
    """
    counts = [0]
    for later, share in zip(reversed(range(len(shares))), shares, strict=True):
        wanted = up(share * phrases)
        counts.append(min(max(counts[-1] + 1, wanted), max(phrases - later, 1), phrases))
    return counts[1:]


def _joined(left: str, right: str) -> str:
    """What stands before and behind a gap, as one text."""
    while left and PAIRS.get(left[-1]) == right[:1]:  # nothing is left in these brackets or quotes
        left, right = left[:-1].rstrip(BLANKS) + " ", right[1:]
    before, after = left.rstrip(BLANKS), right.lstrip(BLANKS)
    last = before[-1:]
    if last in ENDS or last == "\n":  # also at the text's beginning: no sentence is left to pause or to end
        after = after.lstrip(BLANKS + PAUSES + ENDS)
    elif not (last.isalnum() or last in PAIRS.values()):
        after = after.lstrip(BLANKS + PAUSES)  # one pause, or a bullet, is enough
    if (first := after[:1]) in ENDS or first == "\n":  # also at the text's end
        return before.rstrip(BLANKS + PAUSES) + after
    if first in PAUSES or right[:1] in PAIRS.values():
        return before + after
    blanks = left[len(before) :]
    if not blanks and last not in {"", "\n", *PAIRS}:
        blanks = right[: len(right) - len(right.lstrip(BLANKS))]
    return before + blanks + after
