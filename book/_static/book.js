// Whatever is wider than its place scrolls; who has no mouse reaches it with Tab, and only then.
const SCROLLING = [
  ['article mjx-container', 'Formula, scrolls sideways'],
  ['article pre', 'Code, scrolls sideways'],
  ['article .pst-scrollable-table-container, article .table-wrapper', 'Table, scrolls sideways'],
  ['article .cell_output > .output', 'Output, scrolls sideways'],
];

function reachable(box, name) {
  if (box.scrollWidth > box.clientWidth + 1) {
    box.tabIndex = 0;
    box.setAttribute('role', 'group');
    box.setAttribute('aria-label', name);
  } else if (box.getAttribute('aria-label') === name) {
    for (const attribute of ['tabindex', 'role', 'aria-label']) box.removeAttribute(attribute);
  }
}

addEventListener('load', async () => {
  await document.fonts.ready;
  for (const [selector, name] of SCROLLING) {
    const observer = new ResizeObserver((changed) => changed.forEach(({ target }) => reachable(target, name)));
    for (const box of document.querySelectorAll(selector)) observer.observe(box);
  }
});
