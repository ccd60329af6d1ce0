/* The live figure: a picture that the reader makes or chooses, what the network says of it, and its attention.

   It fills every element of class "live-network". The weights are asked for only when the reader presses the button,
   as a script, because a page that was opened from a disk may load nothing else. */
"use strict";

const SIDE = 32; // pixels that the network sees
const TRAINED = [0.55, 0.9]; // diameters that it has seen in training, in sides of the picture
const BRUSH = 0.11;
const START = { shape: "bowtie", x: 0.5, y: 0.5, diameter: 0.72, turn: 12,
  ground: "plain", colours: "orange on dark blue" };
const SETTINGS = { // of a shape: name, least, greatest, step, in per cent of the side or in degrees
  diameter: ["Size", 20, 100, 1, "%"], turn: ["Turn", 0, 359, 1, "°"],
  x: ["Across", 0, 100, 1, "%"], y: ["Down", 0, 100, 1, "%"],
};

let made = 0; // figures on this page, so that no two elements share an id

class LiveNetwork {
  constructor(host) {
    this.host = host;
    this.id = `live-${++made}`;
    this.mode = "shape";
    this.scene = { ...START };
    this.strokes = [];
    this.pen = { x: 0.3, y: 0.3, down: false };
    this.chosen = 0;
    host.replaceChildren(
      make("div", { class: "live-grid" },
        this.makePicture(), this.makeSaid(), this.makeControls(), this.makeAttention()));
    this.show();
  }

  /* ---- the picture ---- */

  makePicture() {
    this.canvas = make("canvas", { width: SIDE, height: SIDE, tabindex: 0, role: "application",
      "aria-label": "Picture", "aria-describedby": `${this.id}-help`,
      onpointerdown: (event) => this.press(event), onpointermove: (event) => this.drag(event),
      onpointerup: () => this.release(), onpointercancel: () => this.release(),
      onkeydown: (event) => this.key(event), onkeyup: (event) => { if (event.key === " ") this.pen.down = false; } });
    this.handle = make("div", { class: "live-handle", "aria-hidden": true });
    this.cross = make("div", { class: "live-pen", "aria-hidden": true });
    this.help = make("p", { class: "live-help", id: `${this.id}-help` });
    return make("div", { class: "live-see" }, make("div", { class: "live-picture" }, this.canvas, this.handle, this.cross), this.help);
  }

  /* Where a pointer is, in sides of the picture. */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: clip((event.clientX - box.left) / box.width, 0, 1), y: clip((event.clientY - box.top) / box.height, 0, 1) };
  }

  /* The handle lies on the circle around the shape, to its right if it is not turned. */
  handlePlace() {
    const { x, y, diameter, turn } = this.scene, angle = turn * Math.PI / 180;
    return { x: x + diameter / 2 * Math.cos(angle), y: y + diameter / 2 * Math.sin(angle) };
  }

  press(event) {
    const at = this.place(event), handle = this.handlePlace();
    this.canvas.setPointerCapture(event.pointerId);
    if (this.mode === "shape") {
      this.offset = { x: at.x - this.scene.x, y: at.y - this.scene.y };
      const reach = 22 / this.canvas.clientWidth; // a fingertip, in sides of the picture
      const toHandle = Math.hypot(at.x - clip(handle.x, 0, 1), at.y - clip(handle.y, 0, 1));
      const toCentre = Math.hypot(this.offset.x, this.offset.y); // or a small shape would lie all within reach
      this.dragging = toHandle < Math.min(reach, toCentre) ? "size" : "place";
    } else if (this.mode === "drawing") {
      this.dragging = "pen";
      this.pen = { ...at, down: true };
      this.strokes.push([at, at]);
      this.show();
    }
  }

  drag(event) {
    if (!this.dragging) return;
    const at = this.place(event), scene = this.scene;
    if (this.dragging === "place") {
      scene.x = clip(at.x - this.offset.x, 0, 1);
      scene.y = clip(at.y - this.offset.y, 0, 1);
    } else if (this.dragging === "size") {
      scene.diameter = clip(2 * Math.hypot(at.x - scene.x, at.y - scene.y), 0.2, 1);
      scene.turn = (Math.atan2(at.y - scene.y, at.x - scene.x) * 180 / Math.PI + 360) % 360;
    } else {
      this.movePen(at);
    }
    this.show();
  }

  release() {
    this.dragging = undefined;
    this.pen.down = false;
  }

  movePen(at) {
    if (this.pen.down) this.strokes.push([{ x: this.pen.x, y: this.pen.y }, at]);
    Object.assign(this.pen, at);
  }

  key(event) {
    const step = (event.shiftKey ? 4 : 1) / SIDE, scene = this.scene;
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const [across, down] = ways[event.key] ?? [0, 0];
    if (this.mode === "scene" && ways[event.key]) this.choose(this.chosen + across + down);
    else if (this.mode === "drawing" && event.key === " ") {
      if (!event.repeat) this.pen.down = true, this.movePen({ x: this.pen.x, y: this.pen.y });
    } else if (this.mode === "drawing" && ways[event.key]) {
      this.movePen({ x: clip(this.pen.x + across * step, 0, 1), y: clip(this.pen.y + down * step, 0, 1) });
    } else if (this.mode === "shape" && ways[event.key]) {
      scene.x = clip(scene.x + across * step, 0, 1);
      scene.y = clip(scene.y + down * step, 0, 1);
    } else if (this.mode === "shape" && "+-".includes(event.key)) {
      scene.diameter = clip(scene.diameter + (event.key === "+" ? step : -step), 0.2, 1);
    } else if (this.mode === "shape" && "[]".includes(event.key)) {
      scene.turn = (scene.turn + (event.key === "]" ? 6 : 354)) % 360;
    } else return;
    event.preventDefault();
    this.show();
  }

  /* ---- the controls ---- */

  select(label, key, options) {
    const made = choice(label, options, { onchange: ({ target }) => { this.scene[key] = target.value; this.show(); } });
    this.lists[key] = made.list;
    return made.label;
  }

  makeControls() {
    const modes = radios(`${this.id}-mode`, { shape: "a shape", scene: "a test scene", drawing: "a drawing" },
      { onchange: ({ target }) => { this.mode = target.value; this.show(); } });
    this.radios = Object.fromEntries(modes.map(({ control }) => [control.value, control]));
    this.radios.shape.checked = true;
    this.radios.scene.disabled = true;
    this.lists = {};
    this.sliders = {};
    const sliders = Object.entries(SETTINGS).map(([key, [label, min, max, step, unit]]) => {
      const output = make("output", {});
      const input = make("input", { type: "range", min, max, step, "aria-label": label,
        oninput: () => { this.scene[key] = unit === "%" ? input.value / 100 : Number(input.value); this.show(); } });
      this.sliders[key] = { input, output, unit };
      return make("label", { class: "live-slider" }, make("span", {}, label), input, output);
    });
    this.shapeControls = make("div", { class: "live-controls" },
      this.select("Shape", "shape", Object.keys(OUTLINES)), ...sliders);
    this.colourControls = make("div", { class: "live-controls" },
      this.select("Colours", "colours", Object.keys(COLOURS)), this.select("Ground", "ground", Object.keys(GROUNDS)));
    this.resetControls = make("div", { class: "live-controls" },
      make("button", { type: "button", onclick: () => { this.scene = { ...START }; this.show(); } }, "Reset"));
    this.drawingControls = make("div", { class: "live-controls" },
      make("button", { type: "button", onclick: () => { this.strokes = []; this.show(); } }, "Clear the drawing"));
    this.sceneLabel = make("span", {});
    this.sceneControls = make("div", { class: "live-controls live-scenes" },
      make("button", { type: "button", onclick: () => this.choose(this.chosen - 1) }, "Previous"),
      make("button", { type: "button", onclick: () => this.choose(this.chosen + 1) }, "Next"),
      make("button", { type: "button", onclick: () => this.choose(this.nextWrong()) }, "Next wrong one"), this.sceneLabel);
    return make("div", { class: "live-set" },
      make("fieldset", { class: "live-modes" }, make("legend", {}, "The picture is"), ...modes), this.shapeControls, this.sceneControls, this.drawingControls, this.colourControls, this.resetControls);
  }

  choose(number) {
    this.chosen = (number + this.labels.length) % this.labels.length;
    this.show();
  }

  nextWrong() {
    return this.wrong.find((number) => number > this.chosen) ?? this.wrong[0];
  }

  /* ---- what the network says ---- */

  makeSaid() {
    this.button = make("button", { type: "button", class: "live-load", onclick: () => this.load() },
      `Load the network (${this.host.dataset.kilobytes}${SPACE}kB)`);
    this.message = make("p", { role: "alert", class: "live-message" });
    this.invitation = make("div", { class: "live-invitation" },
      make("p", {}, "Nothing looks at the picture yet. The network is a file beside this page. It runs in your browser, and what you draw stays there too."),
      this.button, this.message);
    this.sentence = make("p", { class: "live-sentence" });
    this.spoken = make("p", { class: "live-spoken", "aria-live": "polite" });
    this.note = make("p", { class: "live-note" });
    this.bars = make("div", { class: "live-bars" });
    this.said = make("div", { hidden: true }, this.sentence, this.spoken, this.bars, this.note);
    return make("div", { class: "live-say" }, this.invitation, this.said);
  }

  makeAttention() {
    const mark = (kind, text) => make("span", { class: "live-key" }, make("span", { class: `live-${kind}` }), text);
    this.attention = make("div", { class: "live-attend", hidden: true },
      make("p", { class: "live-heading" }, "How each channel divides its attention"),
      make("p", { class: "live-legend" }, mark("first", "split 1"), mark("second", "split 2"),
        mark("usual", "usual (mean over the 20 test scenes)")),
      make("p", { class: "live-legend" }, "Each column is a channel. The height of its blue is the weight of split 1, the "
        + "orange rest that of split 2 (splits are counted from 1 here); the dotted line is one half. "
        + "Columns are sorted by their usual weight."));
    return this.attention;
  }

  load() {
    this.button.disabled = true;
    this.button.textContent = "Loading …";
    this.message.textContent = "";
    const failed = (why) => {
      this.button.disabled = false;
      this.button.textContent = "Try again";
      this.message.textContent = `The network could not be loaded: ${why}.`;
    };
    const script = make("script", { src: this.host.dataset.weights });
    script.onload = () => {
      try {
        this.begin(window.LIVE_NETWORK);
      } catch (error) {
        failed(error.message);
      }
    };
    script.onerror = () => failed(`${this.host.dataset.weights} was not found or cannot be read`);
    document.head.append(script);
  }

  begin(content) {
    if (!content) throw new Error("its file does not hold what it should");
    this.network = loadNetwork(content);
    this.classes = content.classes;
    this.labels = content.scenes.labels;
    const bytes = bytesOf(content.scenes.data), each = bytes.length / this.labels.length;
    this.scenes = this.labels.map((_, i) => bytes.subarray(i * each, (i + 1) * each));
    this.lookAtScenes();
    this.makeBars();
    this.makeStrips();
    this.radios.scene.disabled = false;
    const hadFocus = document.activeElement === this.button;
    this.invitation.hidden = true;
    this.said.hidden = false;
    this.attention.hidden = false;
    if (hadFocus) this.canvas.focus({ preventScroll: true });
    this.show();
  }

  look(pixels) {
    return forward(this.network, this.network.normalize(pixels));
  }

  /* The stored scenes that the network mistakes, and the mean attention over all: where each channel usually stands. */
  lookAtScenes() {
    this.usual = new Map();
    this.wrong = [];
    this.scenes.forEach((pixels, number) => {
      const { logits, attention } = this.look(pixels);
      if (logits.indexOf(Math.max(...logits)) !== this.labels[number]) this.wrong.push(number);
      for (const [name, a] of attention) {
        const sum = this.usual.get(name) ?? new Float32Array(a.length);
        a.forEach((weight, i) => { sum[i] += weight / this.scenes.length; });
        this.usual.set(name, sum);
      }
    });
  }

  makeBars() {
    this.rows = this.classes.map((name) => {
      const row = { bar: make("div", { class: "live-bar" }), value: make("span", { class: "live-value" }) };
      row.line = make("div", { class: "live-row" }, make("span", {}, name), make("div", { class: "live-track" }, row.bar), row.value);
      return row;
    });
    this.bars.append(...this.rows.map((row) => row.line));
  }

  /* One strip for each block: a column for each channel, ordered by its usual weight on split 1. */
  makeStrips() {
    this.blocks = [...this.usual].map(([name, usual], i) => {
      const channels = usual.length / this.network.variant.radix;
      const order = Array.from({ length: channels }, (_, c) => c).sort((a, b) => usual[a] - usual[b]);
      const columns = order.map((_, c) => make("rect", { class: "live-first", x: c, y: 0, width: 1.02, height: 1 }));
      const marks = order.map((channel, c) => `M${c} ${1 - usual[channel]}h1`).join("");
      const svg = make("svg", { viewBox: `0 0 ${channels} 1`, preserveAspectRatio: "none", role: "img" },
        make("rect", { class: "live-second", width: channels, height: 1 }), ...columns,
        make("path", { class: "live-half", d: `M0 .5h${channels}` }), make("path", { class: "live-usual", d: marks }));
      const figures = make("span", {});
      this.attention.append(make("div", { class: "live-strip" },
        make("p", {}, `Stage ${i + 1}, ${channels} channels. `, figures), svg));
      return { name, usual, order, columns, svg, figures };
    });
  }

  /* ---- showing it all ---- */

  show() {
    if (this.waiting) return; // at most once a frame, however fast the pointer moves
    this.waiting = requestAnimationFrame(() => {
      this.waiting = undefined;
      this.showPicture();
      this.showControls();
      if (this.network) this.showResults();
    });
  }

  showPicture() {
    if (this.mode === "scene") this.pixels = this.scenes[this.chosen];
    else if (this.mode === "drawing") this.pixels = drawStrokes(SIDE, this.scene, this.strokes, BRUSH);
    else this.pixels = drawScene(SIDE, this.scene);
    const image = new ImageData(SIDE, SIDE), places = SIDE * SIDE;
    for (let i = 0; i < places; i++) {
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = this.pixels[c * places + i];
      image.data[4 * i + 3] = 255;
    }
    this.canvas.getContext("2d").putImageData(image, 0, 0);
    const put = (element, { x, y }) => Object.assign(element.style, { left: `${100 * clip(x, 0, 1)}%`, top: `${100 * clip(y, 0, 1)}%` });
    put(this.handle, this.handlePlace());
    put(this.cross, this.pen);
    this.handle.hidden = this.mode !== "shape";
    this.cross.hidden = this.mode !== "drawing";
  }

  showControls() {
    this.shapeControls.hidden = this.mode !== "shape";
    this.sceneControls.hidden = this.mode !== "scene";
    this.drawingControls.hidden = this.mode !== "drawing";
    this.colourControls.hidden = this.mode === "scene";
    this.resetControls.hidden = this.mode !== "shape";
    for (const [key, list] of Object.entries(this.lists)) list.value = this.scene[key];
    for (const [key, { input, output, unit }] of Object.entries(this.sliders)) {
      const value = Math.round(unit === "%" ? 100 * this.scene[key] : this.scene[key]);
      if (Number(input.value) !== value) input.value = value;
      output.textContent = unit === "°" ? `${value}°` : `${value}${SPACE}${unit}`;
      input.setAttribute("aria-valuetext", `${value} ${unit === "%" ? "per cent of the side" : "degrees"}`);
    }
    this.help.textContent = {
      shape: "Drag the shape to move it, its round handle to size and turn it. Keys: arrows move, + and − size, [ and ] turn.",
      scene: "One of the pictures it was tested on. Keys: arrows choose another.",
      drawing: "Draw with the pointer. Keys: arrows move the pen, which draws while the space bar is held.",
    }[this.mode];
    if (this.labels) this.sceneLabel.textContent = `${this.chosen + 1} of ${this.labels.length}: ${this.classes[this.labels[this.chosen]]}`;
  }

  showResults() {
    const begin = performance.now();
    const { logits, attention } = this.look(this.pixels);
    const time = performance.now() - begin;
    const shares = softmax(logits), best = shares.indexOf(Math.max(...shares));
    this.rows.forEach((row, i) => {
      row.bar.style.width = `${100 * shares[i]}%`;
      row.value.textContent = percent(shares[i]);
      row.line.classList.toggle("live-best", i === best);
    });
    const truth = { shape: this.scene.shape, scene: this.classes[this.labels[this.chosen]] }[this.mode];
    const said = `The network says ${this.classes[best]}, ${percent(shares[best])}`;
    const verdict = truth ? (truth === this.classes[best] ? ": right." : `: wrong, this is a ${truth}.`) : ".";
    this.sentence.textContent = said + verdict;
    this.note.textContent = `${this.noteOnPicture()} Worked out in ${time.toFixed(0)}${SPACE}ms.`;
    this.showAttention(attention);
    clearTimeout(this.speaking); // spoken when the picture has come to rest
    this.speaking = setTimeout(() => {
      this.spoken.textContent = said + verdict;
      for (const block of this.blocks) block.svg.setAttribute("aria-label", `Weight of split 1 in each channel. ${block.figures.textContent}`);
    }, 500);
  }

  noteOnPicture() {
    if (this.mode === "scene") return "It was never trained on this scene.";
    if (this.mode === "drawing") return "It was never trained on anything drawn by hand.";
    const { diameter, colours, x, y } = this.scene, size = Math.round(100 * diameter), beyond = [];
    const [least, greatest] = TRAINED.map((side) => Math.round(100 * side)); // 100 * 0.55 is more than 55
    if (size < least) beyond.push("so small a shape");
    if (size > greatest) beyond.push("so large a shape");
    if (Math.min(x, y, 1 - x, 1 - y) < diameter / 2 - 0.07) beyond.push("a shape cut by the border");
    if (COLOURS[colours].equallyLight) beyond.push("a shape as light as its ground");
    return beyond.length ? `In training it never saw ${beyond.join(", nor ")}.` : "In training it saw shapes like this one.";
  }

  showAttention(attention) {
    for (const { name, usual, order, columns, figures } of this.blocks) {
      const a = attention.get(name), channels = order.length;
      let mean = 0, moved = 0;
      order.forEach((channel, c) => {
        columns[c].setAttribute("y", 1 - a[channel]);
        columns[c].setAttribute("height", a[channel]);
        mean += a[channel] / channels;
        moved += Math.abs(a[channel] - usual[channel]) / channels;
      });
      figures.textContent = `Mean weight of split 1: ${mean.toFixed(2)}. Mean distance from usual: ${moved.toFixed(2)}.`;
    }
  }
}

document.querySelectorAll(".live-network").forEach((host) => new LiveNetwork(host));
