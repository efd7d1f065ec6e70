"""What a page with trends needs besides: its style, light and dark, and a script that shows the value at a pointer."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2330; --paper: #fff; --quiet: #5b6575; --line: #d9dee6; --dot: #2f6fb3;
  --level: #1c2330; --worse: #b3261e; --better: #1b7837; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --paper: #14181f; --quiet: #9aa5b4; --line: #343c48;
  --dot: #6cb0f5; --level: #e4e8ee; --worse: #ff8a80; --better: #7fd394; } }
body { margin: 1.5rem auto; max-width: 84rem; padding: 0 1rem; font: 15px/1.45 system-ui, sans-serif;
  color: var(--ink); background: var(--paper); }
.vllmperf-trends h2 { margin-top: 2rem; }
.vllmperf-trends h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; overflow-wrap: anywhere; }
.vllmperf-trends p { margin: .2rem 0; overflow-wrap: anywhere; }
.vllmperf-trends .note, .vllmperf-trends .profile, .vllmperf-trends figcaption { color: var(--quiet); }
.vllmperf-trends .profile { font-weight: normal; }
.vllmperf-trends figcaption b { color: var(--ink); }
.vllmperf-trends .event { border-left: 3px solid var(--line); padding-left: .8rem; }
.vllmperf-trends table { border-collapse: collapse; display: block; overflow-x: auto; }
.vllmperf-trends td { padding: .1rem .9rem .1rem 0; vertical-align: top; }
.vllmperf-trends .number { white-space: nowrap; font-variant-numeric: tabular-nums; }
.vllmperf-trends .worse { color: var(--worse); white-space: nowrap; }
.vllmperf-trends .better { color: var(--better); white-space: nowrap; }
.vllmperf-trends .not-compared { font-weight: 600; }
.vllmperf-trends .filter { width: 22rem; max-width: 100%; padding: .3rem .5rem; font: inherit; color: inherit;
  background: inherit; border: 1px solid var(--line); }
.vllmperf-trends article { content-visibility: auto; contain-intrinsic-size: auto 14rem; }
.vllmperf-trends .charts { display: grid; gap: .8rem; align-items: end;
  grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); }
.vllmperf-trends figure { margin: 0; min-width: 0; }
.vllmperf-trends figcaption { font-size: .85rem; overflow-wrap: anywhere; }
.vllmperf-trends .plot { display: grid; grid-template-columns: 5.2rem 1fr; height: 7.5rem; }
.vllmperf-trends .scale { display: flex; flex-direction: column; justify-content: space-between; font-size: .75rem;
  color: var(--quiet); text-align: right; padding-right: .4rem; }
.vllmperf-trends svg { width: 100%; height: 7.5rem; border: 1px solid var(--line); box-sizing: border-box; }
.vllmperf-trends svg path { vector-effect: non-scaling-stroke; fill: none; }
.vllmperf-trends .dots { stroke: var(--dot); stroke-width: 4; stroke-linecap: round; }
.vllmperf-trends .level { stroke: var(--level); stroke-width: 1.5; }
.vllmperf-trends .mark { stroke-width: 2; stroke-dasharray: 5 3; }
.vllmperf-trends .mark.worse { stroke: var(--worse); }
.vllmperf-trends .mark.better { stroke: var(--better); }
.vllmperf-trends output { display: block; min-height: 1.2rem; font-size: .8rem; color: var(--quiet); }
[hidden] { display: none; }
"""

SCRIPT: Final = """
for (const section of document.querySelectorAll(".vllmperf-trends")) {
  const runs = JSON.parse(section.querySelector("script.runs").textContent);
  section.addEventListener("pointermove", (event) => {
    const svg = event.target.closest("svg");
    if (!svg) return;
    const figure = svg.closest("figure"), box = svg.getBoundingClientRect();
    const values = figure.dataset.values.split(","), which = figure.dataset.runs.split(",");
    const share = ((event.clientX - box.left) / box.width * 640 - 4) / 632;
    const at = Math.min(values.length - 1, Math.max(0, Math.round(share * (values.length - 1))));
    figure.querySelector("output").textContent = `${values[at]} ${figure.dataset.unit}, ${runs[which[at]]}`;
  });
  const articles = [...section.querySelectorAll("article")];
  section.querySelector(".filter").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const article of articles) {
      const named = article.querySelector("h3").textContent.toLowerCase().includes(wanted);
      let any = false;
      for (const figure of article.querySelectorAll("figure")) {
        figure.hidden = !named && !figure.querySelector("b").textContent.toLowerCase().includes(wanted);
        any ||= !figure.hidden;
      }
      article.hidden = !any;
    }
  });
}
"""
