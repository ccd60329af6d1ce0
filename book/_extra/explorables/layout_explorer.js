/* The layout explorer: both layouts of a split-attention block, channel by channel. Draws what layout_arithmetic.js
   works out; no framework, no module, nothing fetched, so that it runs from a file as well. */
(() => {
  "use strict";

  const A = LayoutArithmetic;
  const SVG = "http://www.w3.org/2000/svg";
  const EQUALS = "\u00a0=\u00a0"; // does not break
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

  /* ---- small helpers ------------------------------------------------------------------------------------------ */

  function make(name, attributes = {}, children = []) {
    return fill(document.createElement(name), attributes, children);
  }

  function draw(name, attributes = {}, children = []) {
    return fill(document.createElementNS(SVG, name), attributes, children);
  }

  function fill(element, attributes, children = []) {
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...[children].flat());
    return element;
  }

  function mix(hue, share) {
    // On white, in the dark too: the strips are pale there, so that they stand out from the page.
    const parts = [1, 3, 5].map((i) => {
      return Math.round(255 + (parseInt(hue.slice(i, i + 2), 16) - 255) * share);
    });
    return "rgb(" + parts.join(",") + ")";
  }

  function hue(held) { return held.r === undefined ? GREY : HUES[held.r]; }

  /* 0, 1, 2, 5 -> "0–2 and 5" */
  function spans(numbers) {
    const runs = [];
    Array.from(numbers).sort((a, b) => a - b).forEach((n) => {
      const last = runs[runs.length - 1];
      if (last && last[1] === n - 1) last[1] = n;
      else runs.push([n, n]);
    });
    return listed(runs.map((run) => run[0] === run[1] ? "" + run[0] : run[0] + "–" + run[1]));
  }

  function listed(words) {
    if (words.length < 2) return words.join("");
    return words.slice(0, -1).join(", ") + " and " + words[words.length - 1];
  }

  function channels(numbers) { return (numbers.size === 1 ? "channel " : "channels ") + spans(numbers); }

  function named(held) {
    return ["r", "k", "c"].filter((letter) => held[letter] !== undefined)
      .map((letter) => letter + EQUALS + held[letter]).join(", ");
  }

  /* ---- what is said ------------------------------------------------------------------------------------------- */

  /* What stands above each strip: the layer, and the order in which its channels really lie. */
  function titles(block, R, K, short) {
    const weigh = R === 1 ? "sigmoid" : "softmax over r", card = ORDERS["cardinality-major"], here = ORDERS[block.layout];
    const view = block.mistake === "untransposed", copied = block.mistake === "naive";
    const before = block.layout === "cardinality-major" || short || Math.min(R, K) === 1 ? "" : view ? "view, " : "transposed, ";
    return {
      input: short ? "input" : "input of the block",
      conv1: (short ? "1×1  " : "dense 1×1  ") + (copied || block.mistake === "outputs only" ? card : here),
      conv2: (short ? "3×3  " : "grouped 3×3  ") + (copied ? card : here),
      context: (short ? "sum over r  " : "sum over r, mean  ") + "(k c)",
      hidden: short ? "dense layer 1" : "first dense layer, by group",
      logits: (short ? "dense layer 2  " : "second dense layer  ") + card,
      attention: before + weigh + "  " + (view ? card : here),
      output: (short ? "added  " : "weighed and added  ") + "(k c)",
    };
  }

  function thing(stage, held, n) {
    return {
      input: "the input of the block",
      conv1: "a channel of the dense 1×1 (" + named(held) + ")",
      conv2: "a channel of the grouped 3×3 (" + named(held) + ")",
      context: "context channel " + n + " (" + named(held) + ")",
      hidden: "the hidden layer of cardinal group " + n,
      logits: "a logit (" + named(held) + ")",
      attention: "an attention weight (" + named(held) + ")",
      output: "channel " + n + " of V (" + named(held) + ")",
    }[stage];
  }

  /* The way of what is followed, in one layout. */
  function way(block, stage, n) {
    const path = A.path(block, stage, n);
    let said = stage === "conv2" ? ownWay(block, n, path) : [
      ["1×1", path.conv1], ["3×3", path.conv2], ["context", path.context], ["logit", path.logits],
      ["weight", path.attention], ["V", path.output],
    ].map((each) => each[0] + " " + spans(each[1])).join("; ") + ". ";
    const met = A.reach(block, stage, n), late = A.STAGES.indexOf(stage) > A.STAGES.indexOf("conv2");
    const end = stage === "output" ? met.conv2 : met.output, held = block.holds[stage === "output" ? "conv2" : "output"];
    const groups = new Set(Array.from(end, (i) => held[i].k));
    if (stage === "output") said += "Through the attention it is made from " + channels(end) + " of the 3×3";
    else said += (late ? "It reaches " : "Through the attention it reaches ") + channels(end) + " of V";
    const K = block.holds.hidden.length;
    if (K === 1) return said + ".";
    return said + (groups.size < K ? ", group k" + EQUALS + spans(groups) + " alone." : ", in all " + K + " groups.");
  }

  /* A channel of the 3×3 goes through places of its own, so there is more to say. */
  function ownWay(block, n, path) {
    const slot = block.owners[n], held = block.holds.conv2[n], read = block.sources.conv2[n][0];
    const logit = block.sources.attention[n][0], j = spans(path.output), moved = !same(held, slot);
    let said = "number " + n + ", made from " + channels(path.conv1) + " of the 1×1";
    if (read[2]) said += (path.conv1.size > 1 ? ", which were made for " : ", which was made for ") + blockName(block.holds.conv1[read[1]]);
    said += ". It is added into context channel " + j;
    if (moved && held.k !== slot.k) said += ", of group k" + EQUALS + slot.k;
    if (logit[2]) said += ", weighed by logit " + logit[1] + ", which belongs to " + blockName(block.holds.logits[logit[1]]);
    else if (moved) said += ", weighed by weight " + n + ", which belongs to " + blockName(slot);
    else if (logit[1] !== n) said += ", weighed by logit " + logit[1] + ", transposed to " + n;
    else said += ", weighed by logit " + n;
    return said + ", and added into channel " + j + " of V. ";
  }

  function same(one, other) { return one.r === other.r && one.k === other.k; }

  function blockName(held) { return "r" + EQUALS + held.r + ", k" + EQUALS + held.k; }

  function verdict(state, wrong, block) {
    const R = state.R, K = state.K, C = state.C, total = R * C;
    const alike = Math.min(R, K) === 1;
    const why = "With " + (K === 1 ? "K = 1" : "R = 1") + ", (k r c) and (r k c) are the same order";
    if (state.mistake === "none") {
      return alike ? why + ": the layouts differ in nothing." : "Right: every wire brings what the layer expects.";
    }
    if (alike) return why + ": this mistake changes nothing, and no test with these settings can see it.";
    function crossed(stage, from) {
      return block.sources[stage].filter((wires) => {
        return wires.some((wire) => wire[0] === from && wire[2]);
      }).length;
    }
    const moved = block.holds.conv2.filter((held, n) => {
      return !same(held, block.owners[n]);
    }).length;
    const said = {
      naive: "Naive copy: the 3×3 filters still lie as (k r c). " + moved + " of " + total +
        " channels are added into another group's context or weighed by another's weight.",
      "outputs only": "Outputs only: the 3×3 filters were moved, what they read was not. " +
        crossed("conv2", "conv1") + " of " + total + " channels are made from what was meant for others.",
      untransposed: "Untransposed, the old view: logits in the order (k r c) are taken for (r k c). " +
        block.sources.attention.filter((wires) => wires[0][2]).length + " of " + total +
        " are another channel's, and each spoils the whole softmax that it enters.",
    }[state.mistake];
    const bad = wrong.output.filter(Boolean).length;
    return said + " Still, " + (R > 1 ? "the weights sum to one and " : "") + "V has its " + C + " channels, " +
      (bad === C ? "all" : bad) + " of them wrong.";
  }

  /* ---- one layout's drawing ------------------------------------------------------------------------------------ */

  /* Draw `block` at `width` pixels; returns {svg, follow}, where follow(stage, n) marks a channel's way. */
  function diagram(block, width, state, wrong) {
    const R = state.R, K = state.K;
    const inner = width - GUTTER - 4;
    const title = titles(block, R, K, width < 300);
    const symbols = { input: "X", conv2: "U", context: "s", attention: "a", output: "V" };
    let rows = {}, cells = {}, y = TITLE;

    A.STAGES.forEach((stage) => {
      rows[stage] = y;
      y += STRIP + NAMES + FALL + TITLE;
      if (stage === "input") y -= 5; // no names, but a title in the way of the wires
      if (stage === "attention") {
        rows.again = rows.attention + STRIP + NAMES + 2; // U once more, below the weights that it is multiplied by
        y += STRIP + NAMES + 2;
      }
    });
    const height = rows.output + STRIP + NAMES + 2;

    function span(stage, n, count) { // left edge and width of `count` cells
      const each = inner / block.holds[stage].length;
      return [GUTTER + n * each, each * (count || 1)];
    }
    function bottom(stage) { return stage === "attention" ? rows.again + STRIP : rows[stage] + STRIP; }
    function middle(stage, n) { const at = span(stage, n); return at[0] + at[1] / 2; }

    const bands = draw("g", { "aria-hidden": "true" }), marks = draw("g", { class: "le-marks", "aria-hidden": "true" });
    const joins = draw("g", { class: "le-marks", "aria-hidden": "true" });
    const plates = draw("g", { "aria-hidden": "true" }); // below the titles, so that no wire runs through them
    const texts = draw("g", { class: "le-texts", "aria-hidden": "true" });
    const crosses = draw("g", { "aria-hidden": "true" });
    const again = draw("g", { "aria-hidden": "true" });
    const grid = draw("g", { role: "grid", "aria-label": title_of(block.layout) + ", the channels of each stage" });

    function title_of(layout) { return layout[0].toUpperCase() + layout.slice(1); }

    function ribbon(x0, w0, y0, x1, w1, y1) {
      const m = (y0 + y1) / 2;
      return "M" + x0 + " " + y0 + "C" + x0 + " " + m + " " + x1 + " " + m + " " + x1 + " " + y1 +
        "H" + (x1 + w1) + "C" + (x1 + w1) + " " + m + " " + (x0 + w0) + " " + m + " " + (x0 + w0) + " " + y0 + "Z";
    }
    function line(x0, y0, x1, y1) {
      const m = (y0 + y1) / 2;
      return "M" + x0 + " " + y0 + "C" + x0 + " " + m + " " + x1 + " " + m + " " + x1 + " " + y1;
    }

    /* The wires of a whole block of neighbours, as one ribbon. */
    function band(from, first, count, to, start, length, color, isWrong) {
      const a = span(from, first, count), b = span(to, start, length), y0 = bottom(from), y1 = rows[to];
      bands.append(draw("path", {
        d: ribbon(a[0] + 1, a[1] - 2, y0, b[0] + 1, b[1] - 2, y1), fill: color,
        class: isWrong ? "le-band le-wrong" : "le-band",
      }));
      if (!isWrong) return;
      const x = (a[0] + a[1] / 2 + b[0] + b[1] / 2) / 2, m = y0 + NAMES + FALL / 2 - 2, s = 4.5;
      crosses.append(draw("circle", { cx: x, cy: m, r: 8, class: "le-halo" }), draw("path", {
        d: "M" + (x - s) + " " + (m - s) + "l" + 2 * s + " " + 2 * s + "m0 " + -2 * s + "l" + -2 * s + " " + 2 * s,
        class: "le-cross",
      }));
    }

    function bandsOf() {
      const inside = block.inside, share = block.share, C = state.C;
      band("input", 0, 1, "conv1", 0, C, GREY, false);
      for (let b = 0; b < R * K; b++) {
        const n = b * share, slot = block.owners[n], held = block.holds.conv2[n];
        const wire = block.sources.conv2[n][0], from = block.sources.attention[n][0];
        const sum = block.sources.context[slot.k * share].find((each) => each[1] === n);
        const added = block.sources.output[slot.k * share].find((each) => {
          return each[0] === "conv2" && each[1] === n;
        });
        band("conv1", b * inside, inside, "conv2", n, share, hue(block.holds.conv1[b * inside]), wire[2]);
        band("conv2", n, share, "context", slot.k * share, share, hue(held), sum[2]);
        band("logits", from[1], share, "attention", n, share, hue(block.holds.logits[from[1]]), from[2]);
        band("attention", n, share, "output", slot.k * share, share, hue(held), added[2]);
      }
      for (let k = 0; k < K; k++) {
        band("context", k * share, share, "hidden", k, 1, GREY, false);
        band("hidden", k, 1, "logits", k * R * share, R * share, GREY, false);
      }
    }

    /* A strip of channels, with the names of its blocks below it. */
    function strip(stage, y, into, held, focusable) {
      const made = [];
      held.forEach((each, n) => {
        const at = span(stage === "again" ? "conv2" : stage, n);
        const rect = draw("rect", {
          x: at[0], y, width: at[1], height: STRIP, class: "le-cell",
          fill: mix(hue(each), SHADES[each.k === undefined ? 1 : each.k]), stroke: hue(each),
          "data-stage": stage === "again" ? "conv2" : stage, "data-n": n,
        });
        if (focusable) {
          fill(rect, { role: "gridcell", tabindex: "-1", "aria-label": thing(stage, each, n) + ", number " + n });
        }
        made.push(rect);
        into.append(rect);
      });
      // Neighbours of the same r and k share a name.
      for (let n = 0, first = 0; n < held.length; n++) {
        const next = held[n + 1];
        if (next && next.r === held[n].r && next.k === held[n].k) continue;
        const at = span(stage === "again" ? "conv2" : stage, first, n - first + 1), one = held[n];
        const wide = at[1] > 64;
        let name = one.k === undefined ? "" : wide ? "k=" + one.k : "k" + one.k;
        if (one.r !== undefined) name = (wide ? "r=" + one.r + ", " : "r" + one.r + (at[1] > 36 ? " " : "")) + name;
        if (name) texts.append(text(at[0] + at[1] / 2, y + STRIP + 10, name, at[1] < 30 ? "le-name le-tight" : "le-name"));
        if (first) {
          texts.append(draw("path", { d: "M" + at[0] + " " + (y - 2) + "v" + (STRIP + 4), class: "le-edge" }));
        }
        first = n + 1;
      }
      return made;
    }

    function text(x, y, words, kind) {
      return draw("text", { x, y, class: kind }, words);
    }

    // U goes past the dense layers, to be weighed.
    const bus = draw("path", {
      class: "le-bus", "aria-hidden": "true",
      d: "M" + GUTTER + " " + (rows.conv2 + STRIP / 2 + 5) + "H8Q4 " + (rows.conv2 + STRIP / 2 + 5) + " 4 " +
        (rows.conv2 + STRIP / 2 + 9) + "V" + (rows.again + STRIP / 2 + 1) + "Q4 " + (rows.again + STRIP / 2 + 5) + " 8 " +
        (rows.again + STRIP / 2 + 5) + "H" + (GUTTER - 3) + "m-5 -4l5 4l-5 4",
    });

    bandsOf();
    A.STAGES.forEach((stage) => {
      const row = draw("g", { role: "row", "aria-label": title[stage] });
      cells[stage] = strip(stage, rows[stage], row, block.holds[stage], true);
      grid.append(row);
      texts.append(text(GUTTER, rows[stage] - 5, title[stage].trim(), "le-title"));
      if (symbols[stage]) texts.append(text(GUTTER - 8, rows[stage] + (stage === "conv2" ? 8 : 13), symbols[stage], "le-symbol"));
      const bad = wrong ? wrong[stage].filter(Boolean).length : 0;
      if (bad) {
        const share = bad === wrong[stage].length ? "all" : bad + " of " + wrong[stage].length;
        texts.append(text(width - 4, rows[stage] - 5, share + " wrong", "le-bad"));
      }
    });
    cells.again = strip("again", rows.again, again, block.holds.conv2, false);
    texts.append(text(GUTTER - 8, rows.again + 9, "×U", "le-symbol"));

    const svg = draw("svg", {
      width: width, height, viewBox: "0 0 " + width + " " + height, "data-layout": block.layout,
    }, [bands, bus, grid, again, joins, plates, texts, crosses, marks]);

    /* Once the drawing stands on the page, and its texts have a size. */
    function plate() {
      texts.querySelectorAll(".le-title, .le-bad").forEach((each) => {
        const box = each.getBBox();
        plates.append(draw("rect", { x: box.x - 2, y: box.y, width: box.width + 5, height: TITLE - 2, class: "le-plate" }));
      });
    }

    /* Mark the way of a channel; without arguments, of none. */
    function follow(stage, n) {
      marks.textContent = joins.textContent = "";
      svg.classList.toggle("le-following", stage !== undefined);
      A.STAGES.forEach((each) => {
        cells[each].forEach((rect) => { rect.setAttribute("tabindex", "-1"); });
      });
      const start = stage === undefined ? cells.conv2[0] : cells[stage][n];
      start.setAttribute("tabindex", "0");
      if (stage === undefined) return;
      const path = A.path(block, stage, n), met = A.reach(block, stage, n), made = A.upstream(block, stage, n);
      path.again = path.conv2;
      path.conv1.forEach((i) => { met.conv1.add(i); });
      met.again = met.conv2;
      made.again = made.conv2;
      const dots = draw("g");
      marks.append(dots);
      [...A.STAGES, "again"].forEach((each) => {
        cells[each].forEach((rect, i) => {
          rect.classList.toggle("le-met", met[each].has(i));
          if (met[each].has(i) && !path[each].has(i)) {
            const real = each === "again" ? "conv2" : each, radius = Math.min(2.8, span(real, i)[1] / 4);
            dots.append(draw("circle", {
              cx: middle(real, i), cy: rows[each] + STRIP / 2, r: radius, class: made[each].has(i) ? "le-hollow" : "le-full",
            }));
          }
        });
      });
      wires(path);
      [...A.STAGES, "again"].forEach((each) => {
        path[each].forEach((i) => { mark(each, i, path[each].size); });
      });
    }

    function wires(path) {
      function join(from, i, to, j, isWrong) {
        joins.append(draw("path", {
          d: line(middle(from, i), bottom(from), middle(to, j), rows[to]),
          class: isWrong ? "le-wire le-wrong" : "le-wire",
        }));
      }
      ["conv1", "conv2", "context", "hidden", "logits", "attention"].forEach((to) => {
        path[to].forEach((j) => {
          const own = to === "attention" ? block.sources[to][j].slice(0, 1) : block.sources[to][j];
          own.forEach((wire) => {
            if (path[wire[0]].has(wire[1])) join(wire[0], wire[1], to, j, wire[2]);
          });
        });
      });
      path.output.forEach((j) => {
        block.sources.output[j].forEach((wire) => {
          // The product of weight and feature map goes down from the strip of U, as one wire.
          if (wire[0] === "conv2" && path.attention.has(wire[1])) join("attention", wire[1], "output", j, wire[2]);
        });
      });
    }

    function mark(stage, n, many) {
      const real = stage === "again" ? "conv2" : stage, at = span(real, n), y = rows[stage];
      const whole = real === "input" || real === "hidden"; // no single channel: framed, not filled
      if (whole) {
        marks.append(draw("rect", { x: at[0] - 2, y: y - 2, width: at[1] + 4, height: STRIP + 4, class: "le-frame" }));
        return;
      }
      marks.append(draw("rect", { x: at[0] + 0.5, y, width: Math.max(at[1] - 1, 3), height: STRIP, class: "le-mark" }));
      if (at[1] >= 7 * String(n).length + 1) {
        marks.append(text(at[0] + at[1] / 2, y + 13, n, "le-number"));
      } else if (many < 3) { // beside the mark, where the cell is too narrow
        const right = at[0] + at[1] + 16 < width;
        marks.append(text(right ? at[0] + at[1] + 3 : at[0] - 3, y + 13, n, "le-number le-beside" + (right ? "" : " le-left")));
      }
    }

    return { svg, cells, middle, follow, plate };
  }

  /* ---- the whole figure ---------------------------------------------------------------------------------------- */

  function choices(R, K) {
    const found = [];
    for (let C = R * K; found.length === 0 || R * C <= 32; C += R * K) {
      if (C >= 4 || R * (C + R * K) > 32) found.push(C);
    }
    return found.slice(0, 6);
  }

  function explorer(root) {
    const state = { R: 2, K: 2, C: 8, mistake: "none", shown: "radix-major", pinned: null, hover: null };
    let diagrams = {}, known = 0;
    state.pinned = start(0, 1, 1);

    /* The channel of the 3×3 with these indices, or those nearest to them. */
    function start(r, k, c) {
      const share = state.C / state.K;
      const n = A.number("cardinality-major", state.R, state.K, share,
        Math.min(r, state.R - 1), Math.min(k, state.K - 1), Math.min(c, share - 1));
      return { layout: "cardinality-major", stage: "conv2", n };
    }

    function select(name, letter, options) {
      const box = make("select", { name }, options.map((n) => make("option", { value: n }, "" + n)));
      return { box, label: make("label", {}, [make("span", {}, letter), box]) };
    }
    function radios(called, word, name, options, kind) {
      const inputs = Object.keys(options).map((value) => {
        return make("label", {}, [make("input", { type: "radio", name, value }), options[value]]);
      });
      return make("div", { role: "radiogroup", "aria-label": called, class: kind }, [make("strong", {}, word), ...inputs]);
    }

    const R = select("radix", "radix R", [1, 2, 3, 4]), K = select("cardinality", "cardinality K", [1, 2, 3, 4]);
    const C = select("channels", "channels C", [8]);
    const slider = make("input", { type: "range", name: "channel", min: 0, step: 1, "aria-label": "follow channel of the 3×3" });
    // Each message stands under the controls that change it, and both above the drawing.
    const judged = make("p", { class: "le-verdict", role: "status" });
    const followed = make("p", { class: "le-followed", role: "status" });
    const told = make("div", { class: "le-told", role: "status" });
    const form = make("form", { class: "le-controls", "aria-label": "Settings of the explorer" }, [
      make("div", { class: "le-numbers" }, [R.label, K.label, C.label]),
      radios("Conversion to radix-major", "Conversion", "mistake", MISTAKES, "le-mistakes"),
      make("div", { class: "le-room" }, judged),
      radios("Layout shown", "Layout shown", "shown", {
        "cardinality-major": "cardinality-major", "radix-major": "radix-major",
      }, "le-switch"),
      make("label", { class: "le-slider" }, [make("span", {}, "follow"), slider]),
      followed,
    ]);
    const stage = make("div", { class: "le-diagrams" });
    const legend = make("div", { class: "le-legend" });
    root.textContent = "";
    root.append(form, told, stage, legend);
    root.classList.add("le-ready");

    function numbers() {
      const options = choices(state.R, state.K);
      if (!options.includes(state.C)) {
        state.C = options.reduce((best, each) => {
          return Math.abs(each - state.C) < Math.abs(best - state.C) ? each : best;
        });
      }
      C.box.textContent = "";
      options.forEach((n) => { C.box.append(make("option", { value: n }, "" + n)); });
      R.box.value = state.R;
      K.box.value = state.K;
      C.box.value = state.C;
      slider.max = state.R * state.C - 1;
      form.elements.mistake.value = state.mistake;
      form.elements.shown.value = state.shown;
    }

    function legendOf() {
      function swatch(held, words) {
        const box = draw("svg", { width: 16, height: 16, "aria-hidden": "true" }, draw("rect", {
          x: 1, y: 1, width: 14, height: 14, fill: mix(hue(held), SHADES[held.k]), stroke: hue(held),
        }));
        return make("span", {}, [box, words]);
      }
      function dot(kind, words) {
        legend.append(make("span", {}, [draw("svg", { width: 12, height: 16, "aria-hidden": "true" },
          draw("circle", { cx: 6, cy: 8, r: 3, class: kind })), words]));
      }
      legend.textContent = "";
      for (let r = 0; r < state.R; r++) legend.append(swatch({ r, k: 0 }, "split r=" + r));
      legend.append(swatch({ k: 0 }, "splits added"));
      legend.append(make("span", {}, [draw("svg", { width: 16, height: 16, "aria-hidden": "true" },
        draw("rect", { x: 3, y: 1, width: 10, height: 14, class: "le-mark" })), "followed"]));
      dot("le-hollow", "it is made from these");
      dot("le-full", "it reaches these");
      if (judged.classList.contains("le-spoilt")) legend.append(make("span", {}, [draw("svg", { width: 30, height: 16, "aria-hidden": "true" }, [
        draw("path", { d: "M1 8H29", class: "le-wire le-wrong" }),
        draw("path", { d: "M11 4l8 8m0 -8l-8 8", class: "le-cross" }),
      ]), "joins what does not belong together"]));
      legend.append(make("span", {}, "The shade is the cardinal group. Arrow keys walk from channel to channel, Escape lets go."));
    }

    function build() {
      const held = document.activeElement && stage.contains(document.activeElement) ? state.pinned : null;
      const width = Math.floor(stage.clientWidth), half = Math.floor((width - 24) / 2);
      const total = state.R * state.C, blocks = state.R * state.K;
      const least = Math.max(LEAST_CELL * total, LEAST_BLOCK * blocks) + GUTTER + 4;
      const both = half >= Math.max(BESIDE * total, LEAST_BLOCK * blocks, 230) + GUTTER + 4;
      root.classList.toggle("le-both", both);
      stage.textContent = "";
      diagrams = {};
      const wrong = A.wrongValues(state.R, state.K, state.C, state.mistake);
      A.LAYOUTS.forEach((layout) => {
        if (!both && layout !== state.shown) return;
        const block = A.flow(layout, state.R, state.K, state.C, state.mistake);
        const made = diagram(block, both ? half : Math.max(width, least), state, layout === "radix-major" ? wrong : null);
        const heading = layout[0].toUpperCase() + layout.slice(1) + "  " + ORDERS[layout];
        stage.append(make("div", { class: "le-diagram" }, [make("p", { class: "le-heading" }, heading), made.svg]));
        made.plate();
        diagrams[layout] = made;
      });
      judged.textContent = verdict(state, wrong, A.flow("radix-major", state.R, state.K, state.C, state.mistake));
      judged.classList.toggle("le-spoilt", state.mistake !== "none" && Math.min(state.R, state.K) > 1);
      legendOf();
      reserve();
      follow();
      reveal();
      if (held && diagrams[held.layout]) diagrams[held.layout].cells[held.stage][held.n].focus();
    }

    /* The same channel in the other layout, as {layout, stage, n}. */
    function translated(at, layout) {
      const from = A.flow(at.layout, state.R, state.K, state.C, state.mistake);
      const to = A.flow(layout, state.R, state.K, state.C, state.mistake);
      return { layout, stage: at.stage, n: A.twin(from, at.stage, at.n, to) };
    }

    /* One paragraph for each layout shown, of what `says(layout)` answers. */
    function tell(says) {
      told.textContent = "";
      Object.keys(diagrams).forEach((layout) => {
        told.append(make("p", {}, [make("strong", {}, layout[0].toUpperCase() + layout.slice(1) + ": "), says(layout)]));
      });
    }

    /* Room for the longest of all answers, so that the drawing stays where it is under the pointer. */
    function reserve() {
      told.style.minHeight = "";
      tell((layout) => {
        let block = A.flow(layout, state.R, state.K, state.C, state.mistake), longest = "";
        A.STAGES.forEach((each) => {
          block.holds[each].forEach((_, n) => {
            const said = way(block, each, n);
            if (said.length > longest.length) longest = said;
          });
        });
        return longest;
      });
      told.style.minHeight = Math.ceil(told.getBoundingClientRect().height) + "px";
    }

    function follow() {
      const at = state.hover || state.pinned;
      Object.keys(diagrams).forEach((layout) => {
        const here = at && translated(at, layout);
        diagrams[layout].follow(here ? here.stage : undefined, here && here.n);
      });
      if (!at) {
        followed.textContent = "Point at a channel, tap it, or move the slider.";
        told.textContent = "";
        return;
      }
      const from = A.flow(at.layout, state.R, state.K, state.C, state.mistake);
      const held = (at.stage === "attention" ? from.owners : from.holds[at.stage])[at.n];
      followed.textContent = "Followed: " + thing(at.stage, held, at.n) + ".";
      tell((layout) => {
        const here = translated(at, layout);
        return way(A.flow(layout, state.R, state.K, state.C, state.mistake), here.stage, here.n);
      });
      if (at.stage === "conv2") {
        slider.value = translated(at, "cardinality-major").n;
        slider.setAttribute("aria-valuetext", slider.value + ": " + named(held));
      }
    }

    function pin(at) {
      state.pinned = at;
      state.hover = null;
      follow();
      reveal();
    }

    /* Where the drawing is wider than its box: bring what is followed into view. */
    function reveal() {
      const here = state.pinned && translated(state.pinned, state.shown), made = diagrams[state.shown];
      if (!here || stage.scrollWidth <= stage.clientWidth) return;
      stage.scrollLeft = made.middle(here.stage, here.n) - stage.clientWidth / 2;
    }

    function found(event) {
      const cell = event.target.closest && event.target.closest("[data-stage]");
      if (!cell) return null;
      return { layout: cell.closest("svg").dataset.layout, stage: cell.dataset.stage, n: Number(cell.dataset.n) };
    }

    form.addEventListener("submit", (event) => { event.preventDefault(); });
    form.addEventListener("input", (event) => {
      if (event.target === slider) {
        pin({ layout: "cardinality-major", stage: "conv2", n: Number(slider.value) });
        return;
      }
      const sizes = [state.R, state.K, state.C].join(), at = state.pinned;
      const held = at && at.stage === "conv2"
        ? A.flow(at.layout, state.R, state.K, state.C, state.mistake).holds.conv2[at.n] : { r: 0, k: 1, c: 1 };
      state.R = Number(R.box.value);
      state.K = Number(K.box.value);
      state.C = Number(C.box.value);
      state.mistake = form.elements.mistake.value;
      if (event.target.name === "shown") state.shown = form.elements.shown.value;
      if (event.target.name === "mistake" && state.mistake !== "none") state.shown = "radix-major"; // where it was made
      numbers();
      if (sizes !== [state.R, state.K, state.C].join()) {
        state.pinned = start(held.r, held.k, held.c); // numbers have changed, so go by the indices
      }
      build();
    });

    stage.addEventListener("pointerover", (event) => {
      if (event.pointerType === "touch") return;
      const at = found(event);
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
      let made = diagrams[at.layout], row = made.cells[at.stage], which = A.STAGES.indexOf(at.stage), next = null;
      if (event.key === "ArrowRight") next = row[at.n + 1];
      else if (event.key === "ArrowLeft") next = row[at.n - 1];
      else if (event.key === "Home") next = row[0];
      else if (event.key === "End") next = row[row.length - 1];
      else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        const to = A.STAGES[which + (event.key === "ArrowDown" ? 1 : -1)], x = made.middle(at.stage, at.n);
        // The nearest of the strip above or below.
        if (to) {
          next = made.cells[to].reduce((best, cell) => {
            return Math.abs(made.middle(to, cell.dataset.n) - x) < Math.abs(made.middle(to, best.dataset.n) - x) ? cell : best;
          });
        }
      } else if (event.key === "Escape") { pin(null); event.preventDefault(); return; } else return;
      event.preventDefault();
      if (next) next.focus();
    });

    numbers();
    build();
    new ResizeObserver(() => {
      if (stage.clientWidth !== known) { known = stage.clientWidth; build(); }
    }).observe(root);
  }

  const root = document.getElementById("layout-explorer");
  if (root) explorer(root);
})();
