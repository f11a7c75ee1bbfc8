"""Colours of charts, each with the word that people use for it."""

from train.pretrain.charts.drawing.canvas import Colour, rgb

# In order of use; no two colours of a palette share a word.
PALETTES = {
    "statista": "2876dd blue,0f283e dark blue,bababa gray,a50f15 red,8bbc21 green,f1bc1c yellow,742f8a purple",
    "tableau": "1f77b4 blue,ff7f0e orange,2ca02c green,d62728 red,9467bd purple,8c564b brown,e377c2 pink,7f7f7f gray",
    "excel": "4472c4 blue,ed7d31 orange,a5a5a5 gray,ffc000 yellow,5b9bd5 light blue,70ad47 green,264478 dark blue",
    "excel03": "4f81bd blue,c0504d red,9bbb59 green,8064a2 purple,4bacc6 light blue,f79646 orange",
    "sheets": "3366cc blue,dc3912 red,ff9900 orange,109618 green,990099 purple,0099c6 light blue,dd4477 pink",
    "sheets2": "4285f4 blue,ea4335 red,fbbc04 yellow,34a853 green,ff6d01 orange,46bdc6 teal",
    "pew_gold": "d1a730 gold,e8d595 light yellow,a5a58d gray,5d5d4d dark gray,949d48 green,b5651d brown",
    "pew_blue": "436983 blue,bf3b27 red,949d48 green,d1a730 gold,756a7e purple,a6a6a6 gray",
    "pew_green": "949d48 green,d7dbb5 light green,6c6b5a gray,d1a730 gold,436983 blue,bf3b27 red",
    "pew_navy": "2e4b73 dark blue,8fa8c8 light blue,d9a441 orange,7d9b3c green,999999 gray,b04a3a red",
    "owid": "3c4e9b dark blue,b13507 red,4c6a9c blue,18470f green,c05917 orange,883039 brown,6d3e91 purple,00847e teal",
    "owid2": "4c6a9c blue,578145 green,c15065 red,be5915 orange,6d3e91 purple,38aaba light blue,996d39 brown",
    "owid_bars": "5279b8 blue,44a0a0 teal,e05353 red,fdd752 yellow,a3d297 light green,4fae5a green",
    "oecd": "04629a blue,e73741 red,8cb841 green,f7a11a orange,7f4b96 purple,00a5a8 teal,a0a0a0 gray,5c3d2e brown",
    "oecd_bars": "e8262e red,72a025 green,983385 purple,1290de blue,e2521f orange,f7c21a yellow,8a8a8a gray",
    "seaborn": "4c72b0 blue,dd8452 orange,55a868 green,c44e52 red,8172b3 purple,937860 brown,da8bc3 pink",
    "set2": "66c2a5 green,fc8d62 orange,8da0cb blue,e78ac3 pink,a6d854 light green,ffd92f yellow,e5c494 beige",
    "set1": "e41a1c red,377eb8 blue,4daf4a green,984ea3 purple,ff7f00 orange,ffff33 yellow,a65628 brown,f781bf pink",
    "dark": "003f5c dark blue,bc5090 pink,ffa600 orange,58508d purple,ff6361 red",
    "blues": "08306b dark blue,4292c6 blue,9ecae1 light blue,d0d0d0 gray,636363 dark gray",
    "greens": "00441b dark green,41ab5d green,a1d99b light green,fdae61 orange,d7191c red",
    "economist": "006ba2 blue,3ebcd2 light blue,db444b red,379a8b green,ebb434 yellow,9a607f purple,758d99 gray",
    "slides": "2a9d8f teal,e76f51 orange,264653 dark blue,e9c46a yellow,8a5a83 purple,b23a48 red",
    "pastel": "a1c9f4 light blue,ffb482 orange,8de5a1 green,ff9f9b pink,d0bbff purple,debb9b beige",
    "warm": "b2182b red,ef8a62 orange,fddbc7 pink,67a9cf light blue,2166ac blue",
    "black": "222222 black,888888 gray,cc3333 red,3377bb blue,66aa55 green",
}
# Of lessons only: `SWATCHES` is drawn from by index, so another entry would change every chart.
PUBLISHED = {
    "pew_real": "949d48 green,ea9e2c orange,006699 blue,dddacb gray,d1a730 gold,a55a26 brown",
    "pew_browns": "5d4a13 dark brown,a27d17 brown,d1a730 gold,e3cf8d light yellow,c9c9c0 gray",
    "pew_greens": "51572a dark green,949d48 green,c5c98f light green,e6e4d8 gray,d1a730 gold,006699 blue",
    "pew_sides": "ea9e2c orange,949d48 green,1f4a84 dark blue,d1a730 gold,8a8a7b gray",
    "pew_party": "436983 blue,bf3b27 red,949d48 green,dddacb gray,d1a730 gold",
}


def swatches(palettes: dict[str, str]) -> dict[str, list[tuple[Colour, str]]]:
    """The colours of palettes, each with its word."""
    return {
        name: [(rgb("#" + entry.split(" ", 1)[0]), entry.split(" ", 1)[1]) for entry in text.split(",")]
        for name, text in palettes.items()
    }


SWATCHES = swatches(PALETTES)
PUBLISHED_SWATCHES = swatches(PUBLISHED)
