//! What stands around the figures of the page.

/// Up to the figures.
pub(super) const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>windtunnel: a run in ticks</title>
<style>
body { font: 14px system-ui, sans-serif; margin: 1.5rem; color: #222; background: #fff; }
h1 { font-size: 1.2rem; } h2 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
pre { white-space: pre-wrap; } table { border-collapse: collapse; }
td, th { padding: .15rem .8rem .15rem 0; text-align: right; } th:first-child, td:first-child { text-align: left; }
canvas { border: 1px solid #ccc; display: block; } .key span { margin-right: 1rem; }
.key i { display: inline-block; width: .8em; height: .8em; margin-right: .3em; border: 1px solid #ccc; }
#hover { min-height: 1.4em; color: #444; }
</style>
</head>
<body>
<h1>A run in ticks</h1>
<pre id="title"></pre>
<table id="figures"></table>
<p class="key"><span><i style="background:#f4f4f4"></i>empty</span><span><i style="background:#e08a1e"></i>prefill</span>
<span><i style="background:#2f7ebc"></i>decode</span></p>
<p id="hover">Point at a place to see what it holds.</p>
<div id="plots"></div>
<script>
const data = "#;

/// From behind the figures.
pub(super) const FOOT: &str = r##";
const byId = (id) => document.getElementById(id);
byId("title").textContent = data.title.join("\n");
const f = data.figures, table = byId("figures");
const row = (cells, tag) => {
  const tr = table.insertRow();
  cells.forEach((c) => { const td = document.createElement(tag); td.textContent = c; tr.append(td); });
};
const num = (x) => x === null ? "-" : String(Math.round(x * 1e4) / 1e4);
row(["ticks", "mean", "median", "of"], "th");
[["TTFT", f.ttft_ticks], ["ITL", f.itl_ticks], ["E2E", f.e2e_ticks]].forEach(([name, t]) =>
  row([name, num(t.mean), num(t.median), t.count], "td"));
row(["requests per 1,000 ticks", num(f.requests_per_1000_ticks), "", ""], "td");
row(["tokens per 1,000 ticks", num(f.tokens_per_1000_ticks), "", ""], "td");
const plots = byId("plots"), WIDTH = 1100, LEFT = 50;
const lengths = new Map(data.requests.map((r) => [r[0], r[4]]));
const end = Math.max(f.end_ticks, 1);
const x = (t) => LEFT + (WIDTH - LEFT - 10) * t / end;
function canvas(title, height) {
  const h = document.createElement("h2"), c = document.createElement("canvas");
  h.textContent = title; c.width = WIDTH; c.height = height; plots.append(h, c);
  const g = c.getContext("2d"); g.font = "11px system-ui, sans-serif";
  return [c, g];
}
function axes(g, height, most, label) {
  g.fillStyle = "#555";
  for (let k = 0; k <= 10; k++) g.fillText(num(end * k / 10), x(end * k / 10) - 8, height - 4);
  for (let k = 0; k <= 4; k++) g.fillText(num(most * k / 4), 4, (height - 20) * (1 - k / 4) + 10);
  g.fillText(label, LEFT + 4, 10);
}
data.instances.forEach((instance) => {
  const places = instance.steps.length ? instance.steps[0][3].length : 0;
  const high = Math.max(4, Math.min(22, 600 / Math.max(places, 1)));
  const more = instance.left_out ? ` (the first ${instance.steps.length} steps)` : "";
  const [c, g] = canvas(`Places of the batch of ${instance.name} over time${more}`, places * high + 20);
  instance.steps.forEach(([start, stop, , cells]) => cells.forEach((cell, k) => {
    g.fillStyle = cell === null ? "#f4f4f4" : cell[1] === 0 ? "#e08a1e" : "#2f7ebc";
    g.fillRect(x(start), k * high, Math.max(x(stop) - x(start) - .5, .5), high - 1);
  }));
  g.fillStyle = "#555";
  for (let k = 0; k < places; k++) if (high > 10 || k % 10 === 0) g.fillText(k, 20, k * high + high - 4);
  for (let k = 0; k <= 10; k++) g.fillText(num(end * k / 10), x(end * k / 10) - 8, places * high + 14);
  c.addEventListener("mousemove", (event) => {
    const t = (event.offsetX - LEFT) / (WIDTH - LEFT - 10) * end, k = Math.floor(event.offsetY / high);
    const step = instance.steps.find((s) => s[0] <= t && t < s[1]);
    if (!step || k < 0 || k >= places) return;
    const cell = step[3][k];
    byId("hover").textContent = `ticks ${num(step[0])} to ${num(step[1])}, ${num(step[1] - step[0])} long, `
      + `place ${k}: ` + (cell === null ? "empty" : `request ${cell[0]}, `
      + (cell[1] === 0 ? "prefill" : `decode, token ${cell[1]} of ${lengths.get(cell[0])}`)) + `; ${step[2]} wait`;
  });
  const most = instance.steps.reduce((m, s) => Math.max(m, s[2]), 1);
  const [, q] = canvas(`Queue of ${instance.name}`, 160);
  q.strokeStyle = "#2f7ebc"; q.beginPath();
  instance.steps.forEach(([start, stop, waiting]) => {
    const y = 10 + 130 * (1 - waiting / most);
    q.lineTo(x(start), y); q.lineTo(x(stop), y);
  });
  q.stroke(); axes(q, 160, most, "requests that wait");
});
[["TTFT", 2, "#e08a1e"], ["E2E", 3, "#2f7ebc"]].forEach(([name, at, colour]) => {
  const points = data.requests.filter((r) => r[at] !== null);
  const most = points.reduce((m, r) => Math.max(m, r[at]), 1);
  const [, g] = canvas(`${name} by time of its end`, 160);
  g.fillStyle = colour;
  points.forEach((r) => g.fillRect(x(r[1] + r[at]) - 1.5, 10 + 130 * (1 - r[at] / most) - 1.5, 3, 3));
  axes(g, 160, most, "ticks");
});
</script>
</body>
</html>
"##;
