"""The names of the world: a small harbour town, its people, its tables and its neighbours."""

from itertools import product

TOWN = "Brindle Bay"


def _list(text: str) -> tuple[str, ...]:
    """The parts between the commas."""
    return tuple(part.strip() for part in text.split(","))


PEOPLE = _list(
    "Ada, Basil, Clara, Dora, Edwin, Flora, Gilbert, Hazel, Ivor, Jane, Kit, Lena, Milo, Nora, Otto, Pearl, Quentin, "
    "Rosa, Silas, Tilly, Ursula, Victor, Wanda, Yorick, Zelda, Agnes, Bruno, Cora, Dexter, Elsie, Felix, Greta, Hugo, "
    "Iris, Jasper, Lottie, Magnus, Nell, Oscar, Poppy"
)
STREETS = _list(
    "Mill Lane, Harbour Street, Church Hill, Bridge Road, Orchard Row, Market Square, Castle Walk, Willow Lane"
)
JOBS = _list(
    "a baker, a sailor, a doctor, a teacher, a tailor, a painter, a gardener, a fisher, a miller, a carpenter, a "
    "clerk, a postman, a smith, a cook, a farmer, a singer"
)
PETS = _list(
    "a cat, a parrot, a goat, a tortoise, a rabbit, a hound, a pony, a ferret, a canary, a hen, a donkey, a frog"
)
COLOURS = _list("red, blue, green, yellow, black, white, orange, purple, grey, brown")
DISHES = _list(
    "onion soup, apple pie, fish stew, plum cake, cheese toast, roast duck, pea soup, mushroom pie, ginger bread, "
    "potato salad, lemon tart, bean stew"
)
INSTRUMENTS = _list(
    "the fiddle, the flute, the drum, the harp, the piano, the horn, the banjo, the trumpet, the cello, the whistle"
)

_FIRST = _list(
    "Copper, Silver, Golden, Blue, Red, Green, Crooked, Sleepy, Little, Old, Merry, Lucky, Wandering, Hungry, Quiet, "
    "Lonely, Painted, Velvet, Rusty, Jolly"
)
_SECOND = _list(
    "Kettle, Anchor, Lantern, Fox, Goose, Whale, Barrel, Teapot, Owl, Mermaid, Crown, Spoon, Badger, Rose, Ship, Pony"
)
PLACES = tuple(f"the {first} {second}" for first, second in product(_FIRST, _SECOND))
DAYS = _list("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")
LANDMARKS = _list("the harbour, the mill, the church, the bridge, the market, the lighthouse")

NEIGHBOURS = _list(
    "Mr Hobbs, Mrs Hobbs, Mr Finch, Mrs Finch, Miss Lark, Mr Penny, Mrs Marsh, Mr Thorn, Miss Vale, Mr Crumb, Mrs "
    "Brook, Mr Stone, Miss Moss, Mrs Pike, Mr Wren, Miss Bell, Mr Frost, Mrs Sparrow, Miss Reed, Mr Flint"
)
ERRANDS = _list(
    "mend the gate, feed the cat, return the ladder, move the cart, paint the fence, sweep the steps, lend me the "
    "boat, water the roses, fix the roof, trim the hedge, bring back the spade, tie up the goat, empty the barrel, "
    "clean the well, close the shutters, carry the piano, pay the baker, ring the bell later, keep the geese at home, "
    "turn down the trumpet, share the apples, sell me the stove, walk the hound, collect the post"
)

ANIMALS = _list(
    "fox, goose, badger, cat, owl, mouse, otter, hare, goat, crow, hedgehog, donkey, frog, heron, mole, pony, pig, "
    "rooster"
)
TEMPERS = _list("proud, sleepy, brave, clever, greedy, gentle, lonely, merry, grumpy, tiny, vain, wise")
HEROES = tuple(f"a {temper} {animal}" for temper, animal in product(TEMPERS, ANIMALS))
