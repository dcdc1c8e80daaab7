"""The colours of pictures and page, for paper and for the dark: pictures are drawn in the light ones, the page swaps them by name.

On both grounds every colour of a line has a contrast of at least 3 : 1. Source: W3C, Web Content Accessibility Guidelines 2.2, 1.4.11.
"""

COLOURS = {  # name: (light, dark)
    "page": ("#f3f5f8", "#0d1218"),
    "ground": ("#ffffff", "#171d26"),
    "ink": ("#2b3542", "#dfe5ec"),
    "muted": ("#687383", "#97a3b2"),
    "axis": ("#a9b2bd", "#566273"),
    "grid": ("#e4e8ee", "#29323e"),
    "shade": ("#f7ecd6", "#342b1c"),
    "blue": ("#3461c9", "#7ea2ff"),
    "orange": ("#b35c00", "#ffa94d"),
    "green": ("#197d44", "#5fcb86"),
    "red": ("#cc3a2f", "#ff8273"),
    "purple": ("#8447d1", "#c196ff"),
    "teal": ("#0c8599", "#4fd0e0"),
    "pink": ("#cc3d84", "#ff94c4"),
    "olive": ("#857000", "#d9c44a"),
    "brown": ("#8a5a3c", "#d2a583"),
    "grey": ("#5d6672", "#b4bdc9"),
}
SERIES = ("blue", "orange", "green", "red", "purple", "teal", "pink", "olive", "brown", "grey")


def light(name: str) -> str:
    """Return the colour in which it is drawn."""
    return COLOURS[name][0]


def series(i: int) -> str:
    """Return the colour of the i-th line; after ten they come again, and the markers are then hollow."""
    return light(SERIES[i % len(SERIES)])
