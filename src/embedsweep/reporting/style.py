"""The look of a page, and the little it does by itself. The page is whole without the script."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fdfdfb; --ink: #1d1f21; --soft: #5c6268; --faint: #8f969d; --rule: #dcdfe2;
  --grid: #eceeef; --panel: #f5f6f4; --accent: #0b5c8f; --good: #00714f; --bad: #b3470a;
  --wait: #6b5b00; --whisker: #7b848c;
  --arm-0: #0072b2; --arm-1: #d55e00; --arm-2: #009e73; --arm-3: #b5589a; --arm-4: #b88300;
  --arm-5: #3a9bd0;
  --shade-0: #cbd4db; --shade-1: #b3c4d1; --shade-2: #97b3c8; --shade-3: #779fbe;
  --shade-4: #548ab1; --shade-5: #2d719f; --shade-6: #07527f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181b; --ink: #e6e8ea; --soft: #a5adb5; --faint: #7a838b; --rule: #363c42;
    --grid: #242a2f; --panel: #1c2125; --accent: #6fb7e9; --good: #4fc79b; --bad: #f0945a;
    --wait: #d6bd4a; --whisker: #8a949d;
    --arm-0: #56b4e9; --arm-1: #ff8f4d; --arm-2: #33c99a; --arm-3: #e29cc9; --arm-4: #f0c14b;
    --arm-5: #9fd6f7;
    --shade-0: #2c343b; --shade-1: #33444f; --shade-2: #3a5668; --shade-3: #446d88;
    --shade-4: #5187ab; --shade-5: #63a5d2; --shade-6: #8ccbf7;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15.5px/1.55 "Helvetica Neue", "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", Arial,
    sans-serif;
  -webkit-text-size-adjust: 100%;
}
main { max-width: 840px; margin: 0 auto; padding: 44px 36px 72px; }
.over { font-size: 13px; color: var(--soft); margin: 0 0 6px; }
h1 { font-size: 34px; line-height: 1.15; font-weight: 700; letter-spacing: -0.015em; margin: 0; }
h2 { font-size: 19px; font-weight: 700; margin: 50px 0 4px; }
h3 { font-size: 14px; font-weight: 600; color: var(--soft); margin: 26px 0 2px; }
p { margin: 0 0 12px; max-width: 44em; text-wrap: pretty; }
.lead { font-size: 18px; margin: 14px 0 24px; max-width: 42em; }
h1, td, .text, .lead { unicode-bidi: isolate; overflow-wrap: anywhere; }
.note { font-size: 13px; color: var(--soft); }
.figures {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 0 16px;
  margin: 0; border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule);
  padding: 14px 0 12px;
}
.figures div { min-width: 0; }
.figures dt { font-size: 12.5px; color: var(--soft); }
.figures dd {
  margin: 1px 0 0; font-size: 23px; line-height: 1.25; font-weight: 600; letter-spacing: -0.01em;
  font-variant-numeric: tabular-nums;
}
.figures dd small { display: block; font-size: 12.5px; font-weight: 400; letter-spacing: 0;
  color: var(--soft); }
.promoted { color: var(--good); } .refused { color: var(--bad); }
.inconclusive { color: var(--wait); }
figure { margin: 10px 0 6px; }
figcaption { font-size: 13px; color: var(--soft); max-width: 54em; }
.pair { display: flex; flex-wrap: wrap; gap: 8px 16px; }
.pair > svg { flex: 1 1 330px; min-width: 0; }
.wide { overflow-x: auto; }
.keys { display: flex; flex-wrap: wrap; gap: 2px 18px; font-size: 13px; color: var(--soft);
  margin: 6px 0 2px; padding: 0; list-style: none; }
.key { width: 13px; height: 13px; vertical-align: -2px; margin-right: 5px; }
table { border-collapse: collapse; font-size: 13.5px; line-height: 1.4; margin: 10px 0; width: 100%;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: 13px; padding-bottom: 4px; }
th { text-align: left; font-weight: 500; font-size: 12.5px; color: var(--soft);
  border-bottom: 1px solid var(--rule); padding: 4px 14px 4px 0; white-space: nowrap; }
td { border-bottom: 1px solid var(--grid); padding: 4px 14px 4px 0; vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
.num { text-align: right; white-space: nowrap; }
tr.first td { font-weight: 600; } tr.first td.words { font-weight: 400; }
tr.aside td { color: var(--soft); }
td.words { min-width: 15em; } td.text { min-width: 9em; } code { white-space: nowrap; }
td.rank, td.mark { white-space: nowrap; }
.axis-row td { border: 0; padding-top: 0; color: var(--faint); }
.evidence { display: grid; grid-template-columns: repeat(auto-fit, minmax(225px, 1fr));
  gap: 0 28px; font-size: 13.5px; margin: 10px 0 12px; font-variant-numeric: tabular-nums; }
.evidence div { display: flex; justify-content: space-between; gap: 12px; padding: 4px 0;
  border-bottom: 1px solid var(--grid); }
.evidence dt { color: var(--soft); } .evidence dd { margin: 0; text-align: right;
  overflow-wrap: anywhere; }
.evidence.long { grid-template-columns: 1fr; } .evidence.long dt { flex: none; }
ul.reasons { margin: 0 0 12px; padding-left: 1.1em; max-width: 44em; }
svg.chart { display: block; width: 100%; height: auto; overflow: visible; }
svg.cell { width: 180px; height: 18px; display: block; }
svg text { font-size: 11.5px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .axis { fill: var(--ink); } svg .name { fill: var(--ink); font-size: 13px; }
svg .note { font-size: 11.5px; fill: var(--soft); }
svg .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
.grid { stroke: var(--grid); } .base { stroke: var(--faint); }
.zero { stroke: var(--faint); } .least { stroke: var(--bad); stroke-dasharray: 3 3; }
.baseline { stroke: var(--soft); stroke-dasharray: 5 4; }
.best { fill: none; stroke: var(--faint); stroke-width: 1.4; }
.whisker { stroke: var(--whisker); stroke-width: 1.4; } .whisker.strong { stroke-width: 2;
  stroke: var(--accent); }
.point { fill: var(--arm); stroke: var(--paper); stroke-width: 0.8; }
.point.hollow { fill: var(--paper); stroke: var(--arm); stroke-width: 1.6; }
.point.plain { --arm: var(--faint); } .point.headline { --arm: var(--accent); }
.cross { stroke: var(--arm); stroke-width: 1.6; fill: none; }
.course { fill: none; stroke: var(--arm); stroke-width: 1.1; opacity: 0.55; }
.course.strong { stroke-width: 2.8; opacity: 1; }
.strand { fill: none; stroke: var(--shade); stroke-width: 1.4; stroke-linejoin: round; }
.many .strand { stroke-width: 0.9; opacity: 0.75; }
.strand.strong, .many .strand.strong { stroke: var(--arm-1); stroke-width: 2.6; opacity: 1; }
.strand:hover, .course:hover { stroke: var(--ink); opacity: 1; }
.gain { fill: var(--good); } .loss { fill: var(--bad); } .share { fill: var(--shade-4); }
.optimism { fill: var(--wait); opacity: 0.16; }
.arm-0 { --arm: var(--arm-0); } .arm-1 { --arm: var(--arm-1); } .arm-2 { --arm: var(--arm-2); }
.arm-3 { --arm: var(--arm-3); } .arm-4 { --arm: var(--arm-4); } .arm-5 { --arm: var(--arm-5); }
.shade-0 { --shade: var(--shade-0); } .shade-1 { --shade: var(--shade-1); }
.shade-2 { --shade: var(--shade-2); } .shade-3 { --shade: var(--shade-3); }
.shade-4 { --shade: var(--shade-4); } .shade-5 { --shade: var(--shade-5); }
.shade-6 { --shade: var(--shade-6); }
.ramp { display: inline-block; width: 84px; height: 9px; border-radius: 2px; margin: 0 6px;
  background: linear-gradient(90deg, var(--shade-0), var(--shade-3), var(--shade-6)); }
th button { all: unset; cursor: pointer; } th button:hover { color: var(--ink); }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th[aria-sort="ascending"] button::after { content: " \\2191"; }
th[aria-sort="descending"] button::after { content: " \\2193"; }
#tip { position: fixed; z-index: 1; pointer-events: none; max-width: 340px; padding: 5px 9px;
  background: var(--ink); color: var(--paper); border-radius: 4px; line-height: 1.4;
  font-size: 12.5px; }
@media (max-width: 620px) { main { padding: 24px 16px 48px; } .wide > svg { min-width: 600px; } }
@media print {
  :root { --paper: #fff; }
  body { font-size: 11pt; } main { max-width: none; padding: 0; }
  h2 { break-after: avoid; } figure, tr, .figures, .evidence { break-inside: avoid; }
  thead { display: table-header-group; } .wide { overflow: visible; }
}
"""

SCRIPT = """
(() => {
  const tip = document.createElement("div");
  tip.id = "tip"; tip.hidden = true; document.body.append(tip);
  for (const title of document.querySelectorAll("svg :not(svg) > title")) {
    const mark = title.parentElement;
    mark.dataset.tip = title.textContent;
    mark.setAttribute("aria-label", title.textContent);
    title.remove();
  }
  document.addEventListener("pointermove", event => {
    const mark = event.target.closest("[data-tip]");
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.tip;
    const right = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 16 + tip.offsetHeight > innerHeight;
    tip.style.left = Math.max(8, right) + "px";
    tip.style.top = event.clientY + (below ? -12 - tip.offsetHeight : 16) + "px";
  });
  const value = (row, place) => {
    const cell = row.cells[place];
    return cell.dataset.value ?? cell.textContent;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    table.tHead.rows[0].querySelectorAll("th").forEach((head, place) => {
      if (!head.textContent) return;
      const button = document.createElement("button");
      button.append(...head.childNodes); head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows];
        const sign = up ? 1 : -1;
        rows.sort((one, two) => {
          const [a, b] = [value(one, place), value(two, place)];
          if (a === "" || b === "") return (a === "") - (b === "");
          const [x, y] = [Number(a), Number(b)];
          return sign * (Number.isNaN(x - y) ? a.localeCompare(b) : x - y);
        });
        table.tBodies[0].append(...rows);
      });
    });
  }
})();
"""
