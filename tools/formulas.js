// Sets formulas with MathJax, in Node.js, without a browser. Used by tools/formulas.py.
//
//     node formulas.js MATHJAX_FOLDER FONT_URL < formulas.json > set.json
//
// Reads [{"tex": ..., "display": true or false}, ...]; writes {"html": [...], "css": ...}: each formula as
// HTML with MathML for screen readers, and the one style sheet for all of them.
const [folder, fontURL] = process.argv.slice(2);
const formulas = JSON.parse(require('fs').readFileSync(0, 'utf8'));

require(`${folder}/node-main.js`).init({
  loader: {
    paths: { mathjax: folder },
    load: ['input/tex-full', 'output/chtml', 'adaptors/liteDOM', 'a11y/assistive-mml'],
    versionWarnings: false,
  },
  // An unknown command is an error, instead of its name in red.
  tex: { packages: { '[-]': ['noundefined'] } },
  chtml: { fontURL },
}).then((MathJax) => {
  const { adaptor } = MathJax.startup;
  const html = formulas.map(({ tex, display }) => adaptor.outerHTML(MathJax.tex2chtml(tex, { display })));
  const css = adaptor.textContent(MathJax.chtmlStylesheet());
  process.stdout.write(JSON.stringify({ html, css }));
}).catch((error) => {
  console.error(error);
  process.exit(1);
});
