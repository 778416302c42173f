#!/usr/bin/python3
"""Draws an asciicast (version 2) as an animated SVG, and reads the text of one.

    draw.py CAST SVG TITLE       what was on the terminal, as a film that starts anew when it has ended
    draw.py --text SVG           the text of its last picture, without what differs in each run

Whoever shows no animation, or is asked for less motion, sees the last picture. There is no script in it, and no font:
each run of characters is set into the terminal's grid, whatever font is there. Each line of the session is drawn once for
each state that it was in, one below the other, and the whole is moved up as the terminal scrolls.

pyte (Debian's python3-pyte) is the terminal. The drawing programs of the asciinema world were looked at first: agg draws
GIFs, svg-term-cli repeats the whole screen for each key that is typed, termtosvg is not kept up any more.
"""

import json
import re
import sys
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import pyte

WIDTH, HEIGHT, SIZE, EDGE = 8.4, 19, 14, 18
# Longest pause, in seconds; what is drawn together; how long the end stands.
PAUSE, STEP, END = 1.2, 0.06, 6
# For a dark screen with a light edge, which stands out on light and on dark pages.
COLOURS = {"default": "#d7dce5", "black": "#8b95a7", "red": "#f48a90", "green": "#7fd88f", "brown": "#e8c466",
           "cyan": "#6cc7d8"}
SVG = "{http://www.w3.org/2000/svg}"


def runs(row, columns):
    """(column, text, colour, bold) for each run of characters that look alike, blanks left out."""
    found = []
    for column in range(columns):
        cell = row[column]
        look = (cell.fg, cell.bold)
        if found and found[-1][2:] == look and found[-1][0] + len(found[-1][1]) == column:
            found[-1] = (found[-1][0], found[-1][1] + cell.data, *look)
        elif cell.data != " ":
            found.append((column, cell.data, *look))
    return tuple((column, text.rstrip(), *look) for column, text, *look in found)


def film(lines):
    """How long the session is on the screen; for each line its states, (from, runs); and the top line, (from, line)."""
    header, *events = map(json.loads, lines)
    columns, rows = header["width"], header["height"]
    screen = pyte.HistoryScreen(columns, rows, history=10000)
    stream = pyte.Stream(screen)
    states, tops = {}, [(0, 0)]

    def look(moment):
        top = len(screen.history.top)
        if top != tops[-1][1]:
            tops.append((moment, top))
        above = {top - 1 - back: line for back, line in enumerate(reversed(screen.history.top))}
        for line in range(max(0, tops[-2][1] if len(tops) > 1 else 0), top + rows):
            row = above[line] if line < top else screen.buffer[line - top]
            now = runs(row, columns)
            before = states.setdefault(line, [(0, ())])
            if now != before[-1][1]:
                before.append((moment, now))

    moment = last = drawn = 0
    for at, _, output in events:
        moment += min(at - last, PAUSE)
        last = at
        if moment - drawn >= STEP:
            look(drawn)
            drawn = moment
        stream.feed(output)
    look(moment)
    return moment + END, states, tops, columns, rows


def drawing(lines, title):
    duration, states, tops, columns, rows = film(lines)
    width, height = columns * WIDTH + 2 * EDGE, rows * HEIGHT + 2 * EDGE
    percent = lambda moment: f"{100 * moment / duration:.2f}%"
    moves = [f"{percent(moment)}{{transform:translateY({-top * HEIGHT}px)}}" for moment, top in tops]
    styles, texts = [f"@keyframes up{{{''.join(moves)}}}"], []
    for line, all_states in sorted(states.items()):
        for index, (since, looks) in enumerate(all_states):
            if not looks:
                continue
            until = all_states[index + 1][0] if index + 1 < len(all_states) else None
            name = f"s{len(texts)}"
            frames = ["0%{visibility:hidden}"] if since > 0 else []
            frames.append(f"{percent(since)}{{visibility:visible}}")
            frames.append(f"{percent(until)}{{visibility:hidden}}" if until else "to{visibility:visible}")
            styles.append(f"@keyframes {name}{{{''.join(frames)}}}#{name}{{animation-name:{name}}}")
            hidden = ' visibility="hidden"' if until else ""
            spans = "".join(span(*look) for look in looks)
            texts.append(f'<text id="{name}" y="{line * HEIGHT + SIZE}"{hidden}>{spans}</text>')
    top = tops[-1][1] * HEIGHT
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="t">
<title id="t">{escape(title)}</title>
<style>
text{{font:{SIZE}px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:{COLOURS["default"]};white-space:pre}}
text,#up{{animation:{duration:.1f}s step-end infinite}}
#up{{animation-name:up}}
.b{{font-weight:bold}}
{''.join(f".{name}{{fill:{colour}}}" for name, colour in COLOURS.items() if name != "default")}
{''.join(styles)}
@media(prefers-reduced-motion:reduce){{text,#up{{animation:none!important}}}}
</style>
<rect x=".5" y=".5" width="{width - 1:g}" height="{height - 1:g}" rx="8" fill="#1b1f27" stroke="#6e7681"/>
<svg x="{EDGE}" y="{EDGE}" width="{width - EDGE:g}" height="{rows * HEIGHT}">
<g id="up" transform="translate(0 {-top})">
{chr(10).join(texts)}
</g>
</svg>
</svg>
"""


def span(column, text, colour, bold):
    classes = " ".join(([colour] if colour != "default" else []) + (["b"] if bold else []))
    if colour not in COLOURS:
        sys.exit(f"draw: no colour for {colour}")
    chosen = f' class="{classes}"' if classes else ""
    return f'<tspan x="{column * WIDTH:g}" textLength="{len(text) * WIDTH:g}"{chosen}>{escape(text, False)}</tspan>'


def text_of(svg):
    """The lines that are visible at the end, from the first one on."""
    lines = []
    for text in ElementTree.parse(svg).iter(f"{SVG}text"):
        if "visibility" not in text.attrib:
            lines.append((int(text.get("y")), " ".join(span.text for span in text)))
    whole = "\n".join(line for _, line in sorted(lines)) + "\n"
    for what, name in [(r"SHA256:[0-9a-f]+", "HASH"), (r"\b[0-9a-f]{64}\b", "KEY"), (r"[0-9a-f-]{36}", "UUID"),
                       (r"\b(?:[0-9a-f]{4}-){3}[0-9a-f]{4}\b", "ID"), (r"20\S+Z\b", "TIME"),
                       (r"firmware [0-9.]+", "firmware VERSION")]:
        whole = re.sub(what, name, whole)
    return whole


match sys.argv[1:]:
    case ["--text", svg]:
        print(text_of(svg), end="")
    case [cast, svg, title]:
        Path(svg).write_text(drawing(Path(cast).read_text().splitlines(), title))
    case _:
        sys.exit(__doc__)
