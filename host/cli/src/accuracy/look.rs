//! What the page of `windtunnel accuracy` looks like: its style, its marks, its script.

/// Colours are those of Okabe and Ito, which people with any kind of colour vision tell apart,
/// darker on white so that each has a contrast of 3 to 1; marks differ in shape, too.
pub(super) const STYLE: &str = "
:root { color-scheme: light dark; --line: #8886; --ink: #1c1c1c; --page: #fff; --soft: #555; --band: #0072b21f;
  --c0: #0072b2; --c1: #b86e00; --c2: #00805c; --c3: #b0508a; --c4: #2385c4; --c5: #c14f00; --c6: #7a6a00; --c7: #666; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --page: #161616; --soft: #aaa; --band: #56b4e92e;
  --c0: #4da3dd; --c1: #e69f00; --c2: #2fc79b; --c3: #de8fbb; --c4: #8fd0f5; --c5: #f2793a; --c6: #f0e442; --c7: #a8a8a8; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink); background: var(--page); }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2rem; } p, dl { max-width: 48rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; } dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { dl { display: block; } dd { margin-bottom: .4rem; } }
code { font-size: .92em; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1rem 1.5rem; }
figure { margin: 0; } figcaption { font-weight: 600; } figcaption span { font-weight: 400; color: var(--soft); display: block; }
figure svg { width: 100%; height: auto; max-width: 30rem; display: block; } svg text { fill: var(--soft); font-size: 11px; }
.area { fill: none; stroke: var(--line); } .grid { stroke: var(--line); stroke-width: .5; } .band { fill: var(--band); }
.edge { stroke: var(--soft); stroke-width: .8; stroke-dasharray: 4 3; } .same { stroke: var(--ink); }
.mark { stroke: var(--page); stroke-width: .8; }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); }
.c4 { fill: var(--c4); } .c5 { fill: var(--c5); } .c6 { fill: var(--c6); } .c7 { fill: var(--c7); }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; margin: .5rem 0 1rem; list-style: none; }
.key svg { width: 14px; height: 14px; vertical-align: -2px; margin-right: .3rem; }
select { font: inherit; padding: .2rem .4rem; } :focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92em; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; } th[scope=row] { font-weight: 400; } thead tr:first-child th[colspan] { text-align: center; }
th[scope=row], .text { text-align: left; } tbody th[scope=row] { white-space: normal; overflow-wrap: anywhere; min-width: min(18rem, 38vw); max-width: 20rem; } tbody th[colspan] { text-align: left; padding-top: .8rem; } .far { font-weight: 700; }
";

/// Outlines of the marks, about (0, 0).
pub(super) const MARKS: [&str; 8] = [
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0Z",
    "M-4.2-4.2h8.4v8.4h-8.4Z",
    "M0-5.4L5.2 4.2H-5.2Z",
    "M0-5.8L5.8 0L0 5.8L-5.8 0Z",
    "M0 5.4L5.2-4.2H-5.2Z",
    "M-1.8-5.2h3.6v3.4h3.4v3.6h-3.4v3.4h-3.6v-3.4h-3.4v-3.6h3.4Z",
    "M-5-2.5L-2.5-5L0-2.5L2.5-5L5-2.5L2.5 0L5 2.5L2.5 5L0 2.5L-2.5 5L-5 2.5L-2.5 0Z",
    "M-5.2 0L-2.6-4.6H2.6L5.2 0L2.6 4.6H-2.6Z",
];

/// Colours.
const COLOURS: usize = 8;

/// Shape and colour of the `k`-th value of a stratum. The first eight differ in both, the next
/// ones in the pair of them.
pub(super) fn mark(k: usize) -> (usize, usize) {
    let shapes = MARKS.len();
    (k % shapes, (k + k / shapes) % COLOURS)
}

/// Marks take another shape and colour when another stratum is chosen; without it, the page shows
/// the first one. What it knows of a point is its number, in `data`.
pub(super) const SCRIPT: &str = r##"
const by = document.getElementById("by"), key = document.getElementById("key");
const points = [...document.querySelectorAll("use[data-k]")];
const look = (k) => ({ href: "#s" + k % 8, colour: "mark c" + (k + Math.floor(k / 8)) % 8 });
const svg = (name) => document.createElementNS(document.querySelector("svg").namespaceURI, name);
function show() {
  const [, values, of] = data[by.selectedIndex];
  points.forEach((point) => {
    const { href, colour } = look(of[point.dataset.k]);
    point.setAttribute("href", href); point.setAttribute("class", colour);
  });
  key.replaceChildren(...values.map((value, k) => {
    const item = document.createElement("li"), picture = svg("svg"), use = svg("use"), { href, colour } = look(k);
    picture.setAttribute("viewBox", "-7 -7 14 14"); picture.setAttribute("aria-hidden", "true");
    use.setAttribute("href", href); use.setAttribute("class", colour);
    picture.append(use); item.append(picture, value);
    return item;
  }));
}
by.addEventListener("change", show); by.disabled = false; show();
"##;
