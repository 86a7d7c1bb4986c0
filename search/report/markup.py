"""The few pieces of HTML that the report is made of."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

STYLE = """
:root { --ink: #1a1a1a; --quiet: #5b6470; --line: #d9dee4; --accent: #0072B2; --wash: #f4f7fa; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: var(--ink);
  max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; background: #fff; }
h1 { font-size: 1.35rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.75rem 0 .5rem; }
p { margin: .4rem 0; max-width: 46rem; } .quiet { color: var(--quiet); font-size: .92rem; }
.answer { border: 1px solid var(--line); border-left: .5rem solid var(--accent); border-radius: .4rem;
  background: var(--wash); padding: 1.1rem 1.4rem; margin: 1rem 0; }
.answer .split { font-size: 2.1rem; font-weight: 700; line-height: 1.2; }
.answer dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .6rem 1.5rem;
  margin: .9rem 0 0; }
.answer dt { color: var(--quiet); font-size: .85rem; }
.answer dd { margin: 0; font-weight: 600; }
ul.warnings { margin: .8rem 0; padding: 0; list-style: none; }
ul.warnings li { border-left: .3rem solid #D55E00; padding: .15rem .8rem; margin: .4rem 0;
  background: #fdf4ee; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr));
  gap: 1rem; }
figure { margin: .6rem 0; break-inside: avoid; max-width: 36rem; } figure.wide-one { max-width: none; }
img { width: 100%; height: auto; display: block; }
figcaption { color: var(--quiet); font-size: .88rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; margin: .6rem 0; width: 100%; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
tr.best td { font-weight: 700; background: var(--wash); }
footer { margin-top: 3rem; color: var(--quiet); font-size: .85rem; border-top: 1px solid var(--line); }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } .wide { overflow: visible; }
  table { font-size: 8pt; } th, td { padding: .15rem .3rem; } h2 { break-after: avoid; } }
"""


def page(title: str, body: Sequence[str]) -> str:
    """A whole document that needs nothing from outside."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body>\n{chr(10).join(body)}\n</body></html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def picture(path: Path, caption: str, wide: bool = False) -> str:
    """An embedded PNG; its caption says what the picture shows, for those who cannot see it too."""
    source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    kind, text = " class=wide-one" if wide else "", escape(caption)
    return f'<figure{kind}><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>'


def pictures(figures: Sequence[str]) -> str:
    return f'<div class="pictures">{"".join(figures)}</div>'


def bullets(items: Sequence[str], kind: str = "") -> str:
    inner = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<ul class="{kind}">{inner}</ul>' if items else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], best: int | None = None) -> str:
    """Rows of ready text; row `best` stands out."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr{' class=best' if index == best else ''}>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>"
        for index, row in enumerate(rows)
    )
    return (
        f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
        if rows
        else ""
    )


def terms(pairs: Sequence[tuple[str, str]]) -> str:
    return (
        "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs) + "</dl>"
    )
