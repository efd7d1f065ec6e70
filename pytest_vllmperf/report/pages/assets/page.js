(() => {
  "use strict";
  const root = document.documentElement;
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));
  root.classList.add("js");

  // What is large is gzip in base64.
  async function unpacked(id) {
    if (typeof DecompressionStream === "undefined") {
      throw new Error("this browser cannot unpack it; Chrome 80, Firefox 113, Safari 16.4 and later can");
    }
    const text = atob(document.getElementById(id).textContent);
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  let loading = null;
  function load() {
    loading ??= (async () => {
      const figures = JSON.parse(await unpacked("figures"));
      const script = document.createElement("script");
      script.textContent = await unpacked("library");
      document.head.append(script);
      if (!window.Plotly) throw new Error("the plotting library did not start");
      return figures;
    })();
    return loading;
  }

  // "@bad" is the colour of the theme's variable --bad; "@bad/20" the same with 20 % opacity.
  function coloured(value) {
    if (Array.isArray(value)) return value.map(coloured);
    if (typeof value !== "string" || value[0] !== "@") return value;
    const [name, opacity] = value.slice(1).split("/");
    const hex = getComputedStyle(root).getPropertyValue(`--${name}`).trim();
    if (!opacity) return hex;
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return `rgba(${red},${green},${blue},${Number(opacity) / 100})`;
  }
  const COLOURS = new Set(["color", "fillcolor", "bgcolor", "bordercolor", "gridcolor", "linecolor", "zerolinecolor"]);
  function themed(value, key) {
    if (COLOURS.has(key)) return coloured(value);
    if (Array.isArray(value)) return typeof value[0] === "object" ? value.map((one) => themed(one)) : value;
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, themed(one, name)]));
  }

  const AXIS = {
    gridcolor: "@grid", linecolor: "@line", zerolinecolor: "@line", zeroline: false, automargin: true, ticks: "",
    title: { font: { size: 12, color: "@muted" }, standoff: 8 }, tickfont: { size: 11, color: "@muted" }, fixedrange: false,
  };
  const LAYOUT = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 46, r: 12, t: 8, b: 30 }, showlegend: false,
    font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', Arial, sans-serif", size: 12, color: "@fg" },
    hoverlabel: { bgcolor: "@surface", bordercolor: "@line", font: { color: "@fg", size: 12 } }, hovermode: "closest",
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11.5, color: "@muted" }, bgcolor: "rgba(0,0,0,0)" },
    dragmode: "zoom",
  };
  const CONFIG = { displaylogo: false, responsive: true, displayModeBar: false };
  function merged(base, more) {
    const result = { ...base };
    for (const [name, one] of Object.entries(more ?? {})) {
      const both = one && typeof one === "object" && !Array.isArray(one) && result[name] && typeof result[name] === "object";
      result[name] = both ? merged(result[name], one) : one;
    }
    return result;
  }
  function laidOut(layout) {
    const result = merged(LAYOUT, layout);
    for (const name of Object.keys(result)) if (/^[xy]axis\d*$/.test(name)) result[name] = merged(AXIS, result[name]);
    for (const name of ["xaxis", "yaxis"]) result[name] ??= { ...AXIS };
    return result;
  }

  const drawn = new Map();
  async function draw(place) {
    try {
      const figure = (await load())[Number(place.dataset.figure)];
      drawn.set(place, figure);
      place.dataset.kind = figure.kind;
      place.setAttribute("role", "img");
      place.setAttribute("aria-label", `plot: ${place.parentElement.querySelector("figcaption").textContent}`);
      await window.Plotly.react(place, themed(figure.traces), themed(laidOut(figure.layout)), CONFIG);
      place.dataset.drawn = "yes";
    } catch (error) {
      place.classList.add("failed");
      place.textContent = `This plot could not be drawn: ${error.message}.`;
      console.error(error);
    }
  }
  const watcher = new IntersectionObserver((entries) => {
    for (const one of entries) {
      if (!one.isIntersecting) continue;
      watcher.unobserve(one.target);
      draw(one.target);
    }
  }, { rootMargin: "200px" });
  all(".plot").forEach((place) => watcher.observe(place));

  function redraw() {
    for (const [place, figure] of drawn) {
      window.Plotly?.react(place, themed(figure.traces), themed(laidOut(figure.layout)), CONFIG);
    }
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", redraw);

  // Filter: a verdict, and words that all have to stand in a row.
  const rows = all("[data-status]");
  const search = document.getElementById("search");
  const buttons = all("button[data-filter]");
  const shown = document.getElementById("shown");
  function filter() {
    const words = (search?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(buttons.filter((one) => one.getAttribute("aria-pressed") === "true").map((one) => one.dataset.filter));
    let count = 0;
    const listed = all("tr[data-status]").length;
    for (const row of rows) {
      const statuses = row.dataset.status.split(" ");
      const text = (row.dataset.text ?? row.textContent).toLowerCase();
      const fits = (!wanted.size || statuses.some((one) => wanted.has(one))) && words.every((word) => text.includes(word));
      row.hidden = !fits;
      if (fits && row.matches("tr")) count += 1;
    }
    if (shown) shown.textContent = count === listed ? "" : `${count} of ${listed} shown`;
  }
  search?.addEventListener("input", filter);
  for (const button of buttons) {
    button.disabled = false;
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      filter();
    });
  }

  // Charts over time: the value at the pointer with its run, and a filter by test and metric.
  for (const section of all(".trends")) {
    const runs = JSON.parse(section.dataset.runs);
    section.addEventListener("pointermove", (event) => {
      const drawing = event.target.closest?.(".chart svg");
      if (!drawing) return;
      const figure = drawing.closest("figure");
      const box = drawing.getBoundingClientRect();
      const values = figure.dataset.values.split(",");
      const which = figure.dataset.runs.split(",");
      const share = (((event.clientX - box.left) / box.width) * 640 - 4) / 632;
      const at = Math.min(values.length - 1, Math.max(0, Math.round(share * (values.length - 1))));
      const run = runs[which.length === values.length ? which[at] : Number(which[0]) + at];
      figure.querySelector("output").textContent = `${values[at]} ${figure.dataset.unit}, ${run}`;
    });
    const articles = all("article", section);
    section.querySelector(".search")?.addEventListener("input", (event) => {
      const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const article of articles) {
        const name = article.querySelector("h3").textContent;
        for (const figure of all("figure", article)) {
          const text = `${name} ${figure.querySelector("figcaption").firstChild.textContent}`.toLowerCase();
          figure.hidden = !words.every((word) => text.includes(word));
        }
        article.hidden = !article.querySelector("figure:not([hidden])");
      }
    });
  }

  const sections = all("details.test");
  document.getElementById("open-all")?.addEventListener("click", () => {
    const open = sections.some((one) => !one.hidden && !one.open);
    for (const one of sections) if (!one.hidden) one.open = open;
  });
  function follow() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const section = target?.closest("details.test");
    if (!section) return;
    section.open = true;
    section.scrollIntoView();
    section.querySelector("summary").focus({ preventScroll: true });
  }
  addEventListener("hashchange", follow);
  follow();
})();
