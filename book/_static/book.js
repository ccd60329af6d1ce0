// Whatever is wider than its place scrolls; who has no mouse reaches it with Tab, and only then.
const SCROLLING = {
  'article mjx-container': 'Formula, scrolls sideways',
  'article pre': 'Code, scrolls sideways',
  'article .pst-scrollable-table-container, article .table-wrapper': 'Table, scrolls sideways',
};

function reachable() {
  const boxes = Object.entries(SCROLLING).flatMap(([selector, name]) =>
    [...document.querySelectorAll(selector)].map((box) => [box, name, box.scrollWidth > box.clientWidth + 1]));
  for (const [box, name, scrolls] of boxes) {
    if (scrolls) {
      box.tabIndex = 0;
      box.setAttribute('role', 'group');
      box.setAttribute('aria-label', name);
    } else if (box.getAttribute('aria-label') === name) {
      for (const attribute of ['tabindex', 'role', 'aria-label']) box.removeAttribute(attribute);
    }
  }
}

let waiting = 0;
addEventListener('resize', () => {
  clearTimeout(waiting);
  waiting = setTimeout(reachable, 100);
});
addEventListener('load', async () => {
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  reachable();
});
