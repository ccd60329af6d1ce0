/* The layout explorer: both layouts of a split-attention block, channel by channel. Draws what layout_arithmetic.js
   works out. */
"use strict";

const ORDERS = { "cardinality-major": "(k r c)", "radix-major": "(r k c)" };

// The book's colours: the hue is the split, the shade the cardinal group, grey where splits have been added.
const HUES = ["#0072B2", "#D55E00", "#009E73", "#B5588C"], GREY = "#5F6B76";
const SHADES = [0.62, 0.34, 0.48, 0.22];

// Sizes in pixels. The drawing is never scaled, so its text is as large on a phone as on a desk.
const GUTTER = 34; // left of the strips: the symbols, and U's way past the attention
const STRIP = 18, NAMES = 13, FALL = 16, TITLE = 15; // a strip, its blocks' names, the wires, the next strip's title
const LEAST_CELL = 7, LEAST_BLOCK = 24; // below these a drawing scrolls in its box
const BESIDE = 8.5; // with cells at least so wide, the two layouts stand side by side

const MISTAKES = {
  none: "right",
  naive: "naive copy",
  "outputs only": "outputs only",
  untransposed: "untransposed (old view)",
};

/* A hue on white, in the dark too: the strips are pale there, so that they stand out from the page. */
function shade(color, share) {
  const parts = [1, 3, 5].map((i) => Math.round(mix(255, parseInt(color.slice(i, i + 2), 16), share)));
  return `rgb(${parts.join(",")})`;
}

const hue = ({ r }) => (r === undefined ? GREY : HUES[r]);
const sameBlock = (one, other) => one.r === other.r && one.k === other.k;

/* ---- what is said --------------------------------------------------------------------------------------------- */

/* 0, 1, 2, 5 -> "0–2 and 5" */
function spans(numbers) {
  const runs = [];
  for (const n of [...numbers].sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last?.[1] === n - 1) last[1] = n;
    else runs.push([n, n]);
  }
  const words = runs.map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`));
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

const channels = (numbers) => `${numbers.size === 1 ? "channel" : "channels"} ${spans(numbers)}`;

const named = (held) => ["r", "k", "c"].filter((letter) => held[letter] !== undefined)
  .map((letter) => `${letter}${EQUALS}${held[letter]}`).join(", ");

const blockName = ({ r, k }) => named({ r, k });

/* What stands above each strip: the layer, and the order in which its channels really lie. */
function titles({ layout, mistake }, R, K, short) {
  const card = ORDERS["cardinality-major"], here = ORDERS[layout];
  const view = mistake === "untransposed", alike = layout === "cardinality-major" || Math.min(R, K) === 1;
  const before = alike || short ? "" : view ? "view, " : "transposed, ";
  return {
    input: short ? "input" : "input of the block",
    conv1: `${short ? "1×1" : "dense 1×1"}  ${["naive", "outputs only"].includes(mistake) ? card : here}`,
    conv2: `${short ? "3×3" : "grouped 3×3"}  ${mistake === "naive" ? card : here}`,
    context: `${short ? "sum over r" : "sum over r, mean"}  (k c)`,
    hidden: short ? "dense layer 1" : "first dense layer, by group",
    logits: `${short ? "dense layer 2" : "second dense layer"}  ${card}`,
    attention: `${before}${R === 1 ? "sigmoid" : "softmax over r"}  ${view ? card : here}`,
    output: `${short ? "added" : "weighed and added"}  (k c)`,
  };
}

function thing(stage, held, n) {
  return {
    input: "the input of the block",
    conv1: `a channel of the dense 1×1 (${named(held)})`,
    conv2: `a channel of the grouped 3×3 (${named(held)})`,
    context: `context channel ${n} (${named(held)})`,
    hidden: `the hidden layer of cardinal group ${n}`,
    logits: `a logit (${named(held)})`,
    attention: `an attention weight (${named(held)})`,
    output: `channel ${n} of V (${named(held)})`,
  }[stage];
}

/* The way of what is followed, in one layout. */
function way(block, stage, n) {
  const path = ownPath(block, stage, n), met = reach(block, stage, n), K = block.holds.hidden.length;
  const places = [
    ["1×1", path.conv1], ["3×3", path.conv2], ["context", path.context], ["logit", path.logits],
    ["weight", path.attention], ["V", path.output],
  ];
  const own = stage === "conv2" ? wayOfChannel(block, n, path)
    : `${places.map(([name, numbers]) => `${name} ${spans(numbers)}`).join("; ")}.`;
  const late = STAGES.indexOf(stage) > STAGES.indexOf("conv2"), back = stage === "output";
  const end = back ? met.conv2 : met.output, held = block.holds[back ? "conv2" : "output"];
  const ends = back ? `Through the attention it is made from ${channels(end)} of the 3×3`
    : `${late ? "It reaches" : "Through the attention it reaches"} ${channels(end)} of V`;
  const groups = new Set([...end].map((i) => held[i].k));
  const where = groups.size < K ? `, group k${EQUALS}${spans(groups)} alone` : `, in all ${K} groups`;
  return `${own} ${ends}${K === 1 ? "" : where}.`;
}

/* A channel of the 3×3 goes through places of its own, so there is more to say. */
function wayOfChannel(block, n, path) {
  const slot = block.owners[n], held = block.holds.conv2[n], moved = !sameBlock(held, slot);
  const [, read, misread] = block.sources.conv2[n][0], [, logit, misweighed] = block.sources.attention[n][0];
  const j = spans(path.output), were = path.conv1.size > 1 ? "were" : "was";
  const made = misread ? `, which ${were} made for ${blockName(block.holds.conv1[read])}` : "";
  const elsewhere = moved && held.k !== slot.k ? `, of group k${EQUALS}${slot.k}` : "";
  let weighed = `logit ${n}`;
  if (misweighed) weighed = `logit ${logit}, which belongs to ${blockName(block.holds.logits[logit])}`;
  else if (moved) weighed = `weight ${n}, which belongs to ${blockName(slot)}`;
  else if (logit !== n) weighed = `logit ${logit}, transposed to ${n}`;
  return `number ${n}, made from ${channels(path.conv1)} of the 1×1${made}. It is added into context channel ${j}${elsewhere}`
    + `, weighed by ${weighed}, and added into channel ${j} of V.`;
}

function verdict({ R, K, C, mistake }, wrong, block) {
  const alike = Math.min(R, K) === 1, total = R * C;
  const why = `With ${K === 1 ? "K = 1" : "R = 1"}, (k r c) and (r k c) are the same order`;
  if (mistake === "none") {
    return alike ? `${why}: the layouts differ in nothing.` : "Right: every wire brings what the layer expects.";
  }
  if (alike) return `${why}: this mistake changes nothing, and no test with these settings can see it.`;
  const moved = block.holds.conv2.filter((held, n) => !sameBlock(held, block.owners[n])).length;
  const misread = block.sources.conv2.filter((wires) => wires.some(([, , crossed]) => crossed)).length;
  const misweighed = block.sources.attention.filter(([[, , crossed]]) => crossed).length;
  const said = {
    naive: `Naive copy: the 3×3 filters still lie as (k r c). ${moved} of ${total} channels are added into another group's `
      + "context or weighed by another's weight.",
    "outputs only": `Outputs only: the 3×3 filters were moved, what they read was not. ${misread} of ${total} channels are `
      + "made from what was meant for others.",
    untransposed: "Untransposed, the old view: logits in the order (k r c) are taken for (r k c). "
      + `${misweighed} of ${total} are another channel's, and each spoils the whole softmax that it enters.`,
  }[mistake];
  const bad = wrong.output.filter(Boolean).length;
  return `${said} Still, ${R > 1 ? "the weights sum to one and " : ""}V has its ${C} channels, `
    + `${bad === C ? "all" : bad} of them wrong.`;
}

/* ---- one layout's drawing ------------------------------------------------------------------------------------- */

/* A curve from one point down to another, as it stands in a path after its beginning. */
const curve = (x0, y0, x1, y1) => `C${x0} ${mix(y0, y1, 0.5)} ${x1} ${mix(y0, y1, 0.5)} ${x1} ${y1}`;

/* Draw `block` at `width` pixels; follow(stage, n) marks a channel's way, plate() comes once the drawing is in the page. */
function diagram(block, width, { R, K, C }, wrong) {
  const inner = width - GUTTER - 4;
  const title = titles(block, R, K, width < 300);
  const symbols = { input: "X", conv2: "U", context: "s", attention: "a", output: "V" };
  const strips = [...STAGES, "again"]; // U once more, below the weights that it is multiplied by
  const real = (stage) => (stage === "again" ? "conv2" : stage);
  const rows = {}, cells = {};
  let y = TITLE;
  for (const stage of STAGES) {
    rows[stage] = y;
    y += STRIP + NAMES + FALL + TITLE;
    if (stage === "input") y -= 5; // no names, but a title in the way of the wires
    if (stage === "attention") {
      rows.again = rows.attention + STRIP + NAMES + 2;
      y += STRIP + NAMES + 2;
    }
  }
  const height = rows.output + STRIP + NAMES + 2;

  const span = (stage, n, count = 1) => { // left edge and width of `count` cells
    const each = inner / block.holds[real(stage)].length;
    return [GUTTER + n * each, each * count];
  };
  const bottom = (stage) => (stage === "attention" ? rows.again : rows[stage]) + STRIP;
  const middle = (stage, n) => { const [left, wide] = span(stage, n); return left + wide / 2; };

  const layer = (kind = "") => make("g", { class: kind, "aria-hidden": "true" });
  const bands = layer(), marks = layer("le-marks"), joins = layer("le-marks"), crosses = layer(), again = layer();
  const plates = layer(), texts = layer("le-texts"); // plates below the titles, so that no wire runs through them
  const grid = make("g", { role: "grid", "aria-label": `${capitalized(block.layout)}, the channels of each stage` });
  const text = (x, at, words, kind) => make("text", { x, y: at, class: kind }, `${words}`);

  /* The wires of a whole block of neighbours, as one ribbon. */
  const band = (from, first, count, to, start, length, color, isWrong) => {
    const [x0, w0] = span(from, first, count), [x1, w1] = span(to, start, length), y0 = bottom(from), y1 = rows[to];
    const left = [x0 + 1, x1 + 1], right = [x0 + w0 - 1, x1 + w1 - 1];
    bands.append(make("path", {
      d: `M${left[0]} ${y0}${curve(left[0], y0, left[1], y1)}H${right[1]}${curve(right[1], y1, right[0], y0)}Z`,
      fill: color, class: isWrong ? "le-band le-wrong" : "le-band",
    }));
    if (!isWrong) return;
    const x = (x0 + w0 / 2 + x1 + w1 / 2) / 2, at = y0 + NAMES + FALL / 2 - 2;
    crosses.append(make("circle", { cx: x, cy: at, r: 8, class: "le-halo" }),
      make("path", { d: `M${x - 4.5} ${at - 4.5}l9 9m0 -9l-9 9`, class: "le-cross" }));
  };

  const drawBands = () => {
    const { inside, share } = block;
    band("input", 0, 1, "conv1", 0, C, GREY, false);
    for (const b of range(R * K)) {
      const n = b * share, slot = block.owners[n], held = block.holds.conv2[n], group = slot.k * share;
      const [, , misread] = block.sources.conv2[n][0], [, logit, misweighed] = block.sources.attention[n][0];
      const [, , misadded] = block.sources.context[group].find(([, m]) => m === n);
      const [, , misplaced] = block.sources.output[group].find(([from, m]) => from === "conv2" && m === n);
      band("conv1", b * inside, inside, "conv2", n, share, hue(block.holds.conv1[b * inside]), misread);
      band("conv2", n, share, "context", group, share, hue(held), misadded);
      band("logits", logit, share, "attention", n, share, hue(block.holds.logits[logit]), misweighed);
      band("attention", n, share, "output", group, share, hue(held), misplaced);
    }
    for (const k of range(K)) {
      band("context", k * share, share, "hidden", k, 1, GREY, false);
      band("hidden", k, 1, "logits", k * R * share, R * share, GREY, false);
    }
  };

  /* A strip of channels, with the names of its blocks below it. */
  const strip = (stage, into) => {
    const held = block.holds[real(stage)], top = rows[stage];
    const made = held.map((each, n) => {
      const [x, wide] = span(stage, n);
      const said = { role: "gridcell", tabindex: "-1", "aria-label": `${thing(stage, each, n)}, number ${n}` };
      return make("rect", {
        x, y: top, width: wide, height: STRIP, class: "le-cell",
        fill: shade(hue(each), SHADES[each.k ?? 1]), stroke: hue(each),
        "data-stage": real(stage), "data-n": n, ...(stage === "again" ? {} : said),
      });
    });
    into.append(...made);
    // Neighbours of the same r and k share a name.
    let first = 0;
    held.forEach((one, n) => {
      if (n + 1 < held.length && sameBlock(one, held[n + 1])) return;
      const [left, length] = span(stage, first, n - first + 1), wide = length > 64;
      const r = one.r === undefined ? "" : wide ? `r=${one.r}, ` : `r${one.r}${length > 36 ? " " : ""}`;
      const k = one.k === undefined ? "" : wide ? `k=${one.k}` : `k${one.k}`;
      if (r || k) texts.append(text(left + length / 2, top + STRIP + 10, r + k, length < 30 ? "le-name le-tight" : "le-name"));
      if (first) texts.append(make("path", { d: `M${left} ${top - 2}v${STRIP + 4}`, class: "le-edge" }));
      first = n + 1;
    });
    return made;
  };

  // U goes past the dense layers, to be weighed.
  const start = rows.conv2 + STRIP / 2 + 5, end = rows.again + STRIP / 2 + 5;
  const bus = make("path", {
    class: "le-bus", "aria-hidden": "true",
    d: `M${GUTTER} ${start}H8Q4 ${start} 4 ${start + 4}V${end - 4}Q4 ${end} 8 ${end}H${GUTTER - 3}m-5 -4l5 4l-5 4`,
  });

  drawBands();
  for (const stage of STAGES) {
    const row = make("g", { role: "row", "aria-label": title[stage] });
    cells[stage] = strip(stage, row);
    grid.append(row);
    texts.append(text(GUTTER, rows[stage] - 5, title[stage], "le-title"));
    if (symbols[stage]) texts.append(text(GUTTER - 8, rows[stage] + (stage === "conv2" ? 8 : 13), symbols[stage], "le-symbol"));
    const bad = wrong ? wrong[stage].filter(Boolean).length : 0;
    const share = bad === wrong?.[stage].length ? "all" : `${bad} of ${wrong?.[stage].length}`;
    if (bad) texts.append(text(width - 4, rows[stage] - 5, `${share} wrong`, "le-bad"));
  }
  cells.again = strip("again", again);
  texts.append(text(GUTTER - 8, rows.again + 9, "×U", "le-symbol"));

  const svg = make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "data-layout": block.layout },
    bands, bus, grid, again, joins, plates, texts, crosses, marks);

  const plate = () => {
    for (const each of texts.querySelectorAll(".le-title, .le-bad")) {
      const box = each.getBBox();
      plates.append(make("rect", { x: box.x - 2, y: box.y, width: box.width + 5, height: TITLE - 2, class: "le-plate" }));
    }
  };

  /* Mark the way of a channel; without arguments, of none. */
  const follow = (stage, n) => {
    marks.replaceChildren();
    joins.replaceChildren();
    svg.classList.toggle("le-following", stage !== undefined);
    for (const cell of STAGES.flatMap((each) => cells[each])) cell.setAttribute("tabindex", "-1");
    (stage === undefined ? cells.conv2[0] : cells[stage][n]).setAttribute("tabindex", "0");
    if (stage === undefined) return;
    const path = ownPath(block, stage, n), met = reach(block, stage, n), made = upstream(block, stage, n);
    for (const i of path.conv1) met.conv1.add(i);
    const dots = make("g");
    marks.append(dots);
    for (const each of strips) {
      const at = real(each);
      cells[each].forEach((cell, i) => {
        cell.classList.toggle("le-met", met[at].has(i));
        if (!met[at].has(i) || path[at].has(i)) return;
        dots.append(make("circle", {
          cx: middle(each, i), cy: rows[each] + STRIP / 2, r: Math.min(2.8, span(each, i)[1] / 4),
          class: made[at].has(i) ? "le-hollow" : "le-full",
        }));
      });
    }
    wires(path);
    for (const each of strips) for (const i of path[real(each)]) mark(each, i, path[real(each)].size);
  };

  const wires = (path) => {
    const join = (from, i, to, j, isWrong) => {
      const x0 = middle(from, i), y0 = bottom(from);
      joins.append(make("path", {
        d: `M${x0} ${y0}${curve(x0, y0, middle(to, j), rows[to])}`, class: isWrong ? "le-wire le-wrong" : "le-wire",
      }));
    };
    for (const to of ["conv1", "conv2", "context", "hidden", "logits", "attention"]) {
      for (const j of path[to]) {
        const own = block.sources[to][j].slice(0, to === "attention" ? 1 : undefined);
        for (const [from, i, isWrong] of own) if (path[from].has(i)) join(from, i, to, j, isWrong);
      }
    }
    for (const j of path.output) {
      for (const [from, i, isWrong] of block.sources.output[j]) {
        // The product of weight and feature map goes down from the strip of U, as one wire.
        if (from === "conv2" && path.attention.has(i)) join("attention", i, "output", j, isWrong);
      }
    }
  };

  const mark = (stage, n, many) => {
    const [left, wide] = span(stage, n), top = rows[stage];
    if (stage === "input" || stage === "hidden") { // no single channel: framed, not filled
      marks.append(make("rect", { x: left - 2, y: top - 2, width: wide + 4, height: STRIP + 4, class: "le-frame" }));
      return;
    }
    marks.append(make("rect", { x: left + 0.5, y: top, width: Math.max(wide - 1, 3), height: STRIP, class: "le-mark" }));
    if (wide >= 7 * `${n}`.length + 1) {
      marks.append(text(left + wide / 2, top + 13, n, "le-number"));
    } else if (many < 3) { // beside the mark, where the cell is too narrow
      const right = left + wide + 16 < width;
      marks.append(text(right ? left + wide + 3 : left - 3, top + 13, n, `le-number le-beside${right ? "" : " le-left"}`));
    }
  };

  return { svg, cells, middle, follow, plate };
}

/* ---- the whole figure ----------------------------------------------------------------------------------------- */

/* The numbers of channels that are offered. */
function sizes(R, K) {
  const found = [];
  for (let C = R * K; found.length === 0 || R * C <= 32; C += R * K) {
    if (C >= 4 || R * (C + R * K) > 32) found.push(C);
  }
  return found.slice(0, 6);
}

function layoutExplorer(root) {
  const state = { R: 2, K: 2, C: 8, mistake: "none", shown: "radix-major", pinned: null, hover: null };
  let diagrams = {}, known = 0;

  const blockOf = (layout) => flow(layout, state.R, state.K, state.C, state.mistake);

  /* The channel of the 3×3 with these indices, or those nearest to them. */
  const nearest = ({ r, k, c }) => {
    const share = state.C / state.K;
    const n = numberOf("cardinality-major", state.R, state.K, share,
      Math.min(r, state.R - 1), Math.min(k, state.K - 1), Math.min(c, share - 1));
    return { layout: "cardinality-major", stage: "conv2", n };
  };
  state.pinned = nearest({ r: 0, k: 1, c: 1 });

  const group = (called, word, kind, name, options) =>
    make("div", { role: "radiogroup", "aria-label": called, class: kind }, make("strong", {}, word), ...radios(name, options));
  const R = choice("radix R", [1, 2, 3, 4], { name: "radix" });
  const K = choice("cardinality K", [1, 2, 3, 4], { name: "cardinality" });
  const C = choice("channels C", [8], { name: "channels" });
  const slider = make("input", { type: "range", name: "channel", min: 0, step: 1, "aria-label": "follow channel of the 3×3" });
  // Each message stands under the controls that change it, and both above the drawing.
  const judged = make("p", { class: "le-verdict", role: "status" });
  const followed = make("p", { class: "le-followed", role: "status" });
  const told = make("div", { class: "le-told", role: "status" });
  const form = make("form", { class: "le-controls", "aria-label": "Settings of the explorer" },
    make("div", { class: "le-numbers" }, R.label, K.label, C.label),
    group("Conversion to radix-major", "Conversion", "le-mistakes", "mistake", MISTAKES),
    make("div", { class: "le-room" }, judged),
    group("Layout shown", "Layout shown", "le-switch", "shown", Object.fromEntries(LAYOUTS.map((name) => [name, name]))),
    make("label", { class: "le-slider" }, make("span", {}, "follow"), slider),
    followed);
  const stage = make("div", { class: "le-diagrams" });
  const legend = make("div", { class: "le-legend" });
  root.replaceChildren(form, told, stage, legend);
  root.classList.add("le-ready");

  const showSettings = () => {
    const options = sizes(state.R, state.K);
    if (!options.includes(state.C)) {
      state.C = options.reduce((best, each) => (Math.abs(each - state.C) < Math.abs(best - state.C) ? each : best));
    }
    C.list.replaceChildren(...options.map((n) => make("option", { value: n }, `${n}`)));
    for (const [list, value] of [[R, state.R], [K, state.K], [C, state.C]]) list.list.value = value;
    slider.max = state.R * state.C - 1;
    form.elements.mistake.value = state.mistake;
    form.elements.shown.value = state.shown;
  };

  const showLegend = () => {
    const key = (words, width, ...shapes) =>
      make("span", {}, make("svg", { width, height: 16, "aria-hidden": "true" }, ...shapes), words);
    const swatch = (held, words) => key(words, 16, make("rect", {
      x: 1, y: 1, width: 14, height: 14, fill: shade(hue(held), SHADES[0]), stroke: hue(held),
    }));
    const dot = (kind, words) => key(words, 12, make("circle", { cx: 6, cy: 8, r: 3, class: kind }));
    legend.replaceChildren(
      ...range(state.R).map((r) => swatch({ r }, `split r=${r}`)),
      swatch({}, "splits added"),
      key("followed", 16, make("rect", { x: 3, y: 1, width: 10, height: 14, class: "le-mark" })),
      dot("le-hollow", "it is made from these"),
      dot("le-full", "it reaches these"),
      ...(judged.classList.contains("le-spoilt") ? [key("joins what does not belong together", 30,
        make("path", { d: "M1 8H29", class: "le-wire le-wrong" }),
        make("path", { d: "M11 4l8 8m0 -8l-8 8", class: "le-cross" }))] : []),
      make("span", {}, "The shade is the cardinal group. Arrow keys walk from channel to channel, Escape lets go."));
  };

  const build = () => {
    const held = stage.contains(document.activeElement) ? state.pinned : null;
    const width = Math.floor(stage.clientWidth), half = Math.floor((width - 24) / 2);
    const total = state.R * state.C, blocks = state.R * state.K;
    const least = Math.max(LEAST_CELL * total, LEAST_BLOCK * blocks) + GUTTER + 4;
    const both = half >= Math.max(BESIDE * total, LEAST_BLOCK * blocks, 230) + GUTTER + 4;
    const wrong = wrongValues(state.R, state.K, state.C, state.mistake);
    root.classList.toggle("le-both", both);
    stage.replaceChildren();
    diagrams = {};
    for (const layout of LAYOUTS.filter((one) => both || one === state.shown)) {
      const made = diagram(blockOf(layout), both ? half : Math.max(width, least), state, layout === "radix-major" ? wrong : null);
      const heading = make("p", { class: "le-heading" }, `${capitalized(layout)}  ${ORDERS[layout]}`);
      stage.append(make("div", { class: "le-diagram" }, heading, made.svg));
      made.plate();
      diagrams[layout] = made;
    }
    judged.textContent = verdict(state, wrong, blockOf("radix-major"));
    judged.classList.toggle("le-spoilt", state.mistake !== "none" && Math.min(state.R, state.K) > 1);
    showLegend();
    reserve();
    follow();
    reveal();
    if (held && diagrams[held.layout]) diagrams[held.layout].cells[held.stage][held.n].focus();
  };

  /* The same channel in the other layout, as {layout, stage, n}. */
  const translated = (at, layout) =>
    ({ layout, stage: at.stage, n: twin(blockOf(at.layout), at.stage, at.n, blockOf(layout)) });

  /* One paragraph for each layout shown, of what `says(layout)` answers. */
  const tell = (says) => {
    told.replaceChildren(...Object.keys(diagrams).map((layout) =>
      make("p", {}, make("strong", {}, `${capitalized(layout)}: `), says(layout))));
  };

  /* Room for the longest of all answers, so that the drawing stays where it is under the pointer. */
  const reserve = () => {
    told.style.minHeight = "";
    tell((layout) => {
      const block = blockOf(layout);
      const answers = STAGES.flatMap((each) => block.holds[each].map((_, n) => way(block, each, n)));
      return answers.reduce((longest, said) => (said.length > longest.length ? said : longest));
    });
    told.style.minHeight = `${Math.ceil(told.getBoundingClientRect().height)}px`;
  };

  const follow = () => {
    const at = state.hover ?? state.pinned;
    for (const [layout, made] of Object.entries(diagrams)) {
      const here = at && translated(at, layout);
      made.follow(here?.stage, here?.n);
    }
    if (!at) {
      followed.textContent = "Point at a channel, tap it, or move the slider.";
      told.replaceChildren();
      return;
    }
    const from = blockOf(at.layout), held = (at.stage === "attention" ? from.owners : from.holds[at.stage])[at.n];
    followed.textContent = `Followed: ${thing(at.stage, held, at.n)}.`;
    tell((layout) => way(blockOf(layout), at.stage, translated(at, layout).n));
    if (at.stage === "conv2") {
      slider.value = translated(at, "cardinality-major").n;
      slider.setAttribute("aria-valuetext", `${slider.value}: ${named(held)}`);
    }
  };

  const pin = (at) => {
    state.pinned = at;
    state.hover = null;
    follow();
    reveal();
  };

  /* Where the drawing is wider than its box: bring what is followed into view. */
  const reveal = () => {
    if (!state.pinned || stage.scrollWidth <= stage.clientWidth) return;
    const here = translated(state.pinned, state.shown);
    stage.scrollLeft = diagrams[state.shown].middle(here.stage, here.n) - stage.clientWidth / 2;
  };

  const found = (event) => {
    const cell = event.target.closest?.("[data-stage]");
    return cell && { layout: cell.closest("svg").dataset.layout, stage: cell.dataset.stage, n: Number(cell.dataset.n) };
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (event.target === slider) {
      pin({ layout: "cardinality-major", stage: "conv2", n: Number(slider.value) });
      return;
    }
    const before = [state.R, state.K, state.C].join(), at = state.pinned;
    const held = at?.stage === "conv2" ? blockOf(at.layout).holds.conv2[at.n] : { r: 0, k: 1, c: 1 };
    [state.R, state.K, state.C] = [R, K, C].map(({ list }) => Number(list.value));
    state.mistake = form.elements.mistake.value;
    if (event.target.name === "shown") state.shown = form.elements.shown.value;
    if (event.target.name === "mistake" && state.mistake !== "none") state.shown = "radix-major"; // where it was made
    showSettings();
    if (before !== [state.R, state.K, state.C].join()) state.pinned = nearest(held); // by the indices: numbers have changed
    build();
  });

  stage.addEventListener("pointerover", (event) => {
    const at = event.pointerType === "touch" ? null : found(event);
    if (at) { state.hover = at; follow(); }
  });
  stage.addEventListener("pointerleave", () => {
    if (state.hover) { state.hover = null; follow(); }
  });
  stage.addEventListener("click", (event) => {
    const at = found(event);
    if (at) diagrams[at.layout].cells[at.stage][at.n].focus({ preventScroll: true });
  });
  stage.addEventListener("focusin", (event) => { const at = found(event); if (at) pin(at); });
  stage.addEventListener("keydown", (event) => {
    const at = found(event);
    if (!at) return;
    const { cells, middle } = diagrams[at.layout], row = cells[at.stage], x = middle(at.stage, at.n);
    /* The nearest of the strip above or below. */
    const beyond = (step) => {
      const to = STAGES[STAGES.indexOf(at.stage) + step];
      const distance = (cell) => Math.abs(middle(to, Number(cell.dataset.n)) - x);
      return to && cells[to].reduce((best, cell) => (distance(cell) < distance(best) ? cell : best));
    };
    const keys = {
      ArrowRight: () => row[at.n + 1], ArrowLeft: () => row[at.n - 1], Home: () => row[0], End: () => row.at(-1),
      ArrowDown: () => beyond(1), ArrowUp: () => beyond(-1), Escape: () => pin(null),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]()?.focus();
  });

  showSettings();
  build();
  new ResizeObserver(() => {
    if (stage.clientWidth !== known) { known = stage.clientWidth; build(); }
  }).observe(root);
}

document.querySelectorAll("#layout-explorer").forEach(layoutExplorer);
