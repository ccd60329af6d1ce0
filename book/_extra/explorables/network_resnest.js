/* A ResNeSt from the operators of network_operators.js. It follows the package's Python function by function:
   batch_norm_folding.py, bottleneck.py and resnest.py in resnest_edu/network, and resnest_edu/split_attention. */
"use strict";

const EPSILON = 1e-5; // of PyTorch's batch norm

/* A convolution and the batch norm after it, as one convolution. */
function fold(conv, norm) {
  const weight = new Float32Array(conv.weight.length);
  const bias = new Float32Array(conv.out);
  const each = weight.length / conv.out; // weights of one output channel
  for (let c = 0; c < conv.out; c++) {
    const scale = norm.weight[c] / Math.sqrt(norm.running_var[c] + EPSILON);
    for (let i = c * each; i < (c + 1) * each; i++) weight[i] = scale * conv.weight[i];
    const before = conv.bias ? conv.bias[c] : 0;
    bias[c] = scale * (before - norm.running_mean[c]) + norm.bias[c];
  }
  return { ...conv, weight, bias };
}

/* The weight of every split in every channel, (r k c), from the logits, (k r c): they
   come from dense layers that are grouped by k. */
function attentionOverSplits(logits, R, K) {
  const each = logits.length / (R * K), a = new Float32Array(logits.length);
  for (let k = 0; k < K; k++) {
    for (let c = 0; c < each; c++) {
      const splits = [];
      for (let r = 0; r < R; r++) splits.push(logits[(k * R + r) * each + c]);
      const weights = R === 1 ? splits.map(sigmoid) : softmax(splits);
      for (let r = 0; r < R; r++) a[(r * K + k) * each + c] = weights[r];
    }
  }
  return a;
}

/* The sum over r of a[r, c] · U[r, c]: R · C channels become C. Without `a`, the
   plain sum. */
function sumOfSplits(U, R, a) {
  const V = featureMap(U.channels / R, U.height, U.width), places = U.height * U.width;
  for (let channel = 0; channel < U.channels; channel++) { // (r c)
    const from = channel * places, to = (channel % V.channels) * places;
    const weight = a ? a[channel] : 1;
    for (let i = 0; i < places; i++) V.data[to + i] += weight * U.data[from + i];
  }
  return V;
}

/* Split attention; `record` is told the weights. */
function splitAttention(x, block, { radix: R, cardinality: K }, record) {
  const U = relu(convolve(x, block.conv, { padding: 1, groups: R * K }));
  const context = globalMean(sumOfSplits(U, R)); // s
  const hidden = relu(dense(context, block.fc1, K));
  const logits = dense(hidden, block.fc2, K); // G(s)
  const a = attentionOverSplits(logits.data, R, K);
  record(a);
  return sumOfSplits(U, R, a); // V
}

function bottleneck(x, block, variant, stride, record) {
  const pool = (map) => (stride > 1 ? averagePool(map, { kernel: 3, stride, padding: 1 }) : map);
  let out = relu(convolve(x, block.conv1));
  if (variant.pool_first) out = splitAttention(pool(out), block.conv2, variant, record);
  else out = pool(splitAttention(out, block.conv2, variant, record));
  out = convolve(out, block.conv3);
  let shortcut = x;
  if (block.downsample) {
    const smaller = averagePool(x, { kernel: stride, stride, ceil: true, countPadding: false });
    shortcut = convolve(smaller, block.downsample);
  }
  return relu(add(out, shortcut));
}

/* The logits of an image, and the attention in each block: a Map from the block's name to its weights, (r k c). */
function forward(network, image) {
  const { variant, stem, stages } = network, attention = new Map();
  const strides = [Math.min(variant.stem_stride, 2), 1, 1];
  let x = image;
  stem.forEach((layer, i) => { x = relu(convolve(x, layer, { stride: strides[i], padding: 1 })); });
  if (variant.stem_stride === 4) x = maxPool(x, { kernel: 3, stride: 2, padding: 1 });
  stages.forEach((blocks, i) => blocks.forEach((block, j) => {
    const stride = i > 0 && j === 0 ? 2 : 1;
    x = bottleneck(x, block, variant, stride, (a) => attention.set(block.name, a));
  }));
  return { logits: dense(globalMean(x), network.fc).data, attention };
}

/* Bytes from a text in base64. */
function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/* The network from what resnest_edu/book/web_export.py has written, ready for `forward`. */
function loadNetwork(content) {
  const { variant, tensors } = content, bytes = bytesOf(content.data);
  if (bytes.length !== 4 * content.numbers) throw new Error("the file with the weights is not whole");
  const numbers = new Float32Array(bytes.buffer);
  const take = (name) => {
    if (!tensors[name]) return undefined;
    const { start, shape } = tensors[name];
    return numbers.subarray(start, start + shape.reduce((a, b) => a * b, 1));
  };
  const layer = (name, norm) => {
    const shape = tensors[`${name}.weight`].shape; // out, in / groups, kernel, kernel; a dense layer's has no kernel
    const conv = { weight: take(`${name}.weight`), bias: take(`${name}.bias`), out: shape[0], kernel: shape[2] ?? 1 };
    if (!norm) return conv;
    const parts = ["weight", "bias", "running_mean", "running_var"].map((part) => [part, take(`${norm}.${part}`)]);
    return fold(conv, Object.fromEntries(parts));
  };
  const block = (name) => ({
    name,
    conv1: layer(`${name}.conv1`, `${name}.bn1`),
    conv2: {
      conv: layer(`${name}.conv2.conv`, `${name}.conv2.bn0`),
      fc1: layer(`${name}.conv2.fc1`, `${name}.conv2.bn1`),
      fc2: layer(`${name}.conv2.fc2`),
    },
    conv3: layer(`${name}.conv3`, `${name}.bn3`),
    downsample: tensors[`${name}.downsample.1.weight`] && layer(`${name}.downsample.1`, `${name}.downsample.2`),
  });
  return {
    variant,
    stem: [layer("conv1.0", "conv1.1"), layer("conv1.3", "conv1.4"), layer("conv1.6", "bn1")],
    stages: variant.blocks.map((count, i) => Array.from({ length: count }, (_, j) => block(`layer${i + 1}.${j}`))),
    fc: layer("fc"),
    normalize: (pixels) => normalize(pixels, content.mean, content.std),
  };
}

/* Bytes, (3, S, S), to what the network takes. */
function normalize(pixels, mean, std) {
  const places = pixels.length / 3, side = Math.sqrt(places);
  return featureMap(3, side, side, Float32Array.from(pixels, (byte, i) => {
    const colour = Math.floor(i / places);
    return (byte / 255 - mean[colour]) / std[colour];
  }));
}
