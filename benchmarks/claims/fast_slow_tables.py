"""The tables of fast_slow.py, made of its csv."""

from collections.abc import Iterator, Mapping, Sequence

from fast_slow_points import Found, less, over_seeds, shown
from frontier_tables import head, row

FORMS: Mapping[str, str] = {"reward": ".3f", "kl": ".2f", "accuracy": ".3f"}
OF_DOMAINS = (  # the csv's name, and the table's
    ("accuracy average", "accuracy"),
    ("accuracy forgetting", "forgetting"),
    ("accuracy backward_transfer", "backward transfer"),
    ("accuracy forward_transfer", "forward transfer"),
    ("reward average", "reward"),
    ("reward forgetting", "forgetting of reward"),
)
COFS = ("cofs, box", "cofs, simplex", "cofs, box, unseen", "cofs, simplex, unseen")
OF_STREAMS = (
    ("before", "accuracy"),
    ("after", "accuracy"),
    ("after", "steps back"),
    ("all", "loss"),
    ("all", "regret"),
)


def print_tables(found: Found) -> None:
    """All of them in Markdown; nothing of a run that is not in the csv."""
    for title, lines in tables(found):
        print(f"\n{title}\n", *lines, sep="\n")


def tables(found: Found) -> Iterator[tuple[str, list[str]]]:
    yield "One domain", one_domain(found)
    yield "OFS-DPO less DPO at the same rate", differences(found)
    yield "Few pairs", few_pairs(found)
    for part in dict.fromkeys(key.part for key in found if "domains" in key.part):
        yield part, domains(found, part)
        for arm in (way for way in ways(found, part) if way in COFS):
            yield f"{part}, less {arm}", against(found, part, arm)
        yield f"{part}, the last row of each matrix", last_rows(found, part)
    yield "Stream", streams(found)


def one_domain(found: Found) -> list[str]:
    lines = head(["arm", "steps", "rate", "seeds", "reward", "KL", "accuracy"])
    for arm, rate, at in groups(found, "one"):
        own = {"part": "one", "arm": arm, "rate": rate, "at": at}
        values = [list(over_seeds(found, **own, name=name).values()) for name in FORMS]
        cells = [shown(one, form) for one, form in zip(values, FORMS.values(), strict=True)]
        lines.append(row([arm, at, rate, len(values[0]), *cells]))
    return lines


def differences(found: Found) -> list[str]:
    """Seed by seed: both have the same pairs in the same order."""
    lines = head(["arm", "less DPO after", "rate", "reward", "KL", "accuracy"])
    ends = list(groups(found, "one"))
    for arm, rate, at in (group for group in ends if group[0] != "DPO"):
        for steps in (of for other, its_rate, of in ends if (other, its_rate) == ("DPO", rate)):
            both = [
                less(
                    over_seeds(found, part="one", arm=arm, rate=rate, at=at, name=name),
                    over_seeds(found, part="one", arm="DPO", rate=rate, at=steps, name=name),
                )
                for name in FORMS
            ]
            cells = [shown(values, f"+{form}") for values, form in zip(both, FORMS.values(), strict=True)]
            lines.append(row([arm, steps, rate, *cells]))
    return lines


def few_pairs(found: Found) -> list[str]:
    """Norms are means over an eighth of the run."""
    steps = max((int(key.at) for key in found if key.part == "few"), default=0)
    eighths = [range(1, steps // 8 + 1), range(steps - steps // 8 + 1, steps + 1)]
    lines = head(
        ["arm", "norm, fast", "at the end", "norm, slow", "at the end", "sigmoid(-m)", "slow", "accuracy", "KL"]
    )
    for arm in dict.fromkeys(key.arm for key in found if key.part == "few"):
        cells = [shown(norms(found, arm, role, part)) for role in ("fast", "slow") for part in eighths]
        ends = [
            list(over_seeds(found, part="few", arm=arm, at=str(steps), name=name).values())
            for name in ("share", "other share", "accuracy", "kl")
        ]
        lines.append(row([arm, *cells, *map(shown, ends)]))
    return lines


def norms(found: Found, arm: str, role: str, steps: Sequence[int]) -> list[float]:
    """[seeds] the mean gradient norm over these steps."""
    each = [over_seeds(found, part="few", arm=arm, at=str(step), name=f"norm {role}") for step in steps]
    return [sum(own[seed] for own in each) / len(each) for seed in each[0]] if each else []


def domains(found: Found, part: str) -> list[str]:
    lines = head(["way", *(title for _, title in OF_DOMAINS)])
    for way in ways(found, part):
        each = [over_seeds(found, part=part, arm=way, at="all", name=name) for name, _ in OF_DOMAINS]
        lines.append(row([way, *(shown(list(values.values())) for values in each)]))
    fits = dict.fromkeys(key.name for key in found if key.part == part and key.name.startswith(("ratio", "memory")))
    every = [(arm, name, over_seeds(found, part=part, arm=arm, at="all", name=name)) for arm in COFS for name in fits]
    return [*lines, "", *(f"{arm}, {name}, by seed: {values}" for arm, name, values in every if values)]


def against(found: Found, part: str, than: str) -> list[str]:
    """What each way has more than COFS-DPO, seed by seed."""
    lines = head(["way", *(title for _, title in OF_DOMAINS)])
    for way in (way for way in ways(found, part) if way != than):
        both = [
            less(*(over_seeds(found, part=part, arm=arm, at="all", name=name) for arm in (way, than)))
            for name, _ in OF_DOMAINS
        ]
        lines.append(row([way, *(shown(values, "+.3f") for values in both)]))
    return lines


def last_rows(found: Found, part: str) -> list[str]:
    """What each domain has at the start and at the end."""
    at = part.split()[0]
    names = list(dict.fromkeys(key.name for key in found if key.part == part and key.at == at))
    lines = head(["way", *names])
    places = [("start", COFS[0], "0"), *((way, way, at) for way in ways(found, part))]
    for title, way, place in places:
        each = [list(over_seeds(found, part=part, arm=way, at=place, name=name).values()) for name in names]
        lines.append(row([title, *map(shown, each)]))
    return lines


def streams(found: Found) -> list[str]:
    lines = head(["arm", "rate", "seeds", *(f"{name}, {at}" for at, name in OF_STREAMS)])
    pairs = {(key.rate, key.arm): None for key in found if key.part == "stream"}
    for rate, arm in sorted(pairs, key=lambda pair: (float(pair[0]), pair[1])):
        each = [
            list(over_seeds(found, part="stream", arm=arm, rate=rate, at=at, name=name).values())
            for at, name in OF_STREAMS
        ]
        lines.append(row([arm, rate, len(each[0]), *map(shown, each)]))
    return lines


def ways(found: Found, part: str) -> list[str]:
    """COFS-DPO first."""
    there = dict.fromkeys(key.arm for key in found if key.part == part)
    return sorted(there, key=lambda arm: COFS.index(arm) if arm in COFS else len(COFS))


def groups(found: Found, part: str) -> list[tuple[str, str, str]]:
    """Arm, learning rate and steps, of which there are numbers."""
    places = {(key.arm, key.rate, key.at) for key in found if key.part == part}
    return sorted(places, key=lambda place: (place[0], float(place[1]), int(place[2])))
