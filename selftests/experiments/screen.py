#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""screen.py [TITLE] <TEXT >SVG: a terminal's screen, as `tmux capture-pane -p -e` gives it, as a picture. Needs nothing but Python."""

import html
import re
import sys
import unicodedata

COLOURS = ["#3b4048", "#e06c75", "#8cc265", "#d8a657", "#6ea3d9", "#c678dd", "#56b6c2", "#d7dae0"]
BACK, FORE = "#1b1f24", "#d7dae0"
W, H, PAD = 8.43, 18, 14


def width(c):
    return 0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1


def spans(line):
    """(text, colour, bold, reverse, underline) of a line with SGR sequences; state goes on from line to line."""
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if not part.startswith("\x1b"):
            part = re.sub(r"\x1b.|[\x0e\x0f]", "", part)
            if part:
                yield part, spans.colour, spans.bold, spans.reverse, spans.underline
            continue
        for code in (int(n or 0) for n in part[2:-1].split(";")):
            if code in (0, 39):
                spans.colour = FORE
            if code == 0:
                spans.bold = spans.reverse = spans.underline = False
            elif code in (1, 4, 7, 22, 24, 27):
                setattr(spans, {1: "bold", 4: "underline", 7: "reverse", 22: "bold", 24: "underline", 27: "reverse"}[code], code < 10)
            elif 30 <= code <= 37:
                spans.colour = COLOURS[code - 30]
            elif 90 <= code <= 97:
                spans.colour = COLOURS[code - 90]


def main():
    spans.colour, spans.bold, spans.reverse, spans.underline = FORE, False, False, False
    lines = sys.stdin.read().rstrip("\n").split("\n")
    title = sys.argv[1] if len(sys.argv) > 1 else ""
    top = PAD + (24 if title else 0)
    body, columns = [], 80
    for row, line in enumerate(lines):
        at, y = 0, top + H * row
        for text, colour, bold, reverse, underline in spans(line):
            n = sum(map(width, text))
            if reverse:
                body.append(f'<rect x="{PAD + at * W:.1f}" y="{y:.1f}" width="{n * W:.1f}" height="{H}" fill="{colour}"/>')
            if text.strip():
                style = (' font-weight="700"' if bold else "") + (' text-decoration="underline"' if underline else "")
                lead = len(text) - len(text.lstrip(" "))
                body.append(f'<text x="{PAD + (at + lead) * W:.1f}" y="{y + 13.5:.1f}" fill="{BACK if reverse else colour}"{style} '
                            f'textLength="{sum(map(width, text.strip(" "))) * W:.1f}" xml:space="preserve">{html.escape(text.strip(" "))}</text>')
            at += n
        columns = max(columns, at)
    w, h = columns * W + 2 * PAD, top + H * len(lines) + PAD
    head = f'<text x="{w / 2:.0f}" y="24" text-anchor="middle" fill="#8b939e">{html.escape(title)}</text>' if title else ""
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w:.0f} {h:.0f}" width="{w:.0f}" height="{h:.0f}" font-family="ui-monospace,DejaVu Sans Mono,Menlo,Consolas,monospace" '
          f'font-size="14"><rect width="100%" height="100%" rx="10" fill="{BACK}"/>{head}{"".join(body)}</svg>')


if __name__ == "__main__":
    main()
