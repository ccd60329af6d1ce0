// How the search ranks: chapters whose title or text matches come before the package's names that merely contain the
// word; a name typed in full comes before the text that mentions it. Sphinx puts this into language_data.js.
var Scorer = {
  objNameMatch: 11,
  objPartialMatch: 2,
  objPrio: { 0: 0, 1: 0, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
