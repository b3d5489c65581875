"""How a page looks: on white, on black and on paper. Text has 4.5 to 1 against its ground or more (WCAG 2.2, AA)."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """\
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1f24; --soft: #57606a; --rule: #d0d7de; --good: #1a6e2e;
  --bad: #b3261e; --open: #7a5200; --link: #0b57b0; --fault: #bb5500; --shade: .1; --panel: #f6f8fa; --one: #4477aa;
  --two: #cc4455; --three: #228833; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --ink: #e8eaed; --soft: #a9b1ba; --rule: #3d444d;
  --good: #7bd88f; --bad: #ff8a80; --open: #f0c060; --link: #8ab4f8; --fault: #ff9f45; --shade: .16;
  --panel: #1c2126; --one: #7aa9dc; --two: #ff7f90; --three: #6cc57c; } }
@media print { :root { color-scheme: light; --ground: #fff; --ink: #000; --soft: #444; --rule: #bbb; --good: #1a6e2e;
  --bad: #b3261e; --open: #7a5200; --link: #000; --fault: #bb5500; --shade: .12; --panel: #fff;
  --one: #4477aa; --two: #cc4455; --three: #228833; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1184px; margin: 1.5rem auto 4rem; padding: 0 2rem;
  color: var(--ink); background: var(--ground); }
a { color: var(--link); } :focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .2rem; } p { margin: .5rem 0; max-width: 62rem; }
nav { font-size: .9rem; margin: .6rem 0 0; } nav a { margin-right: 1.1rem; white-space: nowrap; }
.soft { color: var(--soft); font-size: .9rem; } .skip { position: absolute; left: -99rem; } .skip:focus { left: 1rem; }
.PASS, .EXPECTED { color: var(--good); } .FAIL, .ERROR { color: var(--bad); } .UNDECIDED { color: var(--open); }
.word { font-weight: 600; white-space: nowrap; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .93rem; }
caption { text-align: left; color: var(--soft); }
th, td { padding: .28rem 1.1rem .28rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; text-align: left; }
th { font-weight: 600; } thead th { border-bottom: 2px solid var(--rule); }
tbody th { font-weight: 400; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
code, pre { font: .83rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; } code { overflow-wrap: anywhere; }
th code { white-space: nowrap; overflow-wrap: normal; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .7rem; background: var(--panel);
  border: 1px solid var(--rule); }
pre.block { background: none; border: 0; border-left: 3px solid var(--rule); padding: .1rem .8rem; }
figure { margin: .8rem 0 1.4rem; } figcaption { color: var(--soft); font-size: .9rem; max-width: 62rem; }
summary { cursor: pointer; } .patterns { position: absolute; } ul { margin: .4rem 0; padding-left: 1.3rem; }
svg.drawing { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); paint-order: stroke; stroke: var(--ground);
  stroke-width: 3px; stroke-linejoin: round; }
svg text.head { font-weight: 600; } svg text.small { font-size: 11.5px; fill: var(--soft); }
svg text.bad { fill: var(--bad); } svg text.good { fill: var(--good); }
.hatch { stroke: #fff; stroke-width: 1.1; fill: #fff; } .hatch circle { stroke: none; }
.axis { stroke: var(--soft); fill: none; } .grid { stroke: var(--rule); fill: none; stroke-width: .7; }
.bound { stroke: var(--ink); stroke-dasharray: 6 4; fill: none; } .load { stroke: var(--ink); fill: none; }
.median { stroke: var(--one); stroke-width: 2; fill: none; } .band { fill: var(--one); opacity: .5; }
.wide { fill: var(--one); opacity: .25; }
.thin { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 3 2; fill: none; }
.thinband { fill: var(--soft); opacity: .18; }
.tries { stroke: var(--ink); stroke-width: 1.6; fill: none; } .fault { fill: var(--fault); }
.shade { fill: var(--fault); opacity: var(--shade); } .total { fill: var(--soft); }
.saved { fill: none; stroke: var(--soft); stroke-dasharray: 4 3; } .link { stroke: var(--soft); fill: none; }
.wait { stroke: var(--soft); stroke-dasharray: 1.5 3; stroke-width: 1.5; fill: none; }
.life { stroke: var(--rule); stroke-width: 6; fill: none; }
.mark { fill: var(--ink); stroke: var(--ground); stroke-width: 1; }
.tick, .cross { fill: none; stroke: var(--ink); stroke-width: 2; } .waiting { opacity: .4; }
.hollow { fill: var(--ground); stroke: var(--ink); stroke-width: 1.6; } .queue { fill: none; stroke: var(--ink); }
.line0 { stroke: var(--one); } .line1 { stroke: var(--two); stroke-dasharray: 7 3; }
.line2 { stroke: var(--three); stroke-dasharray: 2 3; }
.line0, .line1, .line2 { stroke-width: 2; fill: none; }
@media (max-width: 60rem) { .scroll { overflow-x: auto; } }
@page { size: A4 landscape; margin: 11mm 13mm; }
@media print {
  html { font-size: 12.5px; }
  body { max-width: none; margin: 0; padding: 0; font-size: 12.5px; } nav, .skip, details:not([open]) { display: none; }
  h1, h2, h3, caption { break-after: avoid; } figure, table, tr, li, p, .request { break-inside: avoid; }
  h2 { margin-top: 1.4rem; } th, td { padding-top: .15rem; padding-bottom: .15rem; }
  thead { display: table-header-group; }
  section.sheet { break-before: page; } svg.drawing { max-height: 170mm; }
}
"""
