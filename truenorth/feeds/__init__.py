"""Feeds: where the rows of a run come from, and when; a file for each way.

`feed` what all ways have in common; `stored` files, all there before the first step; `played` rounds of self-play;
`dealt` clients of federated rounds; `arriving` a stream.
"""

from ..recipe import Recipe
from ..run import Run
from . import dealt, playable
from .arriving import Arriving
from .dealt import Dealt
from .feed import Feed, Ready
from .played import Played
from .stored import Stored


def check(recipe: Recipe, run: Run) -> None:
    """Raise SettingsError or DataError where a run is given what its rows do not come from, or lacks what they do."""
    playable.check(recipe, run)
    dealt.check(recipe, run)


def feed_of(ready: Ready) -> Feed:
    """The feed of a run. Raises DataError or SettingsError where its rows cannot be trained on so."""
    if ready.run.stream is not None:
        return Arriving.of(ready)
    if ready.recipe.schedule is not None:
        return Played.of(ready)
    if ready.recipe.clients is not None:
        return Dealt.of(ready)
    return Stored.of(ready)


__all__ = ["Arriving", "Dealt", "Feed", "Played", "Ready", "Stored", "check", "feed_of"]
