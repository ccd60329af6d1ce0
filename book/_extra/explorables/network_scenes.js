/* Pictures like those that the network was trained on: the same eight outlines, with the same shadow around them, as
   in resnest_edu/data; but only one shape, one of a few pairs of colours, and no grain. */
"use strict";

/* How far inside a shape a point (u, v) lies, in radii of the circle around it; negative outside. */
const disk = (u, v) => 1 - Math.hypot(u, v);
const OUTLINES = {
  disk,
  ring: (u, v) => 0.24 - Math.abs(Math.hypot(u, v) - 0.76),
  square: (u, v) => Math.SQRT1_2 - Math.max(Math.abs(u), Math.abs(v)),
  triangle: (u, v) => 0.5 - Math.max(v, 0.8660254 * Math.abs(u) - 0.5 * v),
  // A point is in the pentagram if at most one of five lines cuts it off: the second smallest depth counts.
  star: (u, v) => Array.from({ length: 5 }, (_, i) => {
    const angle = Math.PI * (0.5 + 0.4 * i);
    return 0.30901699 - u * Math.cos(angle) - v * Math.sin(angle);
  }).sort((a, b) => a - b)[1],
  cross: (u, v) => {
    const [a, b] = [Math.abs(u), Math.abs(v)];
    return Math.min(0.28 - Math.min(a, b), 0.96 - Math.max(a, b));
  },
  crescent: (u, v) => Math.min(disk(u, v), Math.hypot(u - 0.5, v) - 0.8),
  bowtie: (u, v) => Math.min(0.8 - Math.abs(u), 0.85749293 * (0.12 + 0.6 * Math.abs(u) - Math.abs(v))),
};

/* Colours of the shape, and two of the ground, red, green and blue from 0 to 255. In training a shape is always at
   least a quarter darker or lighter than all of its ground; in the last pair it is not. */
const COLOURS = {
  "orange on dark blue": { shape: [245, 165, 60], ground: [[28, 44, 92], [52, 76, 128]] },
  "violet on pale yellow": { shape: [86, 40, 120], ground: [[240, 226, 170], [214, 196, 132]] },
  "white on grey": { shape: [240, 240, 236], ground: [[96, 96, 100], [128, 128, 130]] },
  "equally light pair": { shape: [198, 110, 52], ground: [[66, 136, 190], [88, 128, 206]], equallyLight: true },
};

/* The share of the ground's second colour at (x, y), each from 0 to 1. */
const wave = (t) => Math.abs(((t % 1) + 1) % 1 - 0.5);
const sharp = (t) => Math.min(1, Math.max(0, 0.5 + t));
const GROUNDS = {
  plain: () => 0,
  stripes: (x, y) => sharp(24 * (wave(4 * x + 2 * y) - 0.25)),
  checks: (x, y) => sharp(96 * (wave(3 * x) - 0.25) * (wave(3 * y) - 0.25)),
  dots: (x, y) => sharp(40 * (0.09 - wave(4 * x) ** 2 - wave(4 * y) ** 2)),
};

/* The ground alone, as numbers from 0 to 255, (3, size, size). */
function drawGround(size, { ground, colours }) {
  const pixels = new Float32Array(3 * size * size), [first, second] = COLOURS[colours].ground;
  for (let i = 0; i < size * size; i++) {
    const share = GROUNDS[ground]((i % size + 0.5) / size, (Math.floor(i / size) + 0.5) / size);
    for (let c = 0; c < 3; c++) pixels[c * size * size + i] = mix(first[c], second[c], share);
  }
  return pixels;
}

/* Lay a figure over the picture: `depth(x, y)` is in pixels. Its edge is as soft as a pixel; a shadow lies around it. */
function paint(pixels, size, colour, depth) {
  const reach = Math.max(size / 30, 1);
  for (let i = 0; i < size * size; i++) {
    const d = depth((i % size + 0.5) / size, (Math.floor(i / size) + 0.5) / size);
    const cover = clip(d + 0.5, 0, 1), shadow = 1 - 0.3 * clip(d / reach + 1, 0, 1);
    for (let c = 0; c < 3; c++) {
      const at = c * size * size + i;
      pixels[at] = mix(pixels[at] * shadow, colour[c], cover);
    }
  }
}

/* A scene, (3, size, size) bytes. x, y and diameter are in sides of the picture; turn is in degrees, clockwise. */
function drawScene(size, scene) {
  const pixels = drawGround(size, scene), radius = scene.diameter / 2, angle = scene.turn * Math.PI / 180;
  const cosine = Math.cos(angle), sine = Math.sin(angle);
  paint(pixels, size, COLOURS[scene.colours].shape, (across, down) => {
    const x = (across - scene.x) / radius, y = (down - scene.y) / radius;
    const u = x * cosine + y * sine, v = y * cosine - x * sine;
    // All lie in the unit circle: cut there, or edges run on into spikes beyond a sharp tip.
    return Math.min(OUTLINES[scene.shape](u, v), disk(u, v)) * radius * size;
  });
  return Uint8Array.from(pixels, Math.round);
}

/* What was drawn by hand: round strokes of the given width between points, in sides of the picture. */
function drawStrokes(size, scene, strokes, width) {
  const pixels = drawGround(size, scene);
  if (strokes.length) {
    paint(pixels, size, COLOURS[scene.colours].shape, (x, y) => {
      const nearest = Math.min(...strokes.map(([a, b]) => distanceToSegment(x, y, a, b)));
      return (width / 2 - nearest) * size;
    });
  }
  return Uint8Array.from(pixels, Math.round);
}

function distanceToSegment(x, y, a, b) {
  const across = b.x - a.x, down = b.y - a.y, square = across ** 2 + down ** 2;
  const along = square ? clip(((x - a.x) * across + (y - a.y) * down) / square, 0, 1) : 0;
  return Math.hypot(x - a.x - along * across, y - a.y - along * down);
}
