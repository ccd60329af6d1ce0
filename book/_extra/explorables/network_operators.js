/* The few operators that a ResNeSt is made of, in plain JavaScript.

   A feature map is {data, channels, height, width}: the numbers of one image in a
   Float32Array, channel by channel and in each of them row by row, which is PyTorch's
   order too. Arithmetic is in double precision, as always in JavaScript; what is stored
   is rounded to single. */
"use strict";

function featureMap(channels, height, width, data) {
  data ??= new Float32Array(channels * height * width);
  return { data, channels, height, width };
}

/* A convolution. `layer` is {weight, bias, out, kernel}: weight holds
   out · (channels / groups) · kernel · kernel numbers, bias out of them or none.

   Each weight is taken once and laid over all the places where it counts. So no
   place is ever asked whether it lies in the padding, and the innermost loop runs
   along a row, where neighbours in memory are neighbours in the map. */
function convolve(x, layer, { stride = 1, padding = 0, groups = 1 } = {}) {
  const { weight, bias, out, kernel } = layer;
  if (kernel === 1 && stride === 1 && padding === 0 && x.height > 1) {
    // A 1×1 convolution knows no rows: the map is one long row.
    const row = { ...x, height: 1, width: x.height * x.width };
    const { data } = convolve(row, layer, { groups });
    return featureMap(out, x.height, x.width, data);
  }
  const height = Math.floor((x.height + 2 * padding - kernel) / stride) + 1;
  const width = Math.floor((x.width + 2 * padding - kernel) / stride) + 1;
  const y = featureMap(out, height, width);
  const inGroup = x.channels / groups, outGroup = out / groups;
  // The first and the last output along a side whose tap k lies on the input.
  const first = (k) => Math.max(0, Math.ceil((padding - k) / stride));
  const last = (k, side, count) =>
    Math.min(count - 1, Math.floor((side - 1 + padding - k) / stride));
  const plane = (map, c) =>
    map.data.subarray(c * map.height * map.width, (c + 1) * map.height * map.width);
  let at = 0;
  for (let o = 0; o < out; o++) {
    const target = plane(y, o);
    if (bias) target.fill(bias[o]);
    for (let i = 0; i < inGroup; i++) {
      const source = plane(x, Math.floor(o / outGroup) * inGroup + i);
      for (let down = 0; down < kernel; down++) {
        for (let across = 0; across < kernel; across++) {
          const w = weight[at++];
          const left = first(across), right = last(across, x.width, width);
          const bottom = last(down, x.height, height);
          for (let row = first(down); row <= bottom; row++) {
            const from = (row * stride + down - padding) * x.width + across - padding;
            const to = row * width;
            for (let column = left; column <= right; column++) {
              target[to + column] += w * source[from + column * stride];
            }
          }
        }
      }
    }
  }
  return y;
}

/* Along one side: where each window of a pool begins and ends on the input, and how many
   places it counts. With `ceil`, a last window may hang over the edge, but must begin on
   the input or the padding before it. */
function windows(side, options) {
  const { kernel, stride, padding = 0, ceil = false, countPadding = true } = options;
  const steps = (side + 2 * padding - kernel) / stride;
  let count = (ceil ? Math.ceil(steps) : Math.floor(steps)) + 1;
  if (ceil && (count - 1) * stride >= side + padding) count -= 1;
  return Array.from({ length: count }, (_, i) => {
    const begin = i * stride - padding;
    const first = Math.max(begin, 0), end = Math.min(begin + kernel, side);
    const padded = Math.min(begin + kernel, side + padding) - begin;
    const counted = countPadding ? padded : end - first;
    return { first, end, counted };
  });
}

/* Combine the values in each window by `combine(so far, value)`, and end with
   `finish(result, places counted)`. */
function pool(x, options, start, combine, finish) {
  const rows = windows(x.height, options), columns = windows(x.width, options);
  const y = featureMap(x.channels, rows.length, columns.length);
  let at = 0;
  for (let c = 0; c < x.channels; c++) {
    for (const row of rows) {
      for (const column of columns) {
        let value = start;
        for (let h = row.first; h < row.end; h++) {
          for (let w = column.first; w < column.end; w++) {
            value = combine(value, x.data[(c * x.height + h) * x.width + w]);
          }
        }
        y.data[at++] = finish(value, row.counted * column.counted);
      }
    }
  }
  return y;
}

function averagePool(x, options) {
  return pool(x, options, 0, (sum, value) => sum + value, (sum, count) => sum / count);
}

function maxPool(x, options) {
  return pool(x, options, -Infinity, Math.max, (greatest) => greatest);
}

/* The mean of each channel: a map of one place. */
function globalMean(x) {
  const places = x.height * x.width, y = featureMap(x.channels, 1, 1);
  for (let c = 0; c < x.channels; c++) {
    let sum = 0;
    for (let i = c * places; i < (c + 1) * places; i++) sum += x.data[i];
    y.data[c] = sum / places;
  }
  return y;
}

/* These two change their first argument, and return it. */
function relu(x) {
  for (let i = 0; i < x.data.length; i++) if (x.data[i] < 0) x.data[i] = 0;
  return x;
}

function add(x, y) {
  for (let i = 0; i < x.data.length; i++) x.data[i] += y.data[i];
  return x;
}

/* A dense layer is a 1×1 convolution of a map of one place. */
function dense(x, layer, groups = 1) {
  return convolve(x, layer, { groups });
}

function softmax(values) {
  const greatest = Math.max(...values); // taken off, so that no exponential overflows
  const powers = Array.from(values, (value) => Math.exp(value - greatest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

function sigmoid(value) {
  return 1 / (1 + Math.exp(-value));
}
