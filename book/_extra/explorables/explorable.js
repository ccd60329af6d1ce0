/* What the interactive figures share: numbers, words and elements.

   All scripts here are classic ones in the JavaScript of 2022: a page that was opened from a disk may load no modules. So
   what stands at the top of one is seen by those that the page loads after it. */
"use strict";

const range = (n) => Array.from({ length: n }, (_, i) => i);
const mix = (from, to, share) => from + share * (to - from);
const clip = (value, low, high) => Math.min(Math.max(value, low), high);

const SPACE = "\u00a0"; // one that keeps a number and its unit, or name, on a line
const EQUALS = `${SPACE}=${SPACE}`;
const percent = (share) => `${Math.round(100 * share)}${SPACE}%`;
const capitalized = (words) => words[0].toUpperCase() + words.slice(1);

const OF_SVG = ["svg", "g", "rect", "path", "circle", "text"];

/* An element. Attributes whose names begin with "on" are listeners; true is an attribute without a value, false none. */
function make(tag, attributes = {}, ...children) {
  const space = OF_SVG.includes(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/* A list to choose from, with its label. */
function choice(label, options, attributes) {
  const list = make("select", attributes, ...options.map((option) => make("option", { value: option }, `${option}`)));
  return { list, label: make("label", {}, make("span", {}, label), list) };
}

/* Radio buttons with their labels, from {value: words}. */
function radios(name, options, attributes = {}) {
  return Object.entries(options).map(([value, words]) =>
    make("label", {}, make("input", { type: "radio", name, value, ...attributes }), words));
}
