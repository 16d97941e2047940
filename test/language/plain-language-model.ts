/**
 * The language model written plainly, with libtorch's autograd and loops over time: what native/language must compute.
 * Weights and state are leaves, the results have a graph.
 */
import { call, Tensor, type LanguageModelSettings, type Segment } from '../../lib/index.js';

export interface Plain {
  readonly loss: Tensor;
  readonly penalty: Tensor;
  readonly state: Tensor[];
}

export interface PlainInputs {
  readonly settings: LanguageModelSettings;
  readonly weights: ReadonlyMap<string, Tensor>;
  readonly segment: Segment;
  readonly state: readonly Tensor[];
  /** By layer with attention: its inputs in the segment before, [rows, length, width]. */
  readonly memory?: readonly Tensor[];
  readonly seed: number;
}

const column = (values: Int32Array) => Tensor.from(values, { shape: [values.length], dtype: 'int64' });
const cat = (tensors: readonly Tensor[], dimension: number): Tensor => call('aten::cat', tensors, dimension);
const step = (x: Tensor, t: number): Tensor => call('aten::select.int', x, 1, t);
const square = (x: Tensor) => x.mul(x);

class PlainModel {
  readonly #settings: LanguageModelSettings;
  readonly #weights: ReadonlyMap<string, Tensor>;
  readonly #rows: number;
  readonly #length: number;
  readonly #seed: number;
  readonly #before: Tensor[];
  readonly #memory: Tensor[];
  readonly after: Tensor[] = [];
  /** Places of dropout are numbered in the order of a pass. */
  #site = 0;

  constructor({ settings, weights, segment, state, memory = [], seed }: PlainInputs) {
    this.#settings = settings;
    this.#weights = weights;
    this.#rows = segment.rows;
    this.#length = segment.inputs.length / segment.rows;
    this.#seed = seed;
    this.#before = [...state];
    this.#memory = [...memory];
  }

  weight(name: string): Tensor {
    const tensor = this.#weights.get(name);
    if (tensor === undefined) throw new Error(`no weight ${name}`);
    return tensor;
  }

  /** The multiples that dropout takes elements [rows, columns] by; the next place. */
  mask(rows: number, columns: number, probability: number): Tensor {
    const ones = call('aten::ones', [rows, columns], { dtype: 'float64' });
    return call('gradcache::dropout', ones, probability, this.#seed, this.#site++);
  }

  /** Dropout of x [rows, length, columns]. */
  drop(x: Tensor, probability: number, shared: boolean): Tensor {
    const columns = x.shape[2]!;
    const count = shared ? this.#rows : this.#rows * this.#length;
    return x.mul(this.mask(count, columns, probability).reshape([this.#rows, -1, columns]));
  }

  clusters(): { first: number; size: number; name: (owner: string) => string }[] {
    const { cutoffs, vocabulary } = this.#settings;
    const ends = [...cutoffs, vocabulary];
    return ends.map((end, k) => ({
      first: ends[k - 1] ?? 0,
      size: end - (ends[k - 1] ?? 0),
      name: (owner) => (cutoffs.length === 0 ? owner : `${owner}.${k}`),
    }));
  }

  /** The vectors of all words, projected: [vocabulary, width]. */
  embed(inputs: Int32Array): Tensor {
    const { vocabulary, wordDropout, inputDropout, sharedMasks } = this.#settings;
    const words = this.clusters().map(({ name }) => {
      const projection = this.#weights.get(`${name('embedding')}.projection.weight`);
      const vectors = this.weight(`${name('embedding')}.weight`);
      return projection === undefined ? vectors : vectors.matmul(projection.t());
    });
    const kept = cat(words, 0).mul(this.mask(vocabulary, 1, wordDropout));
    const x = kept.indexSelect(0, column(inputs)).reshape([this.#rows, this.#length, -1]);
    return this.drop(x, inputDropout, sharedMasks);
  }

  /** Log-probabilities of each target, [tokens], of rows [tokens, width]. */
  logLikelihoods(x: Tensor, targets: Int32Array): Tensor {
    const { output, tiedProjections, bias, adversarialNoise } = this.#settings;
    const clusters = this.clusters();
    const softmax = (k: number, local: Int32Array): Tensor => {
      const { name } = clusters[k]!;
      const tied = output === 'tied';
      let vectors = this.weight(`${name(tied ? 'embedding' : 'output')}.weight`);
      let biases = bias ? this.weight(`${name('output')}.bias`) : undefined;
      if (k === 0 && clusters.length > 1) {
        vectors = cat([vectors, this.weight('output.clusters.weight')], 0);
        biases = biases && cat([biases, this.weight('output.clusters.bias')], 0);
      }
      const owner = tied && tiedProjections ? 'embedding' : 'output';
      const projection =
        vectors.shape[1] === x.shape[1] ? undefined : this.weight(`${name(owner)}.projection.weight`);
      const rows = projection === undefined ? x : x.matmul(projection);
      const place = column(local).reshape([-1, 1]);
      const length = (of: Tensor) => call('aten::linalg_vector_norm', of, 2, [1], true);
      const noise = length(rows)
        .mul(length(vectors.indexSelect(0, column(local))))
        .mul(-adversarialNoise);
      const logits = call('aten::scatter_add', rows.linear(vectors, biases), 1, place, noise);
      return call('aten::gather', logits.logSoftmax(1), 1, place).reshape([-1]);
    };
    const clusterOf = Array.from(targets, (target) =>
      clusters.findIndex(({ first, size }) => target >= first && target < first + size),
    );
    let sum = softmax(
      0,
      targets.map((target, t) => {
        const k = clusterOf[t]!;
        if (k < 0) return 0;
        return k === 0 ? target : clusters[0]!.size + k - 1;
      }),
    );
    for (let k = 1; k < clusters.length; k++) {
      const local = targets.map((target, t) => (clusterOf[t] === k ? target - clusters[k]!.first : 0));
      sum = sum.add(
        softmax(k, local).mul(
          Tensor.from(
            clusterOf.map((c) => (c === k ? 1 : 0)),
            { dtype: 'float64' },
          ),
        ),
      );
    }
    return sum.mul(
      Tensor.from(
        clusterOf.map((c) => (c >= 0 ? 1 : 0)),
        { dtype: 'float64' },
      ),
    );
  }

  /** Outputs [rows, length, width] of the layers. */
  layers(x: Tensor): Tensor {
    const { cell, layers } = this.#settings;
    for (let k = 0; k < layers; k++) {
      const dropout = k === layers - 1 ? 0 : this.#settings.dropout;
      if (cell === 'lstm' || cell === 'gru') x = this.gated(`layers.${k}`, x, dropout);
      else if (cell === 'qrnn') x = this.qrnn(`layers.${k}`, x, dropout);
      else x = this.sru(k, x, dropout);
    }
    return x;
  }

  gated(name: string, x: Tensor, dropout: number): Tensor {
    const lstm = this.#settings.cell === 'lstm';
    const recurrent = this.weight(`${name}.weight_hh`);
    const site = this.#site++;
    const [rows, columns] = recurrent.shape as [number, number];
    const weights = ['weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'].map((part) =>
      this.weight(`${name}.${part}`),
    );
    weights[1] = recurrent.mul(this.mask(rows, columns, this.#settings.weightDropout));
    const states = this.#before.splice(0, lstm ? 2 : 1).map((slot) => slot.reshape([1, ...slot.shape]));
    const [y, ...after] = call<Tensor[]>(
      lstm ? 'aten::lstm.input' : 'aten::gru.input',
      x,
      lstm ? states : states[0],
      weights,
      true,
      1,
      0,
      true,
      false,
      true,
    );
    this.after.push(...after.map((slot) => slot.reshape(slot.shape.slice(1))));
    return this.dropAt(site, y!, dropout);
  }

  /** Dropout at a place that was numbered before, all tokens of a row alike. */
  dropAt(site: number, x: Tensor, probability: number): Tensor {
    const next = this.#site;
    this.#site = site;
    const dropped = this.drop(x, probability, true);
    this.#site = next;
    return dropped;
  }

  qrnn(name: string, x: Tensor, dropout: number): Tensor {
    const { qrnnWindow, weightDropout } = this.#settings;
    const matrix = this.weight(`${name}.gates.weight`);
    const [rows, columns] = matrix.shape as [number, number];
    const dropped = matrix.mul(this.mask(rows, columns, weightDropout));
    const [start, previous] = this.#before.splice(0, qrnnWindow) as [Tensor, Tensor | undefined];
    const seen =
      previous === undefined
        ? x
        : cat([x, cat([previous.reshape([this.#rows, 1, -1]), x.narrow(1, 0, this.#length - 1)], 1)], 2);
    const u = seen.linear(dropped, this.weight(`${name}.gates.bias`));
    let c = start;
    const outputs: Tensor[] = [];
    for (let t = 0; t < this.#length; t++) {
      const [z, f, o] = call<Tensor[]>('aten::chunk', step(u, t), 3, 1) as [Tensor, Tensor, Tensor];
      const forget = f.sigmoid();
      c = forget.mul(c).add(forget.neg().add(1).mul(z.tanh()));
      outputs.push(o.sigmoid().mul(c));
    }
    this.after.push(c);
    if (previous !== undefined) this.after.push(step(x, this.#length - 1));
    return this.drop(call('aten::stack', outputs, 1), dropout, true);
  }

  sru(number: number, x: Tensor, dropout: number): Tensor {
    const { cell, width, norm, normEpsilon, rescale, highwayBias } = this.#settings;
    const name = `layers.${number}`;
    const normed = (rows: Tensor) =>
      call(
        'aten::layer_norm',
        rows,
        [rows.shape[2]],
        this.weight(`${name}.norm.weight`),
        this.weight(`${name}.norm.bias`),
        normEpsilon,
      );
    const read = norm === 'before' ? normed(x) : x;
    const u =
      cell === 'sru++' ? this.attentive(number, read) : read.linear(this.weight(`${name}.projection.weight`));
    const [vf, vr] = [this.weight(`${name}.forget.weight`), this.weight(`${name}.reset.weight`)];
    const [bf, br] = [this.weight(`${name}.forget.bias`), this.weight(`${name}.reset.bias`)];
    const skip = x.mul(rescale ? Math.sqrt(1 + 2 * Math.exp(highwayBias)) : 1);
    const mask = this.mask(this.#rows, width, dropout);
    let c = this.#before.shift()!;
    const outputs: Tensor[] = [];
    for (let t = 0; t < this.#length; t++) {
      const [z, f, r] = call<Tensor[]>('aten::chunk', step(u, t), 3, 1) as [Tensor, Tensor, Tensor];
      const forget = f.add(vf.mul(c)).add(bf).sigmoid();
      const reset = r.add(vr.mul(c)).add(br).sigmoid();
      c = forget.mul(c).add(forget.neg().add(1).mul(z));
      const here = step(skip, t);
      outputs.push(mask.mul(reset).mul(c.sub(here)).add(here));
    }
    this.after.push(c);
    const y = call('aten::stack', outputs, 1);
    return norm === 'after' ? normed(y) : y;
  }

  attentive(number: number, x: Tensor): Tensor {
    const { heads, attentionEvery, attentionLayers, normEpsilon, dropout, attentionDropout } = this.#settings;
    const name = `layers.${number}`;
    const attends = attentionLayers?.includes(number) ?? (number + 1) % attentionEvery === 0;
    let z = x.linear(this.weight(`${name}.query.weight`));
    const columns = z.shape[2]!;
    if (attends) {
      const before = this.#memory.shift();
      const all = before === undefined ? z : cat([before.linear(this.weight(`${name}.query.weight`)), z], 1);
      const keys = all.shape[1]!;
      const [k, v] = call<Tensor[]>(
        'aten::chunk',
        all.linear(this.weight(`${name}.key_value.weight`)),
        2,
        2,
      ) as [Tensor, Tensor];
      const byHead = (rows: Tensor) => rows.reshape([this.#rows, -1, heads, columns / heads]).transpose(1, 2);
      const hidden = call('aten::ones', [this.#length, keys], { dtype: 'bool' });
      const later = call('aten::triu', hidden, keys - this.#length + 1);
      const scores = byHead(z)
        .matmul(byHead(k).transpose(2, 3))
        .div(Math.sqrt(columns / heads));
      let weights = call('aten::masked_fill.Scalar', scores, later, -Infinity).softmax(3);
      // Rows of weights are numbered by row of the segment, then by head, then by token.
      const mask = this.mask(heads * this.#rows * this.#length, keys, attentionDropout);
      weights = weights.mul(mask.reshape([this.#rows, heads, this.#length, keys]));
      const attended = weights.matmul(byHead(v)).transpose(1, 2).reshape([this.#rows, this.#length, columns]);
      z = z.add(attended.mul(this.weight(`${name}.alpha`)));
    }
    const normed = call(
      'aten::layer_norm',
      z,
      [columns],
      this.weight(`${name}.attention_norm.weight`),
      this.weight(`${name}.attention_norm.bias`),
      normEpsilon,
    );
    return this.drop(normed, dropout, false).linear(this.weight(`${name}.projection.weight`));
  }

  penalty(outputs: Tensor, dropped: Tensor): Tensor {
    const { activationPenalty, slownessPenalty } = this.#settings;
    const mean = square(dropped).mean().mul(activationPenalty);
    const change = outputs.narrow(1, 1, this.#length - 1).sub(outputs.narrow(1, 0, this.#length - 1));
    return mean.add(square(change).mean().mul(slownessPenalty)).mul(this.#rows * this.#length);
  }
}

/** A segment in training. */
export function plainSegment(inputs: PlainInputs): Plain {
  const { settings, segment } = inputs;
  const model = new PlainModel(inputs);
  const outputs = model.layers(model.embed(segment.inputs));
  const dropped = model.drop(outputs, settings.outputDropout, settings.sharedMasks);
  const rows = dropped.reshape([segment.inputs.length, -1]);
  return {
    loss: model.logLikelihoods(rows, segment.targets).sum().neg(),
    penalty: model.penalty(outputs, dropped),
    state: model.after,
  };
}
