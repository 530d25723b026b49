"""Parts of a recipe that do not go together are refused when it is made; others are not."""

from itertools import combinations
from typing import Any

import pytest

from truenorth.chase import Chase
from truenorth.clients import Clients
from truenorth.domains import Domains
from truenorth.errors import SettingsError
from truenorth.methods import recipe
from truenorth.methods.online_merging import OnDARE
from truenorth.models.references import Frozen
from truenorth.schedule import Rounds
from truenorth.together import APART

PARTS: dict[str, Any] = {"schedule": Rounds(), "domains": Domains(), "chase": Chase(), "clients": Clients()}
EVERY = [*PARTS, "update.merging"]


@pytest.mark.parametrize("pair", list(combinations(EVERY, 2)), ids=" ".join)
def test_two_parts_are_refused_where_the_table_says_so_and_nowhere_else(pair: tuple[str, str]) -> None:
    plain = recipe("ofs_dpo" if "chase" in pair else "dpo").replace(references={"initial": Frozen()})
    changes: dict[str, Any] = {name: PARTS[name] for name in pair if name in PARTS}
    if "update.merging" in pair:
        changes["update"] = plain.update.replace(merging=OnDARE())
    if {pair, pair[::-1]} & APART.keys():
        with pytest.raises(SettingsError, match=r"which do not go together: .*Take one of them out"):
            plain.replace(**changes)
    else:
        made = plain.replace(**changes)
        assert all(getattr(made, name) == part for name, part in changes.items())
