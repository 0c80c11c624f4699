"""Horizontal bars as SVG."""

from dataclasses import dataclass
from html import escape
from math import log10

WIDTH, LABEL, NUMBER, STEP, TOP = 720, 230, 80, 24, 40


@dataclass(frozen=True)
class Bar:
    label: str
    value: float | None
    text: str


def chart(title: str, bars: list[Bar], logarithmic: bool = False) -> str:
    """Draw a bar for each value; with a logarithmic scale, each decade is as long as another."""
    values = [bar.value for bar in bars if bar.value]
    least, most = min(values, default=1.0) / 2, max(values, default=1.0)

    def length(value: float | None) -> float:
        if not value:
            return 0.0
        part = log10(value / least) / log10(most / least) if logarithmic else value / most
        return part * (WIDTH - LABEL - NUMBER)

    scale = " (logarithmic scale)" if logarithmic else ""
    lines = [f'<text x="8" y="22" font-weight="bold">{escape(title + scale)}</text>']
    for index, bar in enumerate(bars):
        y, end = TOP + index * STEP, LABEL + length(bar.value)
        color = "#c2410c" if bar.label.startswith("autocron 2") else "#64748b"
        lines += [
            f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{end - LABEL:.1f}" height="{STEP - 8}" fill="{color}"/>',
            f'<text x="{end + 6:.1f}" y="{y + 13}">{escape(bar.text)}</text>',
        ]
    height = TOP + len(bars) * STEP + 8
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="13">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *lines, "</svg>", ""])
