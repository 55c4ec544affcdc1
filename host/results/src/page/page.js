"use strict";
(async () => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  if (figures.length === 0) return;
  const tell = (text) => document.querySelectorAll(".plot").forEach((plot) => {
    plot.style.cssText = "padding: .6rem .8rem"; plot.textContent = text;
  });
  if (typeof DecompressionStream === "undefined") {
    return tell("This browser is too old for the plot; the table below has its figures.");
  }
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(stream).text();
  document.head.append(library);
  const dashes = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "8px,2px,2px,2px,2px,2px", "1px,3px"];
  const marks = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "hexagon"];
  const coarse = matchMedia("(pointer: coarse)"), dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const pale = (hex) => hex + "38";
  // Without its own colours: those of the page, whichever they are now.
  const trace = (given, count) => {
    const t = structuredClone(given), k = t.meta ?? 0, hue = colour("--c" + (k % 8));
    if (t.type === "heatmap") {
      t.colorscale = "Cividis"; t.reversescale = !dark.matches;
      t.colorbar = { ...t.colorbar, thickness: 12, outlinewidth: 0, len: 1 };
      return t;
    }
    if (t.fill) return { ...t, fillcolor: pale(hue), line: { width: 0 }, hoverinfo: "skip" };
    if (t.type === "bar") return { ...t, marker: { color: hue } };
    const dash = dashes[(k + Math.floor(k / 8)) % 8];
    t.line = { width: 2, dash, ...t.line, color: hue };
    if ((t.mode ?? "").includes("markers")) t.marker = { size: 7, symbol: marks[k % 8], color: hue, ...t.marker };
    if (t.error_y) t.error_y = { ...t.error_y, color: hue, thickness: 1.5 };
    if (t.error_x) t.error_x = { ...t.error_x, color: hue, thickness: 1.5 };
    return t;
  };
  const axis = (given) => ({
    gridcolor: colour("--grid"), linecolor: colour("--line"), zerolinecolor: colour("--line"), automargin: true, ticks: "outside",
    tickcolor: colour("--line"), ticklen: 3, ...given, title: { standoff: 8, font: { size: 12 }, ...given?.title },
  });
  // Plotly writes "2" for 20 on logarithmic axes; these are whole figures.
  const ticks = ([low, high]) => {
    const within = (steps) => {
      const all = [];
      for (let k = Math.floor(low); k <= Math.ceil(high); k++) all.push(...steps.map((s) => +(s * 10 ** k).toPrecision(3)));
      return all.filter((v) => Math.log10(v) >= low && Math.log10(v) <= high);
    };
    const few = [[1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9], [1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1]].map(within).find((v) => v.length <= 7);
    const tickvals = few ?? within([1]);
    if (tickvals.length < 2) return { tickvals: null, ticktext: null, tickmode: "auto" };
    return { tickvals, ticktext: tickvals.map((v) => v.toLocaleString("en-US", { maximumSignificantDigits: 3 })), tickmode: "array" };
  };
  const logarithmic = (letter, data, shapes) => {
    const marks = (shapes ?? []).filter((s) => s[letter + "ref"] === letter).map((s) => s[letter + "0"]);
    const all = [...data.flatMap((t) => t[letter]), ...marks].filter((v) => v > 0).map(Math.log10);
    if (all.length === 0) return {};
    const low = all.reduce((a, b) => Math.min(a, b)), high = all.reduce((a, b) => Math.max(a, b));
    const space = Math.max(0.04 * (high - low), 0.02), range = [low - space, high + space];
    return { range, ...ticks(range) };
  };
  const zoomed = (plot, given) => plot.on("plotly_relayout", () => {
    const change = {};
    for (const letter of ["x", "y"]) {
      const now = plot._fullLayout[letter + "axis"], next = given[letter + "axis"]?.type === "log" && ticks(now.range);
      if (next && String(next.tickvals ?? "") !== String(now.tickvals ?? "")) {
        for (const key of Object.keys(next)) change[`${letter}axis.${key}`] = next[key];
      }
    }
    if (Object.keys(change).length > 0) Plotly.relayout(plot, change);
  });
  // A word at a mark far to the right stands left of it, where there is space.
  const anchor = (a, given, data) => {
    if (a.xref !== "x") return a.xanchor;
    const log = given.xaxis?.type === "log", of = (v) => (log ? Math.log10(v) : v);
    const all = data.flatMap((t) => t.x ?? []).filter((v) => !log || v > 0).map(of).concat(a.x);
    const low = all.reduce((l, v) => Math.min(l, v), a.x), high = all.reduce((h, v) => Math.max(h, v), a.x);
    return a.x > (low + high) / 2 ? "right" : "left";
  };
  const layout = (given, data) => ({
    autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 12, r: 14, t: 14, b: 12 },
    hovermode: "x unified", dragmode: coarse.matches ? false : "zoom", ...given, height: given.height ?? 320,
    font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 12 },
    hoverlabel: { bgcolor: colour("--page"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--c0") },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.01, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
    xaxis: { ...axis(given.xaxis), ...(given.xaxis?.type === "log" ? logarithmic("x", data, given.shapes) : {}) },
    yaxis: { ...axis(given.yaxis), ...(given.yaxis?.type === "log" ? logarithmic("y", data, given.shapes) : {}) },
    shapes: (given.shapes ?? []).map((s) => ({ ...s, line: { width: 1.5, dash: "dot", color: colour("--ink") } })),
    annotations: (given.annotations ?? []).map((a) => ({ ...a, xanchor: anchor(a, given, data) })).map((a) => ({ showarrow: false, font: { size: 11, color: colour("--ink") }, bgcolor: colour("--card"), ...a })),
  });
  const config = { responsive: true, displaylogo: false, displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  const draw = () => Promise.all(figures.map(({ id, data, layout: given }) =>
    Plotly.react(id, data.map((t) => trace(t, data.length)), layout(given, data), config)));
  await draw();
  figures.forEach(({ id, layout: given }) => zoomed(document.getElementById(id), given));
  dark.addEventListener("change", draw);
  document.documentElement.dataset.drawn = figures.length;
})();
