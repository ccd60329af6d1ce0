/* Which channel is made from which, in both layouts of split attention: index arithmetic, no drawing.

   Legend: R radix (splits of a cardinal group), K cardinality (cardinal groups), C channels; r, k and c count them
   from 0, c the channels of one split. As in layouts.py, the cardinality-major order is (k r c), the radix-major
   order (r k c), and the last index runs fastest.

   The stages of a bottleneck, each an array of channels:

     input      what the block reads, as one channel: every filter of the 1×1 reads all of it
     conv1      the dense 1×1             C       (k r c) or (r k c)
     conv2      the grouped 3×3, U       RC       (k r c) or (r k c)
     context    sum over r, mean, s       C       (k c)
     hidden     the first dense layer     K       one for each cardinal group, whatever its width
     logits     the second dense layer   RC       (k r c)
     attention  softmax over r, a        RC       (k r c) or (r k c)
     output     weighed and added, V      C       (k c)
*/
"use strict";

const STAGES = ["input", "conv1", "conv2", "context", "hidden", "logits", "attention", "output"];
const LAYOUTS = ["cardinality-major", "radix-major"];

/* The channels {r, k, c} in one of the two orders, `size` of them for each pair of r and k. */
function inOrder(layout, R, K, size) {
  return range(R * K * size).map((n) => {
    const block = Math.floor(n / size), c = n % size;
    return layout === "radix-major"
      ? { r: Math.floor(block / K), k: block % K, c }
      : { r: block % R, k: Math.floor(block / R), c };
  });
}

/* The number of channel (r, k, c) in that order: the inverse of inOrder. */
function numberOf(layout, R, K, size, r, k, c) {
  const block = layout === "radix-major" ? r * K + k : k * R + r;
  return block * size + c;
}

/* A block in one layout, as it is wired.

   The layers themselves are the same whether a conversion was right or not: they take what stands in a place. What
   a mistake changes is *whose* filters stand there (`holds`), or, untransposed, which logit is taken. So each stage
   has two answers for each place: the channel that it holds, by the origin of its weights in the cardinality-major
   block, and the channels of earlier stages that it is made from.

   Mistakes are those of the radix-major block; the cardinality-major one is where all weights come from. Returns
   {layout, mistake, holds, sources, owners, inside, share}: holds[stage][n] is {r, k, c}, less what does not apply;
   sources[stage][n] is a list of [stage, number, wrong]; owners[n] is the channel that attention n weighs. */
function flow(layout, R, K, C, mistake) {
  if (C % (R * K)) throw new Error(`C (=${C}) must be divisible by R * K (=${R * K})`);
  const wrong = layout === "radix-major" ? mistake : "none";
  const inside = C / (R * K); // channels that one 3×3 reads
  const share = C / K; // channels that one 3×3 makes
  const copied = "cardinality-major"; // the order in which the weights come
  const conv1 = inOrder(wrong === "naive" || wrong === "outputs only" ? copied : layout, R, K, inside);
  const conv2 = inOrder(wrong === "naive" ? copied : layout, R, K, share);
  const logits = inOrder(copied, R, K, share); // fc2 is grouped by k, so k comes first, in both layouts
  const slots = inOrder(layout, R, K, share); // what the layers behind the 3×3 take its channels for
  const byGroup = range(C).map((j) => ({ k: Math.floor(j / share), c: j % share }));

  const place = (r, k, c) => numberOf(layout, R, K, share, r, k, c);
  // The logit for place n of the attention: transposed, or (the mistake) just the n-th.
  const logit = (n) => {
    const { r, k, c } = slots[n];
    return wrong === "untransposed" ? n : numberOf(copied, R, K, share, r, k, c);
  };
  const group = (k, width) => range(width).map((i) => k * width + i);

  const sources = {
    input: [[]],
    conv1: range(C).map(() => [["input", 0, false]]),
    conv2: conv2.map((held, n) => group(Math.floor(n / share), inside)
      .map((p) => ["conv1", p, conv1[p].r !== held.r || conv1[p].k !== held.k])),
    context: byGroup.map(({ k, c }) => range(R).map((r) => place(r, k, c)).map((n) => ["conv2", n, conv2[n].k !== k])),
    hidden: range(K).map((k) => group(k, share).map((j) => ["context", j, false])),
    logits: logits.map((held) => [["hidden", held.k, false]]),
    // Its own logit first, then those that it competes with.
    attention: slots.map((slot) => {
      const rivals = range(R).filter((r) => r !== slot.r);
      return [slot.r, ...rivals].map((r) => {
        const from = logit(place(r, slot.k, slot.c)), held = logits[from];
        // Rivals may stand in any order, so long as they are those of the same channel.
        return ["logits", from, held.k !== slot.k || (r === slot.r) !== (held.r === slot.r)];
      });
    }),
    output: byGroup.map(({ k, c }) => range(R).flatMap((r) => {
      const n = place(r, k, c), held = conv2[n];
      return [["attention", n, false], ["conv2", n, held.r !== r || held.k !== k]];
    })),
  };
  const holds = {
    input: [{}],
    conv1,
    conv2,
    context: byGroup,
    hidden: range(K).map((k) => ({ k })),
    logits,
    attention: slots.map((_, n) => logits[logit(n)]),
    output: byGroup,
  };
  return { layout, mistake: wrong, holds, sources, owners: slots, inside, share };
}

/* A number for every value that the block computes, the same for the same value. A value is what its layer's
   filter makes of what it reads, so two values are equal if the filters and all that went in are. `seen` keeps the
   numbers; hand the same one to two blocks to compare them. */
function values(block, seen) {
  const of = {};
  for (const stage of STAGES) {
    of[stage] = block.sources[stage].map((wires, n) => {
      const held = block.holds[stage][n];
      let read = wires.map(([from, m]) => of[from][m]);
      // A sum does not mind the order; a dot product with a filter does, and the attention knows its own logit.
      if (stage === "context") read.sort();
      if (stage === "attention") read = [read[0], ...[...read].sort()];
      if (stage === "output") {
        read = range(read.length / 2).map((i) => `${read[2 * i]}×${read[2 * i + 1]}`).sort();
      }
      const filter = ["context", "attention", "output"].includes(stage) ? [] : [held.r, held.k, held.c];
      const key = [stage, filter, read].join(";");
      if (!seen.has(key)) seen.set(key, seen.size);
      return seen.get(key);
    });
  }
  return of;
}

/* For each stage and place, whether the value there is another than in the right block. What a layer with weights
   computes is compared with what the same weights compute there, wherever they stand. */
function wrongValues(R, K, C, mistake) {
  const seen = new Map();
  const right = flow("radix-major", R, K, C, "none"), block = flow("radix-major", R, K, C, mistake);
  const good = values(right, seen), found = values(block, seen), result = {};
  for (const stage of STAGES) {
    result[stage] = found[stage].map((value, n) => {
      const held = block.holds[stage][n];
      const moved = stage === "conv1" || stage === "conv2";
      const size = stage === "conv1" ? block.inside : block.share;
      return value !== good[stage][moved ? numberOf("radix-major", R, K, size, held.r, held.k, held.c) : n];
    });
  }
  return result;
}

const nothing = () => Object.fromEntries(STAGES.map((stage) => [stage, new Set()]));

/* All that channel n of a stage is made from, itself included: {stage: set of numbers}. */
function upstream(block, stage, n) {
  const met = nothing();
  const back = (at, i) => {
    if (met[at].has(i)) return;
    met[at].add(i);
    for (const [from, m] of block.sources[at][i]) back(from, m);
  };
  back(stage, n);
  return met;
}

/* All that it is made from and all that is made from it. */
function reach(block, stage, n) {
  const met = upstream(block, stage, n), down = nothing();
  // Stages are in the order of the computation, so one pass finds whatever is downstream.
  down[stage].add(n);
  for (const each of STAGES.slice(STAGES.indexOf(stage) + 1)) {
    block.sources[each].forEach((wires, i) => {
      if (wires.some(([from, m]) => down[from].has(m))) down[each].add(i);
    });
  }
  return Object.fromEntries(STAGES.map((each) => [each, new Set([...met[each], ...down[each]])]));
}

/* The path of a channel itself, without what it meets on the way: from the 3×3 on, its place in the context, its
   group's hidden layer, the logit and the weight that it is multiplied by, its place in the output. For a channel of
   another stage, the paths of all the 3×3's channels that it belongs to. */
function ownPath(block, stage, n) {
  const C = block.holds.context.length, share = block.share;
  const through = range(block.holds.conv2.length).filter((m) => {
    const slot = block.owners[m], j = slot.k * share + slot.c;
    if (stage === "input") return true;
    if (stage === "conv1") return Math.floor(m / share) === Math.floor(n / block.inside);
    if (stage === "conv2" || stage === "attention") return m === n;
    if (stage === "hidden") return slot.k === n;
    if (stage === "logits") return block.sources.attention[m][0][1] === n;
    return j === n; // context, output
  });
  const met = nothing();
  for (const m of through) {
    const slot = block.owners[m], j = slot.k * share + slot.c;
    met.input.add(0);
    for (const [, p] of block.sources.conv2[m]) met.conv1.add(p);
    met.conv2.add(m);
    met.context.add(j);
    met.hidden.add(slot.k);
    met.logits.add(block.sources.attention[m][0][1]);
    met.attention.add(m);
    met.output.add(j);
  }
  met[stage] = new Set([n]);
  return met;
}

/* The channel of another block that corresponds to channel n of this one: the same weights, or, where there are
   none, the same place in the order of the layout. */
function twin(block, stage, n, other) {
  const held = stage === "attention" ? block.owners[n] : block.holds[stage][n];
  const list = stage === "attention" ? other.owners : other.holds[stage];
  return list.findIndex((each) => each.r === held.r && each.k === held.k && each.c === held.c);
}
