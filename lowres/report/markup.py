"""HTML built so that text can never become markup: whatever is not Html is escaped."""

import html
from collections.abc import Iterable

_VOID = ("meta", "br", "link")


class Html(str):
    """Finished markup, taken over as it is."""


def element(tag: str, *children: "str | Html | Iterable[str | Html]", **attributes: str) -> Html:
    """`<tag ...>children</tag>`. Text is escaped; a trailing underscore of an attribute's name is dropped (class_)."""
    given = "".join(f' {name.rstrip("_").replace("_", "-")}="{html.escape(v)}"' for name, v in attributes.items() if v)
    if tag in _VOID:
        return Html(f"<{tag}{given}>")
    return Html(f"<{tag}{given}>{joined(children)}</{tag}>")


def joined(children: Iterable["str | Html | Iterable[str | Html]"]) -> Html:
    """Children one after the other, text escaped."""
    parts = []
    for child in children:
        if isinstance(child, Html):
            parts.append(str(child))
        elif isinstance(child, str):
            parts.append(html.escape(child))
        else:
            parts.append(joined(child))
    return Html("".join(parts))


STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1c1e21; --soft: #5c636b; --faint: #cfd4da; --ground: #ffffff; --raised: #f6f7f9;
  --good: #0b6e4f; --bad: #b3261e; --warning: #8a5a00; --warning-ground: #fff4dc; --accent: #0072b2;
SERIES_LIGHT
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e8ea; --soft: #a0a7af; --faint: #3b4148; --ground: #15181b; --raised: #1d2125;
    --good: #5fd3a4; --bad: #ff8f85; --warning: #f0c060; --warning-ground: #33290f; --accent: #5aa9e6;
SERIES_DARK
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1rem; font-weight: 600; color: var(--soft); margin: 0; overflow-wrap: anywhere; }
.headline { font-size: clamp(1.25rem, 1rem + 1.3vw, 1.75rem); line-height: 1.3; font-weight: 600; margin: .4rem 0 1rem;
  max-width: 52rem; text-wrap: pretty; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--faint);
  overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.75rem 0 .4rem; overflow-wrap: anywhere; }
p, li { max-width: 52rem; overflow-wrap: anywhere; }
ul { padding-left: 1.2rem; } li { margin: .3rem 0; }
.soft, .note, figcaption { color: var(--soft); font-size: .875rem; }
.note { margin: .4rem 0; }
.banner { background: var(--warning-ground); border-left: 4px solid var(--warning); padding: .6rem .9rem;
  margin: 1rem 0; max-width: 52rem; }
.scroll { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; font-size: .9rem; min-width: 24rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .9rem .4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--faint); }
th { font-weight: 600; vertical-align: bottom; border-bottom: 2px solid var(--faint); }
th.number, td.number { text-align: right; }
td.number { white-space: nowrap; }
td:first-child { overflow-wrap: anywhere; min-width: 8rem; }
td.words { min-width: 7rem; max-width: 28rem; overflow-wrap: break-word; }
td.words:last-child { min-width: 11rem; }
.detail { display: block; color: var(--soft); font-size: .8rem; }
td.number .detail { white-space: nowrap; }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; }
.warning { color: var(--warning); } .muted { color: var(--soft); }
.span { display: block; width: 11rem; height: 14px; margin-top: 2px; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 2rem; margin: 1rem 0; }
figure { margin: 0; flex: 1 1 22rem; max-width: 32rem; min-width: 0; }
figure svg { width: 100%; height: auto; display: block; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--raised); padding: 1rem; overflow-x: auto; font-size: .8rem;
  line-height: 1.45; border-radius: 6px; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--accent); font-size: .9rem; }
@media (max-width: 34rem) {
  main { padding: 1.25rem .9rem 3rem; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .6rem; }
  table { font-size: .8rem; min-width: 0; }
  .detail { font-size: .72rem; }
  th, td { padding-right: .5rem; }
  td:first-child { min-width: 5rem; }
  td.words { min-width: 5.5rem; }
  .span { width: 7rem; }
}
@media print { body { font-size: 11px; } .scroll { overflow: visible; } }
"""
