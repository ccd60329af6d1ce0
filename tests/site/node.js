/* Scripts of the book's pages, run without a page. Each line that comes in is {file} or {expression, argument} in JSON;
   each that goes out is {value} or {error}. As in a page, one script sees the functions and constants of another. */
"use strict";
const fs = require("node:fs"), readline = require("node:readline"), vm = require("node:vm");

globalThis.self = globalThis.window = globalThis;

function answer({ file, expression, argument }) {
  if (file) {
    vm.runInThisContext(fs.readFileSync(file, "utf8"), { filename: file });
    return null;
  }
  const value = vm.runInThisContext(`(${expression}\n)`);
  return typeof value === "function" ? value(argument) : value;
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  let said;
  try {
    said = { value: answer(JSON.parse(line)) };
  } catch (error) {
    said = { error: error.stack };
  }
  process.stdout.write(JSON.stringify(said) + "\n");
});
